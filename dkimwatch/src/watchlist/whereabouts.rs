//! Where the keys, the folders that are watched or lead to what is, and the links on the way were when the list was last made true.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use dkimwatch_common::{
    identity::{FileId, Identified},
    limits,
    watch::{Tag, file_watch, is_own},
};

use super::{S_IFDIR, S_IFMT, Target, WatchList, covered};
use crate::{
    decode::{Access, Fact, KernelPath},
    kernel::{Handle, KernelError, Session},
    refused::{self, Place},
};

/// What is remembered, that of earlier looks included.
const MOST: usize = 2 * (limits::WAYS + limits::WATCHED_DIRS + limits::WATCHED_FILES) as usize;

/// A look has not ended.
const UNDER_WAY: u64 = u64::MAX;

/// File systems on which an exchange within one folder changes that folder alone (`include/uapi/linux/magic.h`).
const BY_FOLDER: [u64; 2] = [0x5846_5342, 0xf2f5_2010];

/// What the last look found, by the kernel's identity.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    known: HashMap<FileId, Known>,
    /// When the look began, nanoseconds since boot.
    looked_ns: u64,
}

#[derive(Debug)]
struct Known {
    tag: Tag,
    identified: Identified,
    place: Place,
    /// Its paths without links, and when it was first found there (nanoseconds since boot).
    paths: Vec<(PathBuf, u64)>,
    /// Those of the look before.
    former: Vec<(PathBuf, u64)>,
    /// The last look found it.
    is_current: bool,
    /// When the last look that found it began, and the first that did not since ended, nanoseconds since boot.
    seen_ns: u64,
    lost_ns: u64,
}

impl Known {
    /// Whether it was known to be at its paths when something was done then: a look that no longer found it may have come since.
    const fn was_there(&self, boot_ns: u64) -> bool {
        self.is_current || self.lost_ns >= boot_ns
    }

    fn is_at(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|(known, _)| known.as_os_str().as_bytes() == path)
    }

    const fn is_folder(&self) -> bool {
        self.identified.mode & S_IFMT == S_IFDIR
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.paths.iter().filter_map(|(path, _)| path.file_name()).map(OsStr::as_bytes)
    }
}

impl Whereabouts {
    /// A look begins: what it does not find is somewhere else by now, or gone.
    pub(super) fn begin(&mut self, now_ns: u64) {
        if self.known.len() > MOST {
            self.known.retain(|_, known| known.is_current);
        }
        for known in self.known.values_mut().filter(|known| known.is_current) {
            (known.is_current, known.lost_ns) = (false, UNDER_WAY);
            known.former = std::mem::take(&mut known.paths);
            known.paths.clone_from(&known.former);
        }
        self.looked_ns = now_ns;
    }

    /// It ends: what was not found can have been put elsewhere while it went on.
    pub(super) fn end(&mut self, now_ns: u64) {
        for known in self.known.values_mut().filter(|known| known.lost_ns == UNDER_WAY) {
            known.lost_ns = now_ns;
        }
    }

    /// What the look found at a target's path, which without links is `path`, by `now_ns`: not when the look began, as it may have been
    /// put there since.
    pub(super) fn add(
        &mut self,
        (target, path): (&Target, Option<PathBuf>),
        (identified, place): (&Identified, Place),
        now_ns: u64,
    ) {
        let tag = target.purpose.tag();
        let seen_ns = self.looked_ns;
        let new = || Known {
            tag,
            identified: *identified,
            place,
            paths: Vec::new(),
            former: Vec::new(),
            is_current: true,
            seen_ns,
            lost_ns: 0,
        };
        let known = self.known.entry(identified.file).or_insert_with(new);
        if known.identified.generation != identified.generation {
            *known = new();
        } else if !known.is_current {
            let former = std::mem::take(&mut known.former);
            *known = Known { former, ..new() };
        }
        if let Some(path) = path
            && known.paths.iter().all(|(other, _)| *other != path)
        {
            let before = known.former.iter().find(|(former, _)| *former == path);
            let since = before.map_or(now_ns, |(_, since)| *since);
            known.paths.push((path, since));
        }
    }

    /// Whether it is surely another folder, which has the number of one that was here: it has another generation, which its owner
    /// can set, and another path than the former one had.
    fn is_another(&self, access: &Access) -> bool {
        let Some(known) = self.known.get(&access.file.id) else { return false };
        let Some(path) = access.file.path.known().filter(|path| !path.cut) else { return false };
        let path = path.bytes.as_slice();
        let is_elsewhere = if access.file.path_in_fs {
            known.names().all(|name| Some(name) != path.rsplit(|byte| *byte == b'/').next())
        } else {
            !known.is_at(path)
        };
        known.identified.generation != access.file.generation && !known.paths.is_empty() && is_elsewhere
    }

