//! Running other programs, with errors that repeat the command line.

use std::{
    env,
    ffi::OsStr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::workspace;

/// The command line as a person would type it, without its environment.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// `word`, quoted for a POSIX shell where it must be.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs it on our own terminal; any status but 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs it and returns its standard output; any status but 0 is an error that shows standard error.
pub(crate) fn capture(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}\n{}", line(command), output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output.stdout)
}

/// Finds a program on `PATH`, or in the folders of the administrator's programs, which a plain user's `PATH` lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// As [`find`], with an error that names the remedy.
pub(crate) fn require(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("`{program}` is not installed: run `cargo xtask setup`"))
}

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Whether we are root, which kernel programs, `virtiofsd` and the package client need.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits for a child, at most until `deadline`; `None`: it still runs.
pub(crate) fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    // A child that nobody has waited for keeps its pid, so this cannot name another process.
    let fd = pidfd_open(pid, PidfdFlags::empty()).context("cannot wait for a child: pidfd_open needs Linux 5.3")?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        match poll(&mut [PollFd::new(&fd.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for a child"),
        }
    }
}

/// A child that does not outlive us.
pub(crate) struct Reaped(pub(crate) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seconds, as the summaries print them.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Creates a folder with its parents.
pub(crate) fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_split_are_quoted() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("--key=/a/b.key"), "--key=/a/b.key");
        assert_eq!(quote("$HOME"), "'$HOME'");
    }

    #[test]
    fn a_failing_program_is_named_with_its_message() {
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).expect_err("it exits with 3");
        let text = format!("{error:#}");
        assert!(
            text.contains("sh -c 'echo why >&2; exit 3'") && text.contains("exit status: 3") && text.contains("why"),
            "{text}"
        );
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_at_the_end() {
        let mut child = Reaped(Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat runs"));
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(wait_until(&mut child.0, soon).expect("it can be waited for").is_none());
        drop(child.0.stdin.take());
        let late = Instant::now() + Duration::from_secs(60);
        assert!(wait_until(&mut child.0, late).expect("it can be waited for").expect("cat saw the end").success());
    }
}
