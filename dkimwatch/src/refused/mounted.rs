//! A mount whose place is known by its path alone → the key that it lies over, if any.

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

/// The access with the key that lies where something was mounted, or a mount taken away; `None` where none does.
/// `host_mnt_ns` is the watcher's mount namespace: elsewhere the same paths mean other things, and a place that shows the
/// same file or folder as before (services see parts of the host read-only) is no change.
#[must_use]
pub fn mounted(mut access: Access, answer: &Answer, places: &Places, host_mnt_ns: u32) -> Option<Access> {
    let here = access.process.namespaces.known().is_some_and(|namespaces| namespaces.mnt == host_mnt_ns);
    let (path, covered) = match answer {
        Answer::There(found) => {
            let by_path = if here { places.covered(&found.path) } else { None };
            let covered = by_path.or_else(|| at_its_name(found, places))?;
            if !here && (access.deed == Deed::Unmount || places.is_still(found.place, covered)) {
                return None;
            }
            (found.path.clone(), covered)
        }
        // What was mounted is gone, or is behind a mount of its own by now.
        Answer::Nothing { path, .. } if here => (path.clone(), places.covered(path)?),
        Answer::Elsewhere | Answer::Undecided if here => {
            let path = as_asked(&access);
            let covered = places.covered(&path)?;
            (path, covered)
        }
        Answer::Nothing { .. } | Answer::Elsewhere | Answer::Undecided => return None,
    };
    access.file.tag = covered.tag;
    access.file.is_folder = covered.is_folder;
    access.file.watch_kind = file_watch::ARMED;
    access.file.path = Fact::Known(KernelPath { bytes: path.clone(), cut: false });
    access.second = Fact::Known(KernelPath { bytes: path, cut: false });
    if let Answer::There(found) = answer {
        access.file.id = found.id();
        access.file.mode = found.mode;
        access.file.uid = found.uid;
        access.file.gid = found.gid;
        access.file.nlink = found.nlink;
    }
    Some(access)
}

/// What is awaited under the name that the path has in its folder.
fn at_its_name(found: &Found, places: &Places) -> Option<Covered> {
    let folder: Place = found.folder?;
    let name = found.path.rsplit(|byte| *byte == b'/').next()?;
    places.name(folder, name).map(|tag| Covered { tag, is_folder: false })
}