    fn moved(known: &Known) -> Option<Moved> {
        let path = known.paths.first()?.0.as_os_str().as_bytes().to_vec();
        Some(Moved { what: known.identified, tag: known.tag, path, looked_ns: known.seen_ns })
    }

    /// What was known to lie in one of these folders then.
    fn lying_in<'w>(&'w self, folders: &[&'w Known], boot_ns: u64) -> impl Iterator<Item = &'w Known> {
        let is_of_these = |path: &Path| folders.iter().any(|folder| folder.paths.iter().any(|(of, _)| of == path));
        let there = self.known.values().filter(move |known| known.was_there(boot_ns));
        there.filter(move |known| known.paths.iter().any(|(path, _)| path.parent().is_some_and(is_of_these)))
    }
}

/// What has changed places with something else.
#[derive(Clone, Debug)]
pub struct Moved {
    /// It, as the last look found it.
    pub what: Identified,
    /// The entry that it is watched for, or leads to.
    pub tag: Tag,
    /// The path that it had.
    pub path: Vec<u8>,
    /// When that look began that last found it there, nanoseconds since boot.
    pub looked_ns: u64,
}

impl Moved {
    /// Whether it is a folder.
    #[must_use]
    pub const fn is_folder(&self) -> bool {
        self.what.mode & S_IFMT == S_IFDIR
    }
}

impl WatchList {
    /// Whether a folder is where it was when something was done to it or in it. One that had been lost before that is to be at the path
    /// that the record has. Where one above it is elsewhere, it went along with that, or nobody knows.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn stands(&self, access: &Access, session: &mut Session) -> Result<bool, KernelError> {
        let known = self.whereabouts.known.get(&access.file.id);
        let path = access.file.path.known().filter(|path| !path.cut && !access.file.path_in_fs);
        let path = path.map(|path| Path::new(OsStr::from_bytes(&path.bytes)));
        if let Some(known) = known.filter(|known| known.was_there(access.boot_ns)) {
            // Where it is found since is where it was put. It has several paths where it is mounted, and the record has that which is not.
            let was_at = |(at, since): &&(PathBuf, u64)| *since <= access.boot_ns || path == Some(at);
            let is_its_own = known.paths.iter().any(|(at, _)| path == Some(at));
            let is_meant = |at: &&PathBuf| !is_its_own || path == Some(at);
            let mut places = known.paths.iter().filter(was_at).map(|(at, _)| at).filter(is_meant).peekable();
            let stands = |at: &PathBuf| self.is_at(known, at) || self.is_led_elsewhere(at, access.boot_ns);
            return Ok(places.peek().is_some() && places.all(stands));
        }
        let Some(path) = path else {
            // That it is no longer where it had been before, has been told.
            return Ok(known.is_some());
        };
        let below = self.covered.place(access.file.id).and_then(|path| covered::uncovered(path).ok());
        let handle = below.map_or_else(|| self.open_itself(access.file.tag, path), Ok);
        let Ok(handle) = handle else { return Ok(false) };
        let identified = session.identify(&[handle])?.into_iter().flatten().next();
        Ok(identified.is_some_and(|identified| identified.file == access.file.id))
    }

    fn is_at(&self, known: &Known, path: &Path) -> bool {
        self.open_itself(known.tag, path).and_then(|handle| Place::of(&handle)).is_ok_and(|place| place == known.place)
    }

    /// Whether it is where it was.
    fn is_back(&self, known: &Known) -> bool {
        known.paths.iter().any(|(path, _)| self.is_at(known, path))
    }

    /// Whether a path goes through a folder that was at its place then, and is no longer.
    fn is_led_elsewhere(&self, path: &Path, boot_ns: u64) -> bool {
        let folders = self.whereabouts.known.values().filter(|known| known.was_there(boot_ns) && known.is_folder());
        let mut above = folders.flat_map(|known| known.paths.iter().map(move |(at, _)| (known, at)));
        above.any(|(known, at)| path != at && path.starts_with(at) && !self.is_at(known, at))
    }

    fn is_gone(&self, known: &Known) -> bool {
        !self.is_back(known)
    }

    fn open_itself(&self, tag: Tag, path: &Path) -> std::io::Result<Handle> {
        if self.contained.has(tag) { Handle::open_without_links(path) } else { Handle::open_itself(path) }
    }

