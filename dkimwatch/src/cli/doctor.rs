//! `dkimwatch doctor`: what this kernel allows, what stays unseen, and what to change.

use std::{io::Write as _, path::Path};

use anyhow::Result;
use serde::Serialize;

use crate::{
    exit::Outcome,
    kernel::{Attempt, Backend, PIN_FOLDER, Pins, Session, Unseen},
};

/// Says what this kernel allows, which backend would be used and why, what stays unseen, and what to change.
#[derive(clap::Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    kernel: Kernel,
    /// Each backend, in the order in which they are tried.
    backends: Vec<Attempt>,
    /// The one that `watch` would use.
    chosen: Option<Backend>,
    /// What it does not see here.
    unseen: Vec<Unseen>,
    /// What is pinned where `run` pins its hooks, unless it is told otherwise.
    pins: Pins,
    /// What to change, most useful first.
    advice: Vec<String>,
}

#[derive(Serialize)]
struct Kernel {
    release: String,
    /// `/sys/kernel/security/lsm`, where securityfs is mounted.
    lsm: Option<String>,
    /// Whether the kernel describes its types.
    btf: bool,
    /// `/sys/kernel/security/lockdown`: the mode in force.
    lockdown: Option<String>,
}

/// Examines this host.
///
/// # Errors
/// When the findings cannot be printed.
pub fn run(args: &DoctorArgs) -> Result<Outcome> {
    let findings = examine();
    let outcome = if findings.chosen.is_some() { Outcome::Quiet } else { Outcome::Blind };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        print(&findings, &mut out)?;
    }
    Ok(outcome)
}

fn examine() -> Findings {
    let mut advice = Vec::new();
    let (backends, chosen, unseen) = match Session::open(0) {
        Ok(mut session) => {
            let (attempts, chosen) = session.survey();
            let (chosen, unseen) = chosen.unzip();
            (attempts, chosen, unseen.unwrap_or_default())
        }
        Err(error) => {
            advice.push(error.to_string());
            (Vec::new(), None, Vec::new())
        }
    };
    let kernel = kernel();
    if chosen != Some(Backend::Lsm)
        && let Some(lsm) = &kernel.lsm
        && !lsm.split(',').any(|name| name.trim() == "bpf")
    {
        advice.push(format!("add bpf to the kernel's LSM list: boot with lsm={},bpf", lsm.trim()));
    }
    if chosen == Some(Backend::Tracepoint) {
        advice.push(
            "this kernel or the machine it runs on refuses BPF trampolines (lsm, fentry); on another host or kernel \
             dkimwatch sees more and costs less"
                .to_owned(),
        );
    }
    let pins = Pins::of(Path::new(PIN_FOLDER));
    if pins == Pins::Nowhere {
        advice.push(
            "mount -t bpf bpf /sys/fs/bpf: without it nothing is seen while `dkimwatch run` does not run".to_owned(),
        );
    }
    Findings { kernel, backends, chosen, unseen, pins, advice }
}

fn kernel() -> Kernel {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    Kernel {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        lsm: read("/sys/kernel/security/lsm"),
        btf: std::path::Path::new("/sys/kernel/btf/vmlinux").exists(),
        lockdown: read("/sys/kernel/security/lockdown").and_then(|modes| {
            // The mode in force stands in brackets.
            Some(modes.split_once('[')?.1.split_once(']')?.0.to_owned())
        }),
    }
}

fn print(findings: &Findings, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let Findings { kernel, backends, chosen, unseen, pins, advice } = findings;
    writeln!(out, "kernel      {}", kernel.release)?;
    writeln!(out, "BTF         {}", if kernel.btf { "yes" } else { "no: dkimwatch needs CONFIG_DEBUG_INFO_BTF=y" })?;
    writeln!(out, "LSM list    {}", kernel.lsm.as_deref().unwrap_or("not readable (securityfs is not mounted)"))?;
    writeln!(out, "lockdown    {}", kernel.lockdown.as_deref().unwrap_or("not readable"))?;
    for attempt in backends {
        match &attempt.refused {
            None => writeln!(out, "{:<11} works: it reported the canary", attempt.backend)?,
            Some(reason) => writeln!(out, "{:<11} no: {reason}", attempt.backend)?,
        }
    }
    match chosen {
        Some(backend) => writeln!(out, "chosen      {backend}")?,
        None => writeln!(out, "chosen      none: dkimwatch cannot see on this host")?,
    }
    for Unseen { id, text } in unseen {
        writeln!(out, "unseen      {id}: {text}")?;
    }
    match pins {
        Pins::Nowhere => writeln!(out, "pins        no: there is no BPF file system for {PIN_FOLDER}")?,
        Pins::None => writeln!(out, "pins        none in {PIN_FOLDER}")?,
        Pins::Hooks { hooks, whole: true } => {
            writeln!(
                out,
                "pins        {hooks} hooks in {PIN_FOLDER}: they see while `dkimwatch run` does not run, too"
            )?;
        }
        Pins::Hooks { hooks, whole: false } => writeln!(
            out,
            "pins        {hooks} hooks in {PIN_FOLDER}: they see while `dkimwatch run` does not run, too, but others have ended or \
             will end with it"
        )?,
        Pins::Unknown { reason } => writeln!(out, "pins        unknown: {PIN_FOLDER}: {reason}")?,
    }
    for advice in advice {
        writeln!(out, "advice      {advice}")?;
    }
    Ok(())
}
