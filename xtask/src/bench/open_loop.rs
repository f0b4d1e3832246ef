//! What is measured: something that has to do with no key, again and again.

use std::{
    ffi::CString,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Mode, OFlags};

/// What to do, to which file, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file
    file: PathBuf,
    /// What is done
    #[arg(long, default_value = "open")]
    work: Work,
    /// How often
    #[arg(long, default_value_t = 3000)]
    count: usize,
}

/// Something that anybody does all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Opens and closes the file.
    Open,
    /// Reads a byte of it (pread(2)).
    Read,
    /// Maps it, touches it, and unmaps it.
    Map,
    /// Opens a file that is not there.
    Missing,
    /// Opens a file that it may not read.
    Denied,
    /// Runs `true` and waits for it.
    Process,
    /// Asks who its parent is.
    Call,
}

impl Work {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 7] =
        [Self::Open, Self::Read, Self::Map, Self::Missing, Self::Denied, Self::Process, Self::Call];

    /// As the command line has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Map => "map",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Process => "process",
            Self::Call => "call",
        }
    }
}

/// Rounds that are not counted: the first ones find nothing in the caches.
const WARM_UP: usize = 200;

/// A program that a guest has in memory: busybox, which does what it is called.
const GUESTS_OWN: &str = "/run/guest/busybox";

/// A process takes a thousand times what a system call does.
const PROCESSES: usize = 60;

/// Nobody.
const NOBODY: u32 = 65534;

/// Prints the nanoseconds (`CLOCK_MONOTONIC`) of one round.
///
/// Each is timed by itself and the lower quartile is taken, for what falls into some of them (a timer's tick, in a whole
/// process more than one) only adds, and costs more than what is looked for. Reading the clock is timed alike and taken off.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let path = CString::new(arguments.file.as_os_str().as_bytes()).context("a path has no NUL")?;
    let open = || rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let context = || format!("cannot open {}", arguments.file.display());
    match arguments.work {
        Work::Open => rounds(arguments.count, || open().map(drop).with_context(context)),
        Work::Read => {
            let file = open().with_context(context)?;
            let mut byte = [0_u8; 1];
            rounds(arguments.count, || {
                ensure!(rustix::io::pread(&file, &mut byte, 0)? == 1, "an empty file");
                Ok(())
            })
        }
        Work::Map => {
            let file = open().with_context(context)?;
            rounds(arguments.count, || {
                let (prot, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
                // SAFETY: a new mapping, of which nobody else knows.
                let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, file.as_raw_fd(), 0) };
                ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
                // SAFETY: it begins with the file's first byte, and is undone after that.
                let undone = unsafe {
                    let _ = at.cast::<u8>().read_volatile();
                    libc::munmap(at, 4096)
                };
                ensure!(undone == 0, "munmap: {}", std::io::Error::last_os_error());
                Ok(())
            })
        }
        Work::Missing => rounds(arguments.count, || {
            let missing = rustix::fs::open("/nowhere-to-be-found", OFlags::RDONLY, Mode::empty());
            ensure!(missing.is_err_and(|error| error == rustix::io::Errno::NOENT), "it is there");
            Ok(())
        }),
        Work::Denied => {
            rustix::fs::chmod(path.as_c_str(), Mode::RUSR)?;
            let (gid, uid) = (rustix::process::Gid::from_raw(NOBODY), rustix::process::Uid::from_raw(NOBODY));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            rounds(arguments.count, || {
                ensure!(open().is_err_and(|error| error == rustix::io::Errno::ACCESS), "it was not refused");
                Ok(())
            })
        }
        Work::Process => rounds(PROCESSES.min(arguments.count), || {
            // Linked to nothing, and in the guest's own memory: while the guest waits for the host, its clock leaps.
            let status = Command::new(GUESTS_OWN).arg0("true").stdin(Stdio::null()).status()?;
            ensure!(status.success(), "true is {status}");
            Ok(())
        }),
        Work::Call => rounds(arguments.count, || {
            let _ = rustix::process::getppid();
            Ok(())
        }),
    }
}

fn rounds(count: usize, mut round: impl FnMut() -> Result<()>) -> Result<ExitCode> {
    for _ in 0..WARM_UP.min(count) {
        round()?;
    }
    let mut clock = Vec::with_capacity(count);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        clock.push(start.elapsed());
        let start = Instant::now();
        round()?;
        times.push(start.elapsed());
    }
    let (time, clock) = quartile(&mut times).zip(quartile(&mut clock)).context("at least one round")?;
    println!("{}", time.saturating_sub(clock).as_nanos());
    Ok(ExitCode::SUCCESS)
}

/// The lower one.
fn quartile(values: &mut [Duration]) -> Option<Duration> {
    values.sort_unstable();
    values.get(values.len() / 4).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quartile_ignores_rounds_with_an_interrupt() {
        let mut times = [9, 1_000_000, 8, 3_000_000, 2_000_000].map(Duration::from_nanos);
        assert_eq!(quartile(&mut times), Some(Duration::from_nanos(9)));
        assert_eq!(quartile(&mut []), None);
    }
}