    /// The same access as one to each folder that it was done in, of those that are known.
    #[must_use]
    pub fn folders_of(&self, access: &Access) -> Vec<Access> {
        let mut folders = vec![access.file.id, access.file.dir];
        folders.dedup();
        let known = folders.into_iter().filter_map(|folder| self.whereabouts.known.get(&folder));
        let of = |moved: Moved| {
            let (mut access, what) = (access.clone(), moved.what);
            let file = &mut access.file;
            (file.id, file.dir, file.tag) = (what.file, FileId::default(), moved.tag);
            (file.is_folder, file.in_doubt, file.path_in_fs) = (true, true, false);
            (file.generation, file.watch_generation, file.watch_kind) =
                (what.generation, what.generation, file_watch::NONE);
            (file.mode, file.uid, file.gid, file.nlink) = (what.mode, what.uid, what.gid, what.nlink);
            file.path = Fact::Known(KernelPath { bytes: moved.path, cut: false });
            access
        };
        known.filter(|known| known.is_current && known.is_folder()).filter_map(Whereabouts::moved).map(of).collect()
    }

    /// When the look began that last found a folder at its place (nanoseconds since boot), where the record of what was done to it or in
    /// it has another path.
    #[must_use]
    pub fn left(&self, access: &Access) -> Option<u64> {
        let known = self.whereabouts.known.get(&access.file.id)?;
        let path = access.file.path.known().filter(|path| !path.cut)?;
        let is_there = |at: &Path| {
            let at = at.as_os_str().as_bytes();
            if access.file.path_in_fs { at.ends_with(&path.bytes) } else { at == path.bytes }
        };
        known.paths.iter().all(|(at, _)| !is_there(at)).then_some(known.seen_ns)
    }

