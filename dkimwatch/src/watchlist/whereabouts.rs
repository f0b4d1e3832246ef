//! Where the folders that are watched, or lead to what is, were when the list was last made true.

use std::{
    collections::HashMap,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use dkimwatch_common::{
    identity::{FileId, Identified},
    limits,
    watch::{Tag, is_own},
};

use super::{Purpose, Target, WatchList};
use crate::{
    decode::Access,
    kernel::{Handle, KernelError, Session},
    refused::{Found, Place},
};

/// Folders that are remembered, those of earlier looks included.
const MOST: usize = 2 * (limits::WAYS + limits::WATCHED_DIRS) as usize;

/// The folders, by the kernel's identity.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(HashMap<FileId, Known>);

#[derive(Debug)]
struct Known {
    tag: Tag,
    identified: Identified,
    place: Place,
    /// Its paths, none of which ends in a link.
    paths: Vec<PathBuf>,
    /// The last look found it there.
    is_current: bool,
}

impl Whereabouts {
    /// A look begins: what it does not find is somewhere else by now, or gone.
    pub(super) fn begin(&mut self) {
        if self.0.len() > MOST {
            self.0.retain(|_, known| known.is_current);
        }
        self.0.values_mut().for_each(|known| known.is_current = false);
    }

    /// A folder that the look found at a path; `by_no_link` says whether that is its own.
    pub(super) fn add(
        &mut self,
        target: &Target,
        identified: &Identified,
        place: Place,
        by_no_link: impl FnOnce() -> bool,
    ) {
        let tag = match target.purpose {
            Purpose::Folder(tag) | Purpose::Nest(tag, _) | Purpose::Way(tag) => tag,
            Purpose::Key(_) | Purpose::Member(_) | Purpose::Link(_) => return,
        };
        let new = || Known { tag, identified: *identified, place, paths: Vec::new(), is_current: true };
        let known = self.0.entry(identified.file).or_insert_with(new);
        if !known.is_current || known.identified.generation != identified.generation {
            *known = new();
        }
        if !known.paths.contains(&target.path) && by_no_link() {
            known.paths.push(target.path.clone());
        }
    }

    /// Whether it is surely another folder, which has the number of one that was here: it has another generation, which its owner
    /// can set, and never was at one of the former one's paths.
    fn is_another(&self, access: &Access) -> bool {
        let Some(known) = self.0.get(&access.file.id) else { return false };
        let path = access.file.path.known().map(|path| path.bytes.as_slice());
        known.identified.generation != access.file.generation
            && path.is_some_and(|path| known.paths.iter().all(|known| known.as_os_str().as_bytes() != path))
    }

    /// The folder that was at this path, or is in this place.
    fn at(&self, path: &[u8], place: Place) -> Option<&Known> {
        let mut current = self.0.values().filter(|known| known.is_current);
        let is_it =
            |known: &Known| known.place == place || known.paths.iter().any(|one| one.as_os_str().as_bytes() == path);
        current.find(|known| is_it(known))
    }
}

/// A folder that has changed places with another one.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// It, as the last look found it.
    pub folder: Identified,
    /// The entry that it is watched for, or leads to.
    pub tag: Tag,
    /// The path that it had.
    pub path: Vec<u8>,
}

