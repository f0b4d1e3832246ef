//! What the commands say on this kernel, without the scene's watch.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::program;

use crate::{
    Sentence,
    scene::{NOBODY, Scene},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("doctor_says_which_backend_works_and_why_others_do_not", doctor),
    ("without_rights_the_missing_capability_is_named_and_the_exit_code_is_3", without_rights),
    ("a_backend_that_the_kernel_refuses_is_exit_code_3_with_the_reason", refused_backend),
    ("an_lsm_program_that_the_kernel_accepts_and_never_calls_is_refused_by_the_canary", silent_lsm),
];

/// What `doctor` found of each backend: the kernel's reason against it, or nothing. Asking it takes seconds in a guest.
type Backends = BTreeMap<String, Option<String>>;

static DOCTOR: Mutex<Option<Backends>> = Mutex::new(None);

/// What `doctor` finds, asked once.
fn backends() -> Result<Backends> {
    let mut known = DOCTOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*known {
        return Ok(known.clone());
    }
    let output = Command::new(program()?).args(["doctor", "--json"]).output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let chosen = findings.get("chosen").and_then(|chosen| chosen.as_str()).context("chosen")?;
    let mut found = Backends::new();
    for attempt in findings.get("backends").and_then(|backends| backends.as_array()).context("backends")? {
        let name = attempt.get("backend").and_then(|name| name.as_str()).context("backend")?;
        let refused = attempt.get("refused").context("refused")?;
        ensure!(refused.is_null() || refused.as_str().is_some_and(|reason| !reason.is_empty()), "{attempt}");
        found.insert(name.to_owned(), refused.as_str().map(str::to_owned));
    }
    ensure!(found.len() == 3 && found.get(chosen) == Some(&None), "{findings}");
    Ok(known.insert(found).clone())
}

/// The backends that `doctor` found refused, each with the first line of the kernel's reason; none while it was not asked.
pub(crate) fn refused() -> BTreeMap<String, String> {
    let known = DOCTOR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let first_line = |reason: String| reason.lines().next().unwrap_or_default().to_owned();
    known.unwrap_or_default().into_iter().filter_map(|(name, reason)| Some((name, first_line(reason?)))).collect()
}

fn doctor(_: &Scene) -> Result<()> {
    let backends = backends()?;
    if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
        ensure!(backends.get(&backend) == Some(&None), "{backend} is tested here and yet: {backends:?}");
    }
    Ok(())
}

fn without_rights(_: &Scene) -> Result<()> {
    let output = Command::new(program()?).args(["watch", "--key", "/etc/hostname"]).uid(NOBODY).gid(NOBODY).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "{output:?}");
    ensure!(said.contains("CAP_BPF"), "{said}");
    Ok(())
}

fn refused_backend(scene: &Scene) -> Result<()> {
    let name = "a_backend_that_the_kernel_refuses_is_exit_code_3_with_the_reason";
    backends()?;
    let refused = refused();
    if refused.is_empty() {
        scene.absent(name, "this kernel refuses no backend");
    }
    for (backend, reason) in refused {
        refuses(&backend, &reason)?;
    }
    Ok(())
}

/// `watch` with this backend ends with 3, and says why.
fn refuses(backend: &str, reason: &str) -> Result<()> {
    let output = Command::new(program()?).args(["watch", "--key", "/etc/hostname", "--backend", backend]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "{output:?}");
    ensure!(said.contains(reason), "{said} does not say {reason}");
    Ok(())
}

fn silent_lsm(scene: &Scene) -> Result<()> {
    let name = "an_lsm_program_that_the_kernel_accepts_and_never_calls_is_refused_by_the_canary";
    let listed =
        fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|list| list.split(',').any(|lsm| lsm == "bpf"));
    if listed {
        scene.absent(name, "`bpf` is in this kernel's LSM list");
        return Ok(());
    }
    match backends()?.remove("lsm").flatten() {
        Some(reason) if reason.contains("Operation not permitted") => {
            scene.absent(name, "this kernel does not accept the program");
            Ok(())
        }
        Some(reason) => {
            ensure!(reason.contains("did not report the canary"), "{reason}");
            refuses("lsm", &reason)
        }
        None => anyhow::bail!("`bpf` is not in the LSM list, and yet lsm is said to work"),
    }
}
