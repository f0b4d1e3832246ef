//! Why a journal cannot be had.

use std::path::{Path, PathBuf};

/// What is wrong with a journal, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or folder of it.
    #[error("{path} {what}: {error}", path = crate::escape::path(path))]
    File {
        /// Which.
        path: PathBuf,
        /// What could not be done.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// Another process writes it.
    #[error("{path} is written by another process: end `dkimwatch run` first", path = crate::escape::path(.0))]
    Busy(PathBuf),
    /// There is none.
    #[error("{path} holds no journal: name the folder of journal.path in the configuration, or a copy of it", path = crate::escape::path(.0))]
    Empty(PathBuf),
    /// Others than root may write it.
    #[error(
        "{path} can be written by others than its owner: whoever may write there can remove evidence; chmod go-w it",
        path = crate::escape::path(.0)
    )]
    Open(PathBuf),
    /// Sealing was set up before.
    #[error("{path}: sealing was set up before; with --renew a new verification key is made, and the old one goes on verifying what was sealed until now",
        path = crate::escape::path(.0))]
    SealedAlready(PathBuf),
    /// The folder is another user's.
    #[error(
        "{path} belongs to uid {uid}, who can remove evidence; chown root: it, or name another folder in journal.path",
        path = crate::escape::path(path)
    )]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// The seal's state cannot be read.
    #[error(
        "{path} is no state of a seal, or torn: without it nothing more can be sealed by the old key; begin anew with `dkimwatch journal setup-sealing --renew`",
        path = crate::escape::path(.0)
    )]
    BrokenSeal(PathBuf),
    /// An entry that is longer than any may be.
    #[error("an event of {0} bytes is longer than an entry may be: it is not recorded")]
    TooLong(usize),
}

impl JournalError {
    pub(super) fn at(path: &Path, what: &'static str, error: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), what, error }
    }
}
