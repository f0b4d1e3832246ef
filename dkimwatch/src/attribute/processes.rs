//! Executables of ancestors, from `/proc`, where the ancestor still lives.

use std::{collections::HashMap, path::PathBuf};

use dkimwatch_common::identity::FileId;

/// Start times in `/proc/PID/stat` are in ticks of `USER_HZ`, which is 100 on every architecture that dkimwatch builds
/// for (`include/uapi/asm-generic/param.h`).
pub(super) const NS_PER_TICK: u64 = 1_000_000_000 / 100;

/// Answers kept. A burst of accesses comes from few families.
const KEPT: usize = 1_024;

/// What `/proc` said of processes, by pid and start time.
#[derive(Debug, Default)]
pub(super) struct Processes {
    seen: HashMap<Asked, Option<PathBuf>>,
}

/// Pid, start time and file of the executable, which changes the answer when the same process calls `exec`.
type Asked = (u32, u64, Option<FileId>);

impl Processes {
    /// The path that `/proc/PID/exe` shows, if the process with that pid is still the one that started then.
    pub(super) fn executable(&mut self, pid: u32, start_ns: u64, exe: Option<FileId>) -> Option<PathBuf> {
        if self.seen.len() >= KEPT {
            self.seen.clear();
        }
        self.seen.entry((pid, start_ns, exe)).or_insert_with(|| read(pid, start_ns)).clone()
    }
}

/// The handle that procfs opens stays with one process, so that a pid reused between the two reads gives an error.
fn read(pid: u32, start_ns: u64) -> Option<PathBuf> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    is_the_one(&process, start_ns).then(|| process.exe().ok()).flatten()
}

/// Bytes of a command line that are looked at: a monitor's has a thousand or two.
const LONGEST: u64 = 16 << 10;

/// The command line of a process that started then.
///
/// Reading it touches the memory of a process that may be hostile, and could wait for a page of its: only of processes that
/// have the name of a monitor.
pub(super) fn command_line(pid: u32, start_ns: u64) -> Option<Vec<Vec<u8>>> {
    use std::io::Read as _;
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let mut line = Vec::new();
    process.open_relative("cmdline").ok()?.take(LONGEST).read_to_end(&mut line).ok()?;
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
    is_the_one(&process, start_ns).then(|| words.map(<[u8]>::to_vec).collect())
}

/// Whether a process that started then still lives.
pub(crate) fn is_alive(pid: u32, start_ns: u64) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .is_some_and(|process| is_the_one(&process, start_ns))
}

/// Whether it is the process that started then.
pub(super) fn is_the_one(process: &procfs::process::Process, start_ns: u64) -> bool {
    process.stat().is_ok_and(|stat| stat.starttime == start_ns / NS_PER_TICK)
}

#[cfg(test)]
mod tests {
    use super::{NS_PER_TICK, Processes};

    #[test]
    fn a_living_process_is_named_and_a_reused_pid_is_not() {
        let me = procfs::process::Process::myself().expect("/proc is mounted");
        let start = me.stat().expect("stat").starttime * NS_PER_TICK;
        let mut processes = Processes::default();
        assert_eq!(processes.executable(std::process::id(), start + 5, None), std::env::current_exe().ok());
        assert_eq!(processes.executable(std::process::id(), start + NS_PER_TICK, None), None);
        assert_eq!(processes.executable(u32::MAX, start, None), None);
    }
}
