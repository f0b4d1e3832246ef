//! A socket that may be asked: one of root's, which not everybody may write to.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open},
    io::Errno,
};

use super::SocketFault;

/// A socket that was looked at.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// The socket at a path. Nobody is asked yet.
    pub(super) fn open(path: &Path) -> Result<Self, SocketFault> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let socket = open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => SocketFault::Missing,
            error => SocketFault::Unreadable(error.to_string()),
        })?;
        let stat = fstat(&socket).map_err(|error| SocketFault::Unreadable(error.to_string()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(SocketFault::NotASocket);
        }
        // Who may write to an engine's socket is root as well; for a group, that is somebody's decision.
        match stat {
            stat if stat.st_uid != 0 => Err(SocketFault::Owner(stat.st_uid)),
            stat if stat.st_mode & 0o002 != 0 => Err(SocketFault::Writable(stat.st_mode & 0o7777)),
            _ => Ok(Self(socket)),
        }
    }

    /// A socket whosever it is.
    #[cfg(test)]
    pub(super) fn of_anybody(path: &Path) -> Self {
        Self(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("a socket"))
    }

    /// Where to connect to: the very socket that was looked at, whatever has been put at its path since. It is short as well; an
    /// address has 108 bytes.
    pub(super) fn place(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
