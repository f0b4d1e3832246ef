//! What is measured: opening and closing one file that nobody watches.

use std::{
    ffi::CString,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};

/// What to open, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file
    file: PathBuf,
    /// Opens
    #[arg(long, default_value_t = 3000)]
    count: usize,
}

/// Opens that are not counted: the first ones find nothing in the caches.
const WARM_UP: usize = 200;

/// Prints the nanoseconds (`CLOCK_MONOTONIC`) of one open and close.
///
/// Each is timed by itself and the median is taken, for a timer's tick falls into some of them and costs more than
/// what is looked for. Reading the clock is timed alike and taken off.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let path = CString::new(arguments.file.as_os_str().as_bytes()).context("a path has no NUL")?;
    let open = || rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    for _ in 0..WARM_UP {
        drop(open().with_context(|| format!("cannot open {}", arguments.file.display()))?);
    }
    let mut clock = Vec::with_capacity(arguments.count);
    let mut opens = Vec::with_capacity(arguments.count);
    for _ in 0..arguments.count {
        let start = Instant::now();
        clock.push(start.elapsed());
        let start = Instant::now();
        let file = open();
        drop(file);
        opens.push(start.elapsed());
    }
    drop(open().with_context(|| format!("{} went away meanwhile", arguments.file.display()))?);
    let (open, clock) = median(&mut opens).zip(median(&mut clock)).context("at least one open")?;
    println!("{}", open.saturating_sub(clock).as_nanos());
    Ok(ExitCode::SUCCESS)
}

fn median(values: &mut [Duration]) -> Option<Duration> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_an_open_with_an_interrupt() {
        let mut times = [9, 1_000_000, 8].map(Duration::from_nanos);
        assert_eq!(median(&mut times), Some(Duration::from_nanos(9)));
        assert_eq!(median(&mut []), None);
    }
}