impl WatchList {
    /// Whether a folder is still where it was. One that the last look did not find is to be at the path that the record has.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn stands(&self, access: &Access, session: &mut Session) -> Result<bool, KernelError> {
        if let Some(known) = self.whereabouts.0.get(&access.file.id).filter(|known| known.is_current) {
            let is_there = |path: &PathBuf| {
                let handle = self.open_folder(known.tag, path);
                handle
                    .and_then(|handle| Ok(rustix::fs::fstat(&handle)?))
                    .is_ok_and(|stat| Place::from(&stat) == known.place)
            };
            return Ok(known.paths.iter().any(is_there));
        }
        let path = access.file.path.known().filter(|path| !path.cut);
        let Some(path) = path.map(|path| Path::new(std::ffi::OsStr::from_bytes(&path.bytes))) else { return Ok(false) };
        let Ok(handle) = self.open_folder(access.file.tag, path) else { return Ok(false) };
        let identified = session.identify(&[handle])?.into_iter().flatten().next();
        Ok(identified.is_some_and(|identified| identified.file == access.file.id))
    }

    fn open_folder(&self, tag: Tag, path: &Path) -> std::io::Result<Handle> {
        if self.contained.has(tag) { Handle::open_without_links(path) } else { Handle::open_itself(path) }
    }

    /// Whether what was done to a folder was done to one that merely has the number of a watched one.
    pub(super) fn is_another_folder(&self, access: &Access) -> bool {
        access.file.is_folder && !is_own(access.file.tag) && self.whereabouts.is_another(access)
    }

    /// Which of the folders here an exchange moved, by what is found at one of the two paths now.
    #[must_use]
    pub fn exchanged(&self, found: &Found) -> Option<Exchanged> {
        let known = self.whereabouts.at(&found.path, found.place)?;
        let path = known.paths.first()?.as_os_str().as_bytes().to_vec();
        Some(Exchanged { folder: known.identified, tag: known.tag, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Fact, KernelPath, tests::Random};

    const FOLDER: FileId = FileId::new(8 << 20, 77);
    const PLACE: Place = Place { dev: 2_049, ino: 77 };

    fn way(path: &str) -> Target {
        Target { path: path.into(), purpose: Purpose::Way(3) }
    }

    fn identified(generation: u32) -> Identified {
        Identified { file: FOLDER, generation, ..Identified::default() }
    }

    /// A look that found the folder at a path.
    fn looked(whereabouts: &mut Whereabouts, path: &str, generation: u32) {
        whereabouts.begin();
        whereabouts.add(&way(path), &identified(generation), PLACE, || true);
    }

    /// Something that was done to what has its number.
    fn access(path: &str, generation: u32) -> Access {
        let mut access = Random(1).access();
        (access.file.id, access.file.generation) = (FOLDER, generation);
        access.file.path = Fact::Known(KernelPath { bytes: path.as_bytes().to_vec(), cut: false });
        access
    }

    #[test]
    fn a_number_that_is_used_again_is_another_folder_only_by_both_signs() {
        let mut whereabouts = Whereabouts::default();
        assert!(!whereabouts.is_another(&access("/srv/43", 2)), "nothing is known of it");
        looked(&mut whereabouts, "/srv/41", 1);
        for later in [false, true] {
            assert!(!whereabouts.is_another(&access("/srv/41", 1)));
            assert!(!whereabouts.is_another(&access("/srv/41", 2)), "its owner set the generation");
            assert!(!whereabouts.is_another(&access("/srv/43", 1)), "it was renamed, and is renamed again");
            assert!(whereabouts.is_another(&access("/srv/43", 2)));
            if !later {
                whereabouts.begin();
            }
        }
        looked(&mut whereabouts, "/srv/43", 2);
        assert!(!whereabouts.is_another(&access("/srv/43", 2)), "that one leads to a key by now");
    }

    #[test]
    fn what_changed_places_is_found_by_its_place_or_by_its_path() {
        let mut whereabouts = Whereabouts::default();
        looked(&mut whereabouts, "/srv/mail", 1);
        let other = Place { dev: 2_049, ino: 78 };
        assert!(whereabouts.at(b"/srv/other", PLACE).is_some(), "it is where the other one was");
        assert!(whereabouts.at(b"/srv/mail", other).is_some(), "the other one is where it was");
        assert!(whereabouts.at(b"/srv/other", other).is_none());
        whereabouts.begin();
        assert!(whereabouts.at(b"/srv/mail", other).is_none(), "it was no longer there");
    }

    #[test]
    fn a_path_that_ends_in_a_link_is_no_place_of_its_own() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.begin();
        whereabouts.add(&way("/srv/link"), &identified(1), PLACE, || false);
        whereabouts.add(&way("/srv/mail"), &identified(1), PLACE, || true);
        let known = whereabouts.0.get(&FOLDER).expect("it was found");
        assert_eq!(known.paths, [PathBuf::from("/srv/mail")]);
    }
}
