//! The symbolic links by which paths lead to what is watched: whoever turns one has the signer sign with another key, and what it
//! leads to from then on is watched only once it was looked at.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use dkimwatch_common::{deed::Deed, identity::FileId, watch::Tag};

use super::{S_IFLNK, S_IFMT, WatchList, realpaths::RealPaths};
use crate::{decode::Access, kernel::Session};

/// What is on the way.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Links, each with the smallest tag that it leads to.
    links: BTreeMap<PathBuf, Tag>,
    /// Where there is nothing that would lead on.
    missing: HashSet<PathBuf>,
    /// The paths themselves, and every folder above them: they may become links.
    ways: HashSet<PathBuf>,
}

impl Links {
    /// Those on the way to these paths.
    pub(super) fn to<'p>(paths: impl Iterator<Item = (&'p Path, Tag)>, real: &mut RealPaths) -> Self {
        let mut all = Self::default();
        for (path, tag) in paths {
            let found = real.look(path);
            for link in found.links {
                let least = all.links.entry(link).or_insert(tag);
                *least = tag.min(*least);
            }
            all.missing.extend(found.missing);
            for way in path.ancestors() {
                if !all.ways.insert(way.to_owned()) {
                    break;
                }
            }
        }
        all
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, Tag)> {
        self.links.iter().map(|(link, tag)| (link.as_path(), *tag))
    }

    /// The folders in which they are, or would be.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.links.keys().chain(&self.missing).filter_map(|path| Some(path.parent()?.to_owned()))
    }

    /// Whether the same links are on the way.
    pub(super) fn are(&self, others: &Self) -> bool {
        self.links.keys().eq(others.links.keys()) && self.missing == others.missing
    }

    /// Whether what was heard of this path may lead elsewhere.
    fn has(&self, path: &Path) -> bool {
        self.links.contains_key(path) || self.missing.contains(path) || (self.ways.contains(path) && path.is_symlink())
    }
}

/// Links that are armed, each as it was then.
#[derive(Debug, Default)]
pub(super) struct Armed(BTreeMap<PathBuf, (Option<Stamp>, FileId)>);

/// Inode and time of birth, as far as stat(2) tells: of a link that is turned, the time of its last change.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |found: Metadata| (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
    fs::symlink_metadata(path).ok().map(of)
}

impl Armed {
    pub(super) fn add(&mut self, path: &Path, file: FileId) {
        self.0.insert(path.to_owned(), (stamp(path), file));
    }

    /// Those whose path has another by now, or none.
    pub(super) fn take_turned(&mut self) -> Vec<FileId> {
        let is_turned = |path: &Path, before: &Option<Stamp>| stamp(path) != *before;
        let turned: Vec<_> =
            self.0.iter().filter(|(path, (before, _))| is_turned(path, before)).map(|(path, _)| path.clone()).collect();
        turned.iter().filter_map(|path| self.0.remove(path)).map(|(_, file)| file).collect()
    }
}

impl WatchList {
    /// Whether one of these paths, of which something was heard, leads on to what is watched, or may: that is to be looked at soon.
    #[must_use]
    pub fn is_turned(&self, paths: &[PathBuf]) -> bool {
        paths.iter().any(|path| self.links.has(path))
    }

    /// Whether an access gave another name to a folder or a link, or another one its name, so that paths lead elsewhere from then on.
    /// In a container no path is looked at for that.
    #[must_use]
    pub fn leads_elsewhere(&self, access: &Access) -> bool {
        let renames = matches!(access.deed, Deed::Rename | Deed::Replace | Deed::Exchange | Deed::Unlink | Deed::Place);
        let leads = access.file.is_folder || access.file.mode & S_IFMT == S_IFLNK;
        renames && leads && !self.contained.has(access.file.tag)
    }

    /// Whether the last look found the same links as the one before it.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The links on the host. In a container none is followed.
    pub(super) fn links_now(&self, real: &mut RealPaths) -> Links {
        let paths = (0..).zip(self.paths()).filter(|(tag, _)| !self.contained.has(*tag));
        Links::to(paths.map(|(tag, path)| (path, tag)), real)
    }

    /// Ends the watch of links that are no longer on the way, before anything is armed that may have their numbers.
    pub(super) fn forget_turned(&mut self, session: &mut Session) {
        for file in self.armed_links.take_turned() {
            if let Err(error) = session.watch_set.disarm_file(file) {
                tracing::debug!(%error, "a link that was turned stays watched");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().canonicalize().expect("a path");
        (root, path)
    }

    #[test]
    fn each_leads_to_the_smallest_tag() {
        let (_keep, root) = folder();
        fs::create_dir(root.join("real")).expect("a folder");
        for key in ["a", "b"] {
            fs::write(root.join("real").join(key), "").expect("a key");
        }
        symlink("real", root.join("named")).expect("a link");
        symlink("named/b", root.join("b")).expect("a link");
        let (a, b) = (root.join("named/a"), root.join("b"));
        let links = Links::to([(b.as_path(), 4), (a.as_path(), 7)].into_iter(), &mut RealPaths::default());
        assert_eq!(links.iter().collect::<Vec<_>>(), [(b.as_path(), 4), (root.join("named").as_path(), 4)]);
    }

    #[test]
    fn what_leads_on_or_may_is_looked_at_and_nothing_else_is() {
        let (_keep, root) = folder();
        fs::create_dir(root.join("keys")).expect("a folder");
        let (key, other, absent) = (root.join("keys/a"), root.join("keys/b"), root.join("absent/a"));
        for file in [&key, &other] {
            fs::write(file, "").expect("a file");
        }
        let look = || Links::to([(key.as_path(), 0), (absent.as_path(), 1)].into_iter(), &mut RealPaths::default());
        let links = look();
        assert!(!links.has(&key) && !links.has(&other), "files");
        assert!(links.has(&root.join("absent")), "a folder that may come");
        assert!(!links.has(&absent), "a key that may come is known by its name");
        for turned in [&key, &other] {
            fs::remove_file(turned).expect("removed");
            symlink("elsewhere", turned).expect("a link");
        }
        assert!(links.has(&key) && !links.has(&other), "it became a link");
        assert!(!look().are(&links) && look().are(&look()));
        // A folder above.
        fs::rename(root.join("keys"), root.join("away")).expect("renamed");
        symlink("away", root.join("keys")).expect("a link");
        assert!(links.has(&root.join("keys")));
    }

    #[test]
    fn a_link_that_was_turned_is_armed_no_longer() {
        let (_keep, root) = folder();
        let (stays, turned) = (root.join("stays"), root.join("turned"));
        let mut armed = Armed::default();
        for (number, link) in (1..).zip([&stays, &turned]) {
            symlink("to", link).expect("a link");
            armed.add(link, FileId::new(1, number));
        }
        assert_eq!(armed.take_turned(), []);
        symlink("elsewhere", root.join("new")).expect("a link");
        fs::rename(root.join("new"), &turned).expect("turned");
        assert_eq!(armed.take_turned(), [FileId::new(1, 2)]);
        fs::remove_file(&stays).expect("removed");
        assert_eq!(armed.take_turned(), [FileId::new(1, 1)]);
        assert_eq!(armed.take_turned(), []);
    }
}