    /// What lay in the folder that an access was to and is no longer there, on a file system where that may have changed the folder alone.
    #[must_use]
    pub fn missing_in(&self, access: &Access) -> Vec<Moved> {
        let Some(folder) = self.whereabouts.known.get(&access.file.id).filter(|known| known.is_current) else {
            return Vec::new();
        };
        let system = folder.paths.first().and_then(|(path, _)| rustix::fs::statfs(path).ok());
        if !system.is_some_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| BY_FOLDER.contains(&kind))) {
            return Vec::new();
        }
        self.whereabouts
            .lying_in(&[folder], access.boot_ns)
            .filter(|known| !known.is_current || self.is_gone(known))
            .filter_map(Whereabouts::moved)
            .collect()
    }

    /// Whether what was done to a folder was done to one that merely has the number of a watched one.
    pub(super) fn is_another_folder(&self, access: &Access) -> bool {
        access.file.is_folder && !is_own(access.file.tag) && self.whereabouts.is_another(access)
    }

    /// What an exchange moved that was told as it was asked for, by its names and the folders that it was done in.
    #[must_use]
    pub fn exchanged(&self, access: &Access) -> Option<Moved> {
        let asked = access.second.known()?;
        let [(one, first), (other, second)] = refused::named_in(&asked.bytes);
        let known = &self.whereabouts.known;
        let folders: Vec<&Known> =
            [access.file.id, access.file.dir].iter().filter_map(|file| known.get(file)).collect();
        let is_named = |known: &&Known| known.names().any(|name| name == first || name == second);
        // In one folder a name is one thing's; in two, it may be another's.
        let is_moved = |known: &&Known| is_named(known) && (one == other || self.is_gone(known));
        let there = self.whereabouts.lying_in(&folders, access.boot_ns).filter(is_moved);
        // Or it is at one of the two names now: the last look may have missed it, as it was elsewhere for a moment.
        let paths = folders.iter().flat_map(|folder| &folder.paths);
        let paths = paths.flat_map(|(path, _)| [first, second].map(|name| path.join(OsStr::from_bytes(name))));
        let now: Vec<Place> = paths.filter_map(|path| Place::at(&path).ok()).collect();
        let back = known.values().filter(|known| now.contains(&known.place)).filter(is_named);
        let found = there.chain(back);
        // What lies in a folder goes with it.
        Whereabouts::moved(found.min_by_key(|known| (!known.is_folder(), known.tag))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::{OpenedFile, tests::Random},
        watchlist::Purpose,
    };

    const FOLDER: FileId = FileId::new(8 << 20, 77);
    const PLACE: Place = Place { dev: 2_049, ino: 77 };

    fn way(path: &str) -> Target {
        Target { path: path.into(), purpose: Purpose::Way(3) }
    }

    fn identified(generation: u32) -> Identified {
        Identified { file: FOLDER, generation, mode: S_IFDIR | 0o755, ..Identified::default() }
    }

    /// A look that found the folder at a path.
    fn looked(whereabouts: &mut Whereabouts, now_ns: u64, path: &str, generation: u32) {
        whereabouts.begin(now_ns - 1);
        whereabouts.add((&way(path), Some(path.into())), (&identified(generation), PLACE), now_ns);
    }

    /// Something that was done to what has its number.
    fn access(path: &str, generation: u32) -> Access {
        let mut access = Random(1).access();
        (access.file.id, access.file.generation) = (FOLDER, generation);
        access.file.path_in_fs = false;
        access.file.path = Fact::Known(KernelPath { bytes: path.as_bytes().to_vec(), cut: false });
        access
    }

    #[test]
    fn a_number_that_is_used_again_is_another_folder_only_by_both_signs() {
        let mut whereabouts = Whereabouts::default();
        assert!(!whereabouts.is_another(&access("/srv/43", 2)), "nothing is known of it");
        looked(&mut whereabouts, 5, "/srv/41", 1);
        for later in [false, true] {
            assert!(!whereabouts.is_another(&access("/srv/41", 1)));
            assert!(!whereabouts.is_another(&access("/srv/41", 2)), "its owner set the generation");
            assert!(!whereabouts.is_another(&access("/srv/43", 1)), "it was renamed, and is renamed again");
            assert!(whereabouts.is_another(&access("/srv/43", 2)));
            let cut = |mut access: Access| {
                access.file.path = Fact::Known(KernelPath { bytes: b"/srv/43".to_vec(), cut: true });
                access
            };
            assert!(!whereabouts.is_another(&cut(access("/srv/43", 2))), "who knows");
            let in_fs = |path: &str| Access {
                file: OpenedFile { path_in_fs: true, ..access(path, 2).file },
                ..access(path, 2)
            };
            assert!(!whereabouts.is_another(&in_fs("/below/41")), "mounted there, for all one knows");
            assert!(whereabouts.is_another(&in_fs("/43")));
            if !later {
                whereabouts.begin(6);
            }
        }
        looked(&mut whereabouts, 6, "/srv/43", 2);
        assert!(!whereabouts.is_another(&access("/srv/43", 2)), "that one leads to a key by now");
    }

    #[test]
    fn since_when_it_is_somewhere_is_known_by_the_look_that_found_it_there() {
        let mut whereabouts = Whereabouts::default();
        for (now_ns, path, since) in
            [(5, "/srv/mail", 5), (6, "/srv/mail", 5), (7, "/srv/away", 7), (8, "/srv/mail", 8)]
        {
            looked(&mut whereabouts, now_ns, path, 1);
            let known = whereabouts.known.get(&FOLDER).expect("it was found");
            assert_eq!(known.paths, [(PathBuf::from(path), since)]);
        }
    }

    #[test]
    fn a_path_that_ends_in_a_link_is_no_place_of_its_own() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.begin(1);
        whereabouts.add((&way("/srv/link"), None), (&identified(1), PLACE), 1);
        whereabouts.add((&way("/srv/mail"), Some("/srv/mail".into())), (&identified(1), PLACE), 1);
        let known = whereabouts.known.get(&FOLDER).expect("it was found");
        assert_eq!(known.paths, [(PathBuf::from("/srv/mail"), 1)]);
    }

    #[test]
    fn what_lies_in_a_folder_is_found_by_its_path() {
        let mut whereabouts = Whereabouts::default();
        looked(&mut whereabouts, 1, "/srv/mail", 1);
        for (ino, path) in [(78, "/srv/mail/own"), (79, "/srv/mail/own/keys"), (80, "/srv/mailing")] {
            let other = Identified { file: FileId::new(8 << 20, ino), ..identified(1) };
            whereabouts.add((&way(path), Some(path.into())), (&other, Place { ino, ..PLACE }), 1);
        }
        let folder = whereabouts.known.get(&FOLDER).expect("it was found");
        let inside: Vec<_> = whereabouts.lying_in(&[folder], 0).map(|known| known.identified.file.ino).collect();
        assert_eq!(inside, [78]);
        whereabouts.begin(5);
        whereabouts.end(7);
        let folder = whereabouts.known.get(&FOLDER).expect("it was found");
        let there = [4, 6, 8].map(|boot_ns| whereabouts.lying_in(&[folder], boot_ns).count());
        assert_eq!(there, [1, 1, 0], "what was done before the look that missed it was over may have moved it");
    }
}
