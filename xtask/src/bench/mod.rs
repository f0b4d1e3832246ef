//! `bench`: what watching costs everybody else, in instructions.
//!
//! One open and close of a file that nobody watches, in a guest whose every nanosecond is one instruction
//! (QEMU, `-icount shift=0`), so that the figures repeat: with nothing, with an empty program at the hook, with each
//! backend, and with auditd and a watch rule, all in the same run of the same guest.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{self, quote},
    kernels,
    setup::{self, Need},
    vm::{Boot, FileSystem},
    workspace,
};

mod figures;
pub(crate) mod guest;
pub(crate) mod open_loop;

use figures::Figures;

/// What `bench` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernels to measure on
    #[arg(long, value_delimiter = ',', default_values_t = ["6.1".to_owned(), "newest".to_owned()])]
    kernels: Vec<String>,
}

/// Measures, prints the tables, and fails where a promise does not hold.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::require(&[Need::Build, Need::Guests])?;
    command::run(&mut command::cargo(["build", "--release", "-p", "dkimwatch"]))?;
    let folder = workspace::target().join("bench");
    command::folder(&folder)?;
    let audit = audit()?;
    let (mut tables, mut broken) = (String::new(), Vec::new());
    for series in &arguments.kernels {
        let figures = measure(series, &folder, &audit)?;
        tables += &figures.table();
        tables.push('\n');
        broken.extend(figures.broken());
    }
    let report = folder.join("report.md");
    fs::write(&report, &tables).with_context(|| format!("cannot write {}", report.display()))?;
    println!("\n{tables}(the same, and the figures as JSON, in {})", folder.display());
    for promise in &broken {
        println!("NOT KEPT: {promise}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(series: &str, folder: &Path, audit: &Path) -> Result<Figures> {
    let results = folder.join(format!("{series}.json"));
    // Figures of an earlier run must not pass for this one's.
    let _ = fs::remove_file(&results);
    let own = env::current_exe().context("this program has no path")?;
    let path = |path: &Path| quote(&path.to_string_lossy());
    let script = format!(
        "exec {} guest-bench --dkimwatch {} --audit {} --file /mnt/disk/unrelated --out {}",
        path(&own),
        path(&workspace::target().join("release/dkimwatch")),
        path(audit),
        path(&results)
    );
    let boot = Boot {
        script,
        icount: true,
        disk: Some(FileSystem::Ext4),
        out: Some(folder.to_owned()),
        timeout: Duration::from_secs(900),
        ..Boot::new(kernels::obtain(series)?)
    };
    let finished = boot.run(&mut io::stdout())?;
    if finished.status != 0 {
        bail!("the guest's half of the measurement failed on Linux {}: exit {}", boot.kernel.release, finished.status);
    }
    let text = fs::read(&results).with_context(|| format!("the guest left no figures at {}", results.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} does not hold figures", results.display()))
}

/// Debian's auditd, unpacked for the guest and not installed: installing would start it here.
fn audit() -> Result<PathBuf> {
    let folder = workspace::target().join("bench-audit");
    if !folder.exists() {
        let unpacking = folder.with_extension("unpacking");
        let _ = fs::remove_dir_all(&unpacking);
        kernels::unpack_from_system("auditd", &unpacking)?;
        fs::rename(&unpacking, &folder).context("cannot move auditd into its place")?;
    }
    Ok(folder)
}
