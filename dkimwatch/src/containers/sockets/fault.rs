//! Why a socket gave nothing, and what can be done.

use std::{error::Error, time::Duration};

use crate::{containers::json::cut, escape};

/// Why a socket gave nothing. Its name stands before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketFault {
    /// Nothing is at that path: the engine does not run, or has its socket elsewhere.
    #[error("does not exist: start the engine, or correct the path")]
    Missing,
    /// The system refused to look at it.
    #[error("cannot be looked at: {0}")]
    Unreadable(String),
    /// A file or a folder stands there.
    #[error("is no socket: name the engine's own")]
    NotASocket,
    /// Somebody who is not root made it, and could answer whatever he likes.
    #[error("is owned by uid {0}, who could answer anything: only root's sockets are asked")]
    Owner(u32),
    /// Everybody may connect to it, and is root by that.
    #[error(
        "may be written by everybody (mode {0:04o}): only sockets that root and a group may write are asked; run: chmod o-w"
    )]
    Writable(u32),
    /// Nobody listens at it, or he hung up.
    #[error("cannot be asked: {0}; see whether the engine runs")]
    Unreachable(String),
    /// Somebody listens and is silent.
    #[error("gave no answer within {0:?}: see whether the engine hangs")]
    TooLate(Duration),
    /// What it says is no answer to what it was asked.
    #[error("gave no answer that can be understood: {0}; is it another engine's?")]
    Garbage(String),
    /// It answered that it does not want to.
    #[error("refused to answer: {0}")]
    Refused(String),
    /// It answered, and knows no such container: another instance's, or gone by now.
    #[error("has no such container: it has ended, or is another engine's; if so, name that one's socket")]
    NoSuchContainer,
}

/// What others say of a fault, all the way down to its cause, as text that can be shown.
pub(super) fn said(error: &(dyn Error + 'static)) -> String {
    /// Causes below one another.
    const DEEPEST: usize = 8;
    let (mut said, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next.filter(|_| said.len() < DEEPEST) {
        said.push(error.to_string());
        next = error.source();
    }
    said.dedup();
    shown(&said.join(": "))
}

/// A text of theirs, cut and escaped.
pub(super) fn shown(text: &str) -> String {
    escape::text(cut(text).as_bytes())
}
