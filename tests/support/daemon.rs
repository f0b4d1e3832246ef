//! A daemon of an engine, for as long as a value lives.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// How long a daemon may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Dropped, it is ended in order.
#[derive(Debug)]
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it, with its log in this folder, and waits until it is there.
    pub(super) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let log = fs::File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // As it tells systemd that it is there: sd_notify(3).
        let notices = folder.join("notices");
        let notified = UnixDatagram::bind(&notices).context("a socket for its notice")?;
        notified.set_read_timeout(Some(PATIENCE))?;
        let daemon = command.env("NOTIFY_SOCKET", &notices).spawn();
        let daemon = Self(daemon.with_context(|| format!("{command:?}: see cargo xtask setup"))?);
        let mut notice = [0; 256];
        let said = notified.recv(&mut notice).ok().and_then(|length| notice.get(..length)).unwrap_or_default();
        if !said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            bail!("{command:?} does not come up here:\n{log}");
        }
        fs::remove_file(notices)?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It takes what it has started with it.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
