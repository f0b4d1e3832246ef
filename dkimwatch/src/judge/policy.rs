//! What the judge judges by: the settings, with every name resolved to what the kernel reports.

use std::path::PathBuf;

use dkimwatch_common::{identity::FileId, watch::Tag};

use super::{Contained, Guarded, JudgedKey, PublicNames};

/// The policy: who may read which key.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Signers and maintenance tools, in the order they are asked.
    pub readers: Vec<Reader>,
    /// The watch list, by tag.
    pub watched: Vec<Watched>,
    /// Names of files beside the keys that anyone may read (`keys.public`).
    pub public: PublicNames,
    /// Mount namespace of the watcher: a path means something only in its own.
    pub host_mnt_ns: u32,
    /// systemd runs this host and names the cgroups of the unified hierarchy, so that a service's process is in its unit's
    /// cgroup.
    pub systemd: bool,
    /// What of the watcher's own is guarded, by the entry of its tag (`dkimwatch_common::watch::own_tag`).
    pub guarded: Vec<Guarded>,
    /// The login session that the watcher was started in (`/proc/self/sessionid`); `None` where it was started in none, as a
    /// service is.
    pub own_session: Option<u32>,
}

/// Which kind of reader is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Signs mail with the key.
    Signer,
    /// Reads it for a declared reason.
    Maintenance,
}

/// An expected reader, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its name in the configuration.
    pub name: String,
    /// Signer or maintenance.
    pub role: Role,
    /// The executable's path, as configured, for messages.
    pub executable: PathBuf,
    /// Every file that has been at that path since the watch started, newest last: a running process keeps the old one over a package upgrade.
    pub images: Vec<ExpectedImage>,
    /// The path of the newest file with links resolved; `None` where there is none.
    pub place: Option<PathBuf>,
    /// For an interpreted signer, the script that `execve` must have been given, in the host's mount namespace.
    pub script: Option<PathBuf>,
    /// Real uids that may read. Empty: any, if `users` is empty as well; else the named users do not exist, and nobody may.
    pub uids: Vec<u32>,
    /// The users as configured, for messages.
    pub users: Vec<String>,
    /// systemd units; empty: any.
    pub units: Vec<String>,
    /// Container ids, prefixes of them, or names; empty: not restricted to a container.
    pub containers: Vec<String>,
    /// Of a signer that is expected in containers of an image.
    pub contained: Option<Contained>,
    /// Tags of the keys it may read; `None`: all.
    pub keys: Option<Vec<Tag>>,
}

impl Reader {
    /// Whether it can be met: its program is on the host, or expected in containers.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !self.images.is_empty() || self.contained.is_some()
    }

    /// Whether a file is its program, on the host or in a container.
    #[must_use]
    pub fn runs(&self, file: FileId) -> bool {
        let met = self.contained.iter().flat_map(|contained| &contained.met).map(|met| &met.program);
        self.images.iter().chain(met).any(|one| one.id == file)
    }
}

/// An executable that a reader may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedImage {
    /// Identity, from the kernel.
    pub id: FileId,
    /// Owner.
    pub uid: u32,
    /// Change time in whole seconds.
    pub ctime: u64,
    /// `st_mode`.
    pub mode: u32,
    /// Whether its bytes are the reader's program.
    pub provenance: Provenance,
}

impl ExpectedImage {
    /// The same state of the same file, whatever is known of its bytes.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.id, self.uid, self.ctime, self.mode) == (other.id, other.uid, other.ctime, other.mode)
    }
}

/// Are the bytes at a reader's path the reader's program?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// They are its package's, or those that were there before; or no package owns them and they were there when the watch
    /// began.
    Accepted,
    /// They are being looked at.
    Pending,
    /// They are not those of the package that owns the path.
    NotPackage(String),
    /// They came while the watch ran, and no package owns them.
    Changed,
    /// They could not be read.
    Unread,
}

/// An entry of the watch list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A key.
    Key(JudgedKey),
    /// A folder as a whole; `signer` is the one configured to use it.
    Folder {
        /// The folder's path.
        path: PathBuf,
        /// The signer configured to use it, where known.
        signer: Option<String>,
    },
}
