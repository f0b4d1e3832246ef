//! What a command's end means to whoever called it: the exit codes, written once.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work and has nothing to report.
    Quiet = 0,
    /// It did its work and found something.
    Findings = 1,
    /// It was called or configured wrongly.
    Usage = 2,
    /// It could not see what it was asked to watch.
    Blind = 3,
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
