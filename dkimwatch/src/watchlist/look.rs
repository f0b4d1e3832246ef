//! What stat(2) knows of what a path leads to, asked once.

use std::{io, os::fd::AsFd};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, fstatfs, makedev, statx};

use super::S_IFMT;
use crate::refused::Place;

/// What statx(2) says of a handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Its device and inode number.
    pub(super) place: Place,
    /// `st_mode`.
    mode: u32,
    /// The mount that it is on.
    pub(super) mount: u64,
    attributes: StatxAttributes,
}

impl Look {
    /// As far as this host knows: no file server is asked, which may never answer.
    ///
    /// # Errors
    /// As statx(2).
    pub(super) fn at(handle: &impl AsFd) -> io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let found = statx(handle, c"", flags, StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID)?;
        Ok(Self {
            place: Place { dev: makedev(found.stx_dev_major, found.stx_dev_minor), ino: found.stx_ino },
            mode: found.stx_mode.into(),
            mount: found.stx_mnt_id,
            attributes: found.stx_attributes,
        })
    }

    /// Whether it is of this kind (`S_IFREG`, `S_IFDIR`, `S_IFLNK`).
    pub(super) const fn is(&self, kind: u32) -> bool {
        self.mode & S_IFMT == kind
    }

    /// Whether it is a mount's root (5.8).
    pub(super) fn is_mount_root(&self) -> bool {
        self.attributes.contains(StatxAttributes::MOUNT_ROOT)
    }

    /// Whether its data is read where it is (`-o dax`).
    pub(super) fn is_direct(&self) -> bool {
        self.attributes.contains(StatxAttributes::DAX)
    }
}

/// A file system's kind (`include/uapi/linux/magic.h`), `None` where it does not say.
pub(super) fn file_system(handle: &impl AsFd) -> Option<u64> {
    u64::try_from(fstatfs(handle).ok()?.f_type).ok()
}
