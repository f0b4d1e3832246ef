//! Exit codes, written once.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to report.
    Quiet = 0,
    /// It found something that a person should look at.
    Findings = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// It cannot see: rights or kernel features are missing.
    Blind = 3,
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
