//! What the process's exit code says, once for all commands.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing to report.
    Quiet = 0,
    /// Something a person should look at.
    Findings = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// dkimwatch cannot see: a missing right, a kernel that refuses, a hook that does not fire, an image that cannot be read.
    Blind = 3,
}

impl From<Outcome> for std::process::ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}
