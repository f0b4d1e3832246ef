//! The folders, and the files, that mounts lie on. Who takes such a mount away, or renames its place in another mount namespace, uncovers
//! what lies there, and that is then what a key's path leads to.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use dkimwatch_common::identity::{FileId, Identified};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx},
    mount::{OpenTreeFlags, open_tree},
};

use super::look::Look;
use crate::kernel::{Handle, KernelError, Session};

/// What was found below mounts. It is not looked for each time: that makes a mount, for a moment.
#[derive(Debug, Default)]
pub(super) struct Covered {
    known: HashMap<Covering, Option<Identified>>,
    /// That of the look before.
    before: HashMap<Covering, Option<Identified>>,
}

/// A mount at a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Covering {
    path: PathBuf,
    /// Its number, which is used again.
    mount: u64,
    /// When a name in the folder was last changed that it is in: seconds and nanoseconds.
    changed: (i64, u32),
}

impl Covered {
    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.known);
    }

    /// The path that something is mounted at which covers a folder.
    pub(super) fn place(&self, folder: FileId) -> Option<&Path> {
        let is_below = |below: &Option<Identified>| below.is_some_and(|below| below.file == folder);
        self.known.iter().find(|(_, below)| is_below(below)).map(|(covering, _)| covering.path.as_path())
    }

    /// What lies below the mount whose root was found, where `path`, without links, leads; `None` where it is no mount's root.
    /// Of several mounts upon each other it is what the first lies on.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn below(
        &mut self,
        found: &Look,
        path: impl FnOnce() -> Option<PathBuf>,
        session: &mut Session,
    ) -> Result<Option<Identified>, KernelError> {
        let Some(place) = Covering::of(found, path) else { return Ok(None) };
        if let Some(found) = self.known.get(&place).or_else(|| self.before.get(&place)).copied() {
            self.known.insert(place, found);
            return Ok(found);
        }
        let found = match uncovered(&place.path) {
            Ok(handle) => session.identify(&[handle])?.into_iter().flatten().next(),
            Err(error) => {
                tracing::debug!(path = %place.path.display(), %error, "what lies below a mount could not be found out");
                None
            }
        };
        self.known.insert(place, found);
        Ok(found)
    }
}

impl Covering {
    /// The mount whose root was found. The host's own root lies on nothing.
    fn of(found: &Look, path: impl FnOnce() -> Option<PathBuf>) -> Option<Self> {
        if !found.is_mount_root() {
            return None;
        }
        let path = path()?;
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let folder = statx(CWD, path.parent()?, flags, StatxFlags::MTIME).ok()?;
        let changed = (folder.stx_mtime.tv_sec, folder.stx_mtime.tv_nsec);
        Some(Self { path, mount: found.mount, changed })
    }
}

/// What lies at a path below all that is mounted there: in a copy of the mount that it is in, which has nothing mounted on it.
pub(super) fn uncovered(path: &Path) -> io::Result<Handle> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no folder's entry"));
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_NO_AUTOMOUNT;
    let copy = open_tree(CWD, parent, flags)?;
    Ok(Handle::from_fd(openat(&copy, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?))
}
