//! What the commands say on this kernel, without the scene's watch.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::program;

use crate::scene::NOBODY;

/// A sentence without a scene.
type Sentence = (&'static str, fn() -> Result<()>);

pub(crate) const SENTENCES: &[Sentence] = &[
    ("doctor_says_which_backend_works_and_why_others_do_not", doctor),
    ("without_rights_the_missing_capability_is_named_and_the_exit_code_is_3", without_rights),
    ("a_backend_that_the_kernel_refuses_is_exit_code_3_with_the_reason", refused_backend),
];

/// The backends that `doctor` found refused, each with the first line of the kernel's reason.
static REFUSED: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// What `doctor` found refused, once its sentence has been tried.
pub(crate) fn refused() -> BTreeMap<String, String> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn doctor() -> Result<()> {
    let output = Command::new(program()?).args(["doctor", "--json"]).output()?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let chosen = findings.get("chosen").and_then(|chosen| chosen.as_str()).context("chosen")?;
    let backends = findings.get("backends").and_then(|backends| backends.as_array()).context("backends")?;
    ensure!(backends.len() == 3, "{findings}");
    for attempt in backends {
        let name = attempt.get("backend").and_then(|name| name.as_str()).context("backend")?;
        let refused = attempt.get("refused").context("refused")?;
        ensure!(refused.is_null() || refused.as_str().is_some_and(|reason| !reason.is_empty()), "{attempt}");
        if name == chosen {
            ensure!(refused.is_null(), "{attempt}");
        }
        if let Some(reason) = refused.as_str().and_then(|reason| reason.lines().next()) {
            REFUSED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), reason.to_owned());
        }
    }
    if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
        let works = backends.iter().any(|attempt| {
            attempt.get("backend").is_some_and(|name| *name == backend)
                && attempt.get("refused").is_some_and(serde_json::Value::is_null)
        });
        ensure!(works, "{backend} is tested here and yet: {findings}");
    }
    Ok(())
}

fn without_rights() -> Result<()> {
    let output = Command::new(program()?).args(["watch", "--key", "/etc/hostname"]).uid(NOBODY).gid(NOBODY).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "{output:?}");
    ensure!(said.contains("CAP_BPF"), "{said}");
    Ok(())
}

fn refused_backend() -> Result<()> {
    let output = Command::new(program()?).args(["doctor", "--json"]).output()?;
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let backends = findings.get("backends").and_then(|backends| backends.as_array()).context("backends")?;
    for attempt in backends {
        let (Some(name), Some(reason)) = (
            attempt.get("backend").and_then(|name| name.as_str()),
            attempt.get("refused").and_then(|reason| reason.as_str()),
        ) else {
            continue;
        };
        let output = Command::new(program()?).args(["watch", "--key", "/etc/hostname", "--backend", name]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(3), "{output:?}");
        let reason = reason.lines().next().unwrap_or_default();
        ensure!(said.contains(reason), "{said} does not say {reason}");
    }
    Ok(())
}
