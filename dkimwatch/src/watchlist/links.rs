//! The symbolic links by which paths lead to what is watched: whoever turns one has the signer sign with another key, and what it
//! leads to from then on is watched only once it was looked at.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::Tag;

use super::{WatchList, realpaths::RealPaths};

/// Links, each with the smallest tag that it leads to. One that was removed stays until there is something else at its path.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<PathBuf, Tag>);

impl Links {
    /// Those on the way to these paths, and those of `before` that were removed.
    pub(super) fn to<'p>(paths: impl Iterator<Item = (&'p Path, Tag)>, real: &mut RealPaths, before: &Self) -> Self {
        let mut links = BTreeMap::new();
        for (path, tag) in paths {
            for link in real.links(path) {
                let least = links.entry(link).or_insert(tag);
                *least = tag.min(*least);
            }
        }
        for (link, tag) in &before.0 {
            let kind = fs::symlink_metadata(link).map_err(|error| error.kind());
            if matches!(kind, Err(ErrorKind::NotFound)) {
                links.entry(link.clone()).or_insert(*tag);
            }
        }
        Self(links)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, Tag)> {
        self.0.iter().map(|(link, tag)| (link.as_path(), *tag))
    }

    fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}

impl WatchList {
    /// Whether one of these names, of which something was heard, is a link on the way to what is watched, or became one: that is
    /// to be looked at soon.
    #[must_use]
    pub fn is_turned(&self, names: &[PathBuf]) -> bool {
        names.iter().any(|name| self.links.has(name) || (self.mounts.has(name) && name.is_symlink()))
    }

    /// The links on the host. In a container none is followed.
    pub(super) fn links_now(&self, real: &mut RealPaths) -> Links {
        let paths = (0..).zip(self.paths()).filter(|(tag, _)| !self.contained.has(*tag));
        Links::to(paths.map(|(tag, path)| (path, tag)), real, &self.links)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_leads_to_the_smallest_tag_and_one_that_was_removed_is_remembered() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        fs::create_dir(root.join("real")).expect("a folder");
        for key in ["a", "b"] {
            fs::write(root.join("real").join(key), "").expect("a key");
        }
        symlink("real", root.join("named")).expect("a link");
        symlink("named/b", root.join("b")).expect("a link");
        let (a, b) = (root.join("named/a"), root.join("b"));
        let look = |before: &Links| {
            Links::to([(b.as_path(), 4), (a.as_path(), 7)].into_iter(), &mut RealPaths::default(), before)
        };
        let first = look(&Links::default());
        assert_eq!(first.iter().collect::<Vec<_>>(), [(b.as_path(), 4), (root.join("named").as_path(), 4)]);
        fs::remove_file(&b).expect("removed");
        let second = look(&first);
        assert_eq!(second.iter().collect::<Vec<_>>(), [(b.as_path(), 4), (root.join("named").as_path(), 7)]);
        // A file: that is no link, and known by its name.
        fs::write(&b, "").expect("a file");
        assert!(!look(&second).has(&b));
    }
}
