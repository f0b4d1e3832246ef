//! A mount whose place is known by its path alone → the key that it lies over, if any.

use std::os::unix::ffi::OsStrExt as _;

use dkimwatch_common::{
    deed::Deed,
    watch::{Tag, file_watch},
};

use super::{Answer, Found, Place, Places, as_asked};
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
    let (path, covered) = match answer {
        Answer::There(found) => {
            (found.path.clone(), places.covered(&found.path).or_else(|| at_its_name(found, places))?)
        }
        // What was mounted is gone, or is behind a mount of its own by now.
        Answer::Nothing { path, .. } => (path.clone(), places.covered(path)?),
        Answer::Elsewhere | Answer::Undecided => as_asked_for(&access, places)?,
    };
    Some(covering(access, path, covered))
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

/// What is awaited under the name that the path has in its folder.
fn at_its_name(found: &Found, places: &Places) -> Option<Covered> {
    let folder: Place = found.folder?;
    let name = found.path.rsplit(|byte| *byte == b'/').next()?;
    places.name(folder, name).map(|tag| Covered { tag, is_folder: false })
}
