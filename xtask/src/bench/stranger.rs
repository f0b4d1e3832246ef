//! The stranger of the flood: opens one file a given number of times, at a given rate or as fast as it can.

use std::{
    ffi::CString,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags};

/// What to open, how often, and how fast.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file
    file: PathBuf,
    /// Opens
    #[arg(long)]
    count: u64,
    /// Opens a second; without it, as fast as they go
    #[arg(long)]
    rate: Option<u64>,
}

/// Prints what the opens took, in nanoseconds (`CLOCK_MONOTONIC`).
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let path = CString::new(arguments.file.as_os_str().as_bytes()).context("a path has no NUL")?;
    let start = Instant::now();
    for number in 0..arguments.count {
        if let Some(rate) = arguments.rate {
            // One that woke late makes up for it: what counts is the rate over all.
            #[expect(clippy::disallowed_methods, reason = "a rate is kept by the clock; no event is waited for")]
            thread::sleep(due(number, rate).saturating_sub(start.elapsed()));
        }
        let file = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        drop(file.with_context(|| format!("cannot open {}", arguments.file.display()))?);
    }
    println!("{}", start.elapsed().as_nanos());
    Ok(ExitCode::SUCCESS)
}

/// When the open of this number (from 0) is due, after the first.
fn due(number: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    let part = number % rate * 1_000_000_000 / rate;
    Duration::from_secs(number / rate) + Duration::from_nanos(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_are_due_evenly() {
        assert_eq!(due(0, 3_000), Duration::ZERO);
        assert_eq!(due(3_001, 3_000), Duration::new(1, 333_333));
        assert_eq!(due(u64::MAX / 2, 1), Duration::from_secs(u64::MAX / 2));
    }
}
