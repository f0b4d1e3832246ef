//! What the commands say on this kernel, without the scene's watch.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{WatchCommand, program};

use crate::scene::{NOBODY, run};

/// A sentence without a scene.
type Sentence = (&'static str, fn() -> Result<()>);

pub(crate) const SENTENCES: &[Sentence] = &[
    ("doctor_says_which_backend_works_and_why_others_do_not", doctor),
    ("without_rights_the_missing_capability_is_named_and_the_exit_code_is_3", without_rights),
    ("a_key_on_an_overlay_is_told_once", overlay),
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

/// An overlay of this test's own, unmounted with it.
struct Overlay {
    folder: tempfile::TempDir,
}

impl Overlay {
    fn mount() -> Result<Self> {
        let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
        let folder = tempfile::Builder::new().prefix("dkimwatch-overlay-").tempdir_in(disk)?;
        let overlay = Self { folder };
        for name in ["lower/keys", "upper", "work", "merged"] {
            std::fs::create_dir_all(overlay.folder.path().join(name))?;
        }
        std::fs::write(overlay.folder.path().join("lower/keys/mail.private"), "a key")?;
        let at = |name: &str| overlay.folder.path().join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at("merged")))?;
        Ok(overlay)
    }

    fn keys(&self) -> std::path::PathBuf {
        self.folder.path().join("merged/keys")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // What is still mounted keeps its folder; the test has failed already then.
        let _ = Command::new("umount").arg(self.folder.path().join("merged")).status();
    }
}

fn overlay() -> Result<()> {
    let overlay = Overlay::mount()?;
    let key = overlay.keys().join("mail.private");
    let config = format!("[keys]\ndiscover = false\npaths = [{:?}]\n", overlay.keys().display().to_string());
    let mut command = WatchCommand::new().config(config);
    if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
        command = command.backend(&backend);
    }
    let watch = command.start()?;
    let lower = run(Command::new("cat").arg(&key))?;
    // A write copies the file up; the key is then another one below, and the same one here.
    run(Command::new("sh").args(["-c", "echo more >> \"$0\""]).arg(&key))?;
    let upper = run(Command::new("cat").arg(&key))?;
    let watched = watch.stop()?;
    for reader in [lower, upper] {
        watched.events.accesses().by(reader).one("one access by each reader")?;
    }
    ensure!(watched.events.accesses().len() == 3, "two readers, one writer:\n{}", watched.events.accesses());
    Ok(())
}
