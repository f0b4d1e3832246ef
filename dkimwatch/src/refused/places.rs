//! What is watched, as stat(2) names it.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::AsFd,
    path::Path,
};

use dkimwatch_common::watch::{Tag, file_watch};
use rustix::fs::{AtFlags, CWD, Stat, StatxFlags, makedev, statx};

use super::mounted::Covered;

/// A file as stat(2) names it: compared only with what stat(2) said of another, never with what the kernel's hooks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

impl From<&Stat> for Place {
    fn from(stat: &Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino }
    }
}

impl Place {
    /// That of a handle, as far as this host knows: no file server is asked, which may never answer.
    ///
    /// # Errors
    /// As statx(2).
    pub fn of(handle: impl AsFd) -> io::Result<Self> {
        Self::found(handle, "".as_ref(), AtFlags::EMPTY_PATH)
    }

    /// That of what is at a path, a link itself. Asks no file server about it, and mounts nothing.
    ///
    /// # Errors
    /// As statx(2).
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::found(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn found(folder: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Self> {
        let flags = flags | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let found = statx(folder, path, flags, StatxFlags::INO)?;
        Ok(Self { dev: makedev(found.stx_dev_major, found.stx_dev_minor), ino: found.stx_ino })
    }
}

/// The watched files, folders and awaited names that are there.
#[derive(Clone, Debug, Default)]
pub struct Places {
    files: HashMap<Place, (Tag, u32)>,
    folders: HashMap<Place, Tag>,
    names: HashMap<(Place, Vec<u8>), Tag>,
    /// Paths of keys and of watched folders without links, and whether it is a folder.
    paths: BTreeMap<Vec<u8>, (Tag, bool)>,
}

impl Places {
    /// The key at its path.
    pub fn add_key(&mut self, place: Place, tag: Tag) {
        self.files.insert(place, (tag, file_watch::ARMED));
    }

    /// A file in a watched folder. A key is more than that.
    pub fn add_member(&mut self, place: Place, tag: Tag) {
        self.files.entry(place).or_insert((tag, file_watch::BORN));
    }

    /// A folder that is watched as a whole, or one in it.
    pub fn add_folder(&mut self, place: Place, tag: Tag) {
        self.folders.insert(place, tag);
    }

    /// A name that is awaited in a folder.
    pub fn add_name(&mut self, folder: Place, name: Vec<u8>, tag: Tag) {
        self.names.insert((folder, name), tag);
    }

    /// The path, without links, of a key or of a watched folder. A key is more than a folder.
    pub fn add_path(&mut self, path: Vec<u8>, tag: Tag, is_folder: bool) {
        if is_folder {
            self.paths.entry(path).or_insert((tag, true));
        } else {
            self.paths.insert(path, (tag, false));
        }
    }

    /// What is at a path of the watcher's own mount namespace, or below it.
    pub(super) fn covered(&self, path: &[u8]) -> Option<Covered> {
        if let Some((tag, is_folder)) = self.paths.get(path) {
            return Some(Covered { tag: *tag, is_folder: *is_folder });
        }
        // In a folder of keys, whatever it was.
        if let Some(tag) = self.holder(path) {
            return Some(Covered { tag, is_folder: true });
        }
        let below = [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat();
        let (first, (tag, _)) = self.paths.range(below.clone()..).next()?;
        first.starts_with(&below).then_some(Covered { tag: *tag, is_folder: true })
    }

    /// The tag of the watched folder that a path is below, however deep: also in a folder that was made a moment ago, and has
    /// not been looked at yet.
    pub(super) fn holder(&self, path: &[u8]) -> Option<Tag> {
        let above = |(at, byte): (usize, &u8)| (*byte == b'/').then(|| path.get(..at)).flatten();
        let mut folders = path.iter().enumerate().filter_map(above).filter_map(|folder| self.paths.get(folder));
        folders.find_map(|(tag, is_folder)| is_folder.then_some(*tag))
    }

    /// Whether this is the path of that key.
    pub(super) fn is_key_at(&self, path: &[u8], tag: Tag) -> bool {
        self.paths.get(path) == Some(&(tag, false))
    }

    /// The tag of a watched file, and why it is watched (`file_watch`).
    pub(super) fn file(&self, place: Place) -> Option<(Tag, u32)> {
        self.files.get(&place).copied()
    }

    /// The tag of a folder that is watched as a whole.
    pub(super) fn folder(&self, place: Place) -> Option<Tag> {
        self.folders.get(&place).copied()
    }

    /// The tag of a name that is awaited in a folder.
    pub(super) fn name(&self, folder: Place, name: &[u8]) -> Option<Tag> {
        self.names.get(&(folder, name.to_vec())).copied()
    }
}
