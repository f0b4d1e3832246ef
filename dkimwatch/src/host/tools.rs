//! Running a signer's own tool: bounded in time and output, and only a tool that nobody but root could have put there.

use std::{
    io::{self, Read as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// How long a tool may take. `rspamadm configdump` takes 1.2 s where its DNS answers, and stalls where it does not.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a killed tool may take to go.
const GRACE: Duration = Duration::from_secs(1);
/// Most that a tool may print, in bytes.
const LONGEST_OUTPUT: usize = 16 << 20;

/// The user that a tool is run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// User.
    pub uid: u32,
    /// Group; there are no supplementary ones.
    pub gid: u32,
}

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Somebody other than root could have written it; running it would run their program.
    #[error("is not run: it is owned by uid {uid} with mode {mode:04o}, and only root may be able to change it")]
    Untrusted {
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// It did not end in time.
    #[error("did not end within {0:?} and was killed")]
    Late(Duration),
    /// It printed too much.
    #[error("printed more than {0} bytes and was killed")]
    TooLong(usize),
    /// It reported failure.
    #[error("failed: {status}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
    },
    /// The system refused.
    #[error("cannot be run: {0}")]
    Io(#[from] io::Error),
}

/// Runs the signers' tools; tests put their own answers here.
pub trait Tools: Send + Sync {
    /// Runs `program` with `args` as `user` (only root can, others run it as themselves) and returns its standard output.
    ///
    /// # Errors
    /// It gave no answer; see [`ToolError`].
    fn run(&self, program: &Path, args: &[&str], user: Option<RunAs>) -> Result<Vec<u8>, ToolError>;
}

/// The tools installed on this host.
#[derive(Clone, Copy, Debug)]
pub struct Installed;

impl Tools for Installed {
    fn run(&self, program: &Path, args: &[&str], user: Option<RunAs>) -> Result<Vec<u8>, ToolError> {
        let metadata = std::fs::metadata(program)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.uid() != 0 || mode & 0o022 != 0 {
            return Err(ToolError::Untrusted { uid: metadata.uid(), mode });
        }
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
            command.uid(user.uid).gid(user.gid);
        }
        answer(command, DEADLINE)
    }
}

/// Runs `command`, which leads a process group of its own, to its end or the deadline.
fn answer(mut command: Command, deadline: Duration) -> Result<Vec<u8>, ToolError> {
    let end = Instant::now() + deadline;
    let mut child = command.spawn()?;
    let answer = collect(&mut child, end).and_then(|output| {
        if !ended(&child, end)? {
            return Err(ToolError::Late(deadline));
        }
        let status = child.wait()?;
        if status.success() { Ok(output) } else { Err(ToolError::Failed { status }) }
    });
    match answer {
        Err(error @ (ToolError::Untrusted { .. } | ToolError::Failed { .. })) => Err(error),
        Ok(output) => Ok(output),
        Err(error) => {
            stop(&mut child);
            Err(match error {
                ToolError::Late(_) => ToolError::Late(deadline),
                other => other,
            })
        }
    }
}

/// Everything that the child prints, until it closes its output.
fn collect(child: &mut Child, end: Instant) -> Result<Vec<u8>, ToolError> {
    let Some(mut pipe) = child.stdout.take() else { return Ok(Vec::new()) };
    let (mut output, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        if !readable(&pipe, end)? {
            return Err(ToolError::Late(Duration::ZERO));
        }
        // A poll that says readable is followed by one read, which returns what there is.
        match pipe.read(&mut chunk)? {
            0 => return Ok(output),
            read => output.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
        if output.len() > LONGEST_OUTPUT {
            return Err(ToolError::TooLong(LONGEST_OUTPUT));
        }
    }
}

/// Waits until the child has ended; false if it has not by `end`.
fn ended(child: &Child, end: Instant) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    readable(&pidfd, end)
}

/// Waits until `fd` is readable; false if it is not by `end`.
fn readable(fd: &impl std::os::fd::AsFd, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        let fd = fd.as_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills the child with everything it started in its group. One that does not even die (a dead network file system)
/// is left behind rather than waited for.
fn stop(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    if ended(child, Instant::now() + GRACE).unwrap_or(false) {
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<Vec<u8>, ToolError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::null()).process_group(0);
        answer(command, deadline)
    }

    #[test]
    fn an_answer_a_failure_a_hang_and_a_flood() {
        let patient = Duration::from_secs(20);
        assert_eq!(shell("printf 'a\\nb'", patient).unwrap(), b"a\nb");
        assert!(matches!(shell("exit 3", patient), Err(ToolError::Failed { status }) if status.code() == Some(3)));
        let start = Instant::now();
        // The grandchild holds the pipe open; the second one closes it and lives on.
        let short = Duration::from_millis(100);
        assert!(matches!(shell("sleep 60 & sleep 60", short), Err(ToolError::Late(limit)) if limit == short));
        assert!(matches!(shell("exec >&-; sleep 60", short), Err(ToolError::Late(_))));
        assert!(matches!(shell("exec cat /dev/zero", patient), Err(ToolError::TooLong(_))));
        assert!(start.elapsed() < patient, "took {:?}", start.elapsed());
    }

    #[test]
    fn a_tool_that_others_can_change_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Installed.run(&tool, &[], None), Err(ToolError::Untrusted { mode: 0o777, .. })));
    }
}
