//! Whether a record is about the file that was enrolled: inode numbers are used again.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use dkimwatch_common::{deed::Deed, identity::FileId, watch::is_own};

use super::{WatchList, own};
use crate::{
    decode::{Access, Fact},
    judge::Watched,
    kernel::{KernelError, Session},
};

impl WatchList {
    /// Whether a record is about the file that was enrolled, or its inode number was reused. The number of the generation
    /// alone does not decide, because the file's owner can set it (`FS_IOC_SETVERSION`).
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn standing(&self, access: &Access, session: &mut Session) -> Result<Standing, KernelError> {
        self.standing_by(access, |path| {
            let Ok(handle) = self.contained.open(access.file.tag, path) else { return Ok(None) };
            Ok(session.identify(&[handle])?.into_iter().flatten().next().map(|found| found.file))
        })
    }

    /// As [`Self::standing`]; `at` says what file is at a path now, `None` where there is none.
    pub(super) fn standing_by(
        &self,
        access: &Access,
        at: impl FnOnce(&Path) -> Result<Option<FileId>, KernelError>,
    ) -> Result<Standing, KernelError> {
        let file = &access.file;
        if self.is_another_folder(access) {
            return Ok(Standing::Another);
        }
        if file.generation == file.watch_generation {
            return Ok(Standing::Enrolled);
        }
        // Of what a deed put in the key's place the backend tells as such, beside this; but not of what a worker of io_uring
        // did, whose other path is as it was asked for.
        let is_told_beside = matches!(access.deed, Deed::Rename | Deed::Link) && !access.process.io_worker;
        let put_there = |key: &Path| {
            let named = is_told_beside.then_some(&access.second).and_then(Fact::known);
            named.is_some_and(|path| {
                let path = path.bytes.strip_prefix(b"/").unwrap_or(&path.bytes);
                !path.is_empty() && key.ends_with(OsStr::from_bytes(path))
            })
        };
        let opened = file.path.known().map(|path| Path::new(OsStr::from_bytes(&path.bytes)));
        if is_own(file.tag) {
            return Ok(if own::is_at(&self.policy, file.tag, opened) { Standing::Enrolled } else { Standing::Another });
        }
        let enrolled = match usize::try_from(file.tag).ok().and_then(|tag| self.policy.watched.get(tag)) {
            Some(Watched::Key(key)) => match at(&key.path)? {
                // One that had no name then has become the key since.
                Some(now) if now != file.id || file.nlink == 0 => false,
                Some(_) if put_there(&key.path) && opened != Some(&key.path) => return Ok(Standing::Heir),
                Some(_) => true,
                None => opened == Some(&key.path),
            },
            Some(Watched::Folder { path, .. }) => opened.is_some_and(|opened| opened.starts_with(path)),
            None => false,
        };
        Ok(if enrolled { Standing::Enrolled } else { Standing::Another })
    }
}

/// What a file is that has a watched one's inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The one that was enrolled, as far as can be found out.
    Enrolled,
    /// Another one, which became the key by this very deed: the backend tells of that beside this.
    Heir,
    /// Another one, which is nothing to us.
    Another,
}
