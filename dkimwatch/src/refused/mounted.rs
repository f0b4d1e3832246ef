//! A mount whose place is known by its path alone → the key that it lies over, if any.

use std::os::unix::ffi::OsStrExt as _;

use dkimwatch_common::{
    deed::Deed,
    watch::{Tag, file_watch},
};

use super::{Answer, Places, as_asked};
use crate::decode::{Access, Fact, KernelPath};

/// What lies at a path that something was mounted at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    /// The watch list's entry.
    pub(super) tag: Tag,
    /// A folder that leads to it, and not the key itself.
    pub(super) is_folder: bool,
}

/// The access with the key that lies where something was mounted, or a mount taken away, in the watcher's own mount namespace;
/// `None` where none does.
#[must_use]
pub fn mounted(access: Access, answer: &Answer, places: &Places) -> Option<Access> {
    let Answer::Nothing { folder, path } = answer else { return None };
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let by_name = || places.name(*folder, name).map(|tag| Covered { tag, is_folder: false });
    let covered = places.covered(path).or_else(by_name)?;
    Some(covering(access, path.clone(), covered))
}

/// As [`mounted`], where the path as it was asked for says it already.
///
/// # Errors
/// The access as it was, where its path has to be followed.
pub fn mounted_as_asked(access: Access, places: &Places) -> Result<Access, Box<Access>> {
    match as_asked_for(&access, places) {
        Some((path, covered)) => Ok(covering(access, path, covered)),
        None => Err(Box::new(access)),
    }
}

/// As [`mounted`], of another mount namespace: what is mounted there hides nothing here, unless the two share their mounts.
#[must_use]
pub fn propagated(access: Access, places: &Places) -> Option<Access> {
    let (path, covered) = as_asked_for(&access, places)?;
    let mounts = procfs::process::Process::myself().and_then(|me| me.mountinfo()).ok()?;
    let shared = mounts.into_iter().any(|mount| mount.mount_point.as_os_str().as_bytes() == path);
    (access.deed == Deed::Mount && shared).then(|| covering(access, path, covered))
}

fn as_asked_for(access: &Access, places: &Places) -> Option<(Vec<u8>, Covered)> {
    let path = as_asked(access);
    let covered = places.covered(&path)?;
    Some((path, covered))
}

fn covering(mut access: Access, path: Vec<u8>, covered: Covered) -> Access {
    access.file.tag = covered.tag;
    access.file.is_folder = covered.is_folder;
    access.file.watch_kind = file_watch::ARMED;
    access.file.path = Fact::Known(KernelPath { bytes: path.clone(), cut: false });
    access.second = Fact::Known(KernelPath { bytes: path, cut: false });
    access
}
