//! What a later layer does to a file of an earlier one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    fault::Fault,
    limits::MOST_KEPT,
    names::{self, Whiteout},
    rooted::Folder,
    tarball::{Kind, Member, Skip, Tarball},
    tree::{Mark, mark},
};

/// What became of a path. Of two, the later one counts: what is deleted and made again in one layer is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// A whiteout, or a folder that hides it.
    Deleted,
    /// Another file, or no folder any more where its folder was.
    Replaced,
}

/// What a layer does to the paths that were asked for.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// What becomes of them; a path that nothing happens to is left out.
    pub(super) of: BTreeMap<Vec<u8>, Fate>,
    /// Further names that the layer gives to them by hard links: the name, and the path.
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an archive does to these paths.
///
/// # Errors
/// It could not be read to its end.
pub(super) fn in_archive<R: Skip>(archive: &mut Tarball<R>, paths: &BTreeSet<Vec<u8>>) -> Result<Fates, Fault> {
    let mut scene = Scene::of(paths);
    while let Some(member) = archive.next()? {
        scene.member(&member);
    }
    Ok(scene.fates)
}

/// The paths that matter, by all that lies on the way to them.
struct Scene<'a> {
    on_the_way: HashMap<&'a [u8], Vec<&'a [u8]>>,
    fates: Fates,
}

impl<'a> Scene<'a> {
    fn of(paths: &'a BTreeSet<Vec<u8>>) -> Self {
        let mut on_the_way: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
        for path in paths {
            for folder in names::above(path) {
                on_the_way.entry(folder).or_default().push(path);
            }
            on_the_way.entry(path).or_default().push(path);
        }
        Self { on_the_way, fates: Fates::default() }
    }

    fn member(&mut self, member: &Member) {
        let path = names::normal(&member.name);
        match names::whiteout(&path) {
            Some(Whiteout::Of(hidden)) => self.change(&hidden, Fate::Deleted, true),
            Some(Whiteout::Opaque(folder)) => self.change(&folder, Fate::Deleted, false),
            Some(Whiteout::Own) => {}
            None if member.kind == Kind::Folder => self.only_itself(&path),
            None => {
                if let Kind::HardLink(target) = &member.kind {
                    self.link(&path, &names::normal(target));
                }
                self.change(&path, Fate::Replaced, true);
            }
        }
    }

    /// Everything at and below `path`, or below it only.
    fn change(&mut self, path: &[u8], fate: Fate, itself: bool) {
        for one in self.on_the_way.get(path).into_iter().flatten() {
            if itself || *one != path {
                let known = self.fates.of.entry(one.to_vec()).or_insert(fate);
                *known = fate.max(*known);
            }
        }
    }

    /// A further name of a lower layer's file: engines unpack over the layers below, where the link finds it.
    fn link(&mut self, path: &[u8], target: &[u8]) {
        let is_asked_for = self.on_the_way.get(target).into_iter().flatten().any(|one| *one == target);
        // In a layer that has a file of that name itself, the link is to that one.
        if is_asked_for && path != target && !self.fates.of.contains_key(target) && self.fates.links.len() < MOST_KEPT {
            self.fates.links.push((path.to_vec(), target.to_vec()));
        }
    }

    /// A folder hides a file of its own name, and joins with a folder.
    fn only_itself(&mut self, path: &[u8]) {
        if let Some(one) = self.on_the_way.get(path).into_iter().flatten().find(|one| **one == path) {
            self.fates.of.insert(one.to_vec(), Fate::Replaced);
        }
    }
}

/// What an unpacked layer does to these paths: each is looked up, none is walked.
///
/// # Errors
/// One of them could not be looked up.
pub(super) fn in_folder(layer: &Folder, paths: &BTreeSet<Vec<u8>>) -> Result<Fates, Fault> {
    let mut fates = Fates::default();
    for path in paths {
        if let Some(fate) = of_path(layer, path).map_err(|fault| fault.of(path))? {
            fates.of.insert(path.clone(), fate);
        }
    }
    Ok(fates)
}

fn of_path(layer: &Folder, path: &[u8]) -> Result<Option<Fate>, Fault> {
    let mut hidden = None;
    for folder in names::above(path) {
        match mark(layer, folder)? {
            Mark::Folder => {}
            Mark::Opaque => hidden = Some(Fate::Deleted),
            Mark::Nothing | Mark::Metadata => return Ok(hidden),
            Mark::Whiteout => return Ok(Some(Fate::Deleted)),
            Mark::Own => return Ok(Some(Fate::Replaced)),
        }
    }
    Ok(match mark(layer, path)? {
        Mark::Nothing | Mark::Metadata => hidden,
        Mark::Whiteout => Some(Fate::Deleted),
        Mark::Folder | Mark::Opaque | Mark::Own => Some(Fate::Replaced),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, kind: Kind) -> Member {
        Member { name: name.into(), kind, mode: None, uid: None, gid: None, at: 0 }
    }

    fn after(members: &[Member]) -> Option<Fate> {
        let paths = BTreeSet::from([b"etc/dkim/key".to_vec()]);
        let mut scene = Scene::of(&paths);
        members.iter().for_each(|member| scene.member(member));
        scene.fates.of.get(&b"etc/dkim/key"[..]).copied()
    }

    #[test]
    fn what_hides_a_file() {
        let file = |name: &str| member(name, Kind::File(0));
        for name in ["etc/dkim/.wh.key", "./etc/.wh.dkim", ".wh.etc", "/etc/dkim/.wh..wh..opq", ".wh..wh..opq"] {
            assert_eq!(after(&[file(name)]), Some(Fate::Deleted), "{name}");
        }
        for name in ["etc/dkim/key", "./etc//dkim/key", "etc/dkim", "etc"] {
            assert_eq!(after(&[file(name)]), Some(Fate::Replaced), "{name}");
        }
        assert_eq!(after(&[member("etc/dkim", Kind::Symlink(b"x".to_vec()))]), Some(Fate::Replaced));
        assert_eq!(after(&[member("etc/dkim/key", Kind::Folder)]), Some(Fate::Replaced));
        for name in ["etc/dkim/.wh.key2", "etc/dkim/key2", "etc/dkim/ke", ".wh..wh.plnk", "etc/dkim/key/.wh..wh..opq"] {
            assert_eq!(after(&[file(name)]), None, "{name}");
        }
        assert_eq!(after(&[member("etc", Kind::Folder), member("etc/dkim/", Kind::Folder)]), None);
        assert_eq!(after(&[file("etc/dkim/key"), file(".wh.etc")]), Some(Fate::Replaced), "made again");
    }

    #[test]
    fn a_hard_link_to_a_file_below_is_told() {
        let paths = BTreeSet::from([b"a/key".to_vec()]);
        let mut scene = Scene::of(&paths);
        scene.member(&member("copy", Kind::HardLink(b"./a/key".to_vec())));
        scene.member(&member("a/key", Kind::File(1)));
        scene.member(&member("other", Kind::HardLink(b"a/key".to_vec())));
        assert_eq!(scene.fates.links, [(b"copy".to_vec(), b"a/key".to_vec())]);
    }

    #[test]
    fn the_same_of_a_folder() {
        use std::fs;
        let layer = tempfile::tempdir().unwrap();
        let folder = Folder::open(layer.path()).unwrap();
        let paths = BTreeSet::from([b"etc/dkim/key".to_vec()]);
        let fate = || in_folder(&folder, &paths).unwrap().of.get(&b"etc/dkim/key"[..]).copied();
        assert_eq!(fate(), None);
        fs::create_dir_all(layer.path().join("etc/dkim")).unwrap();
        assert_eq!(fate(), None);
        fs::write(layer.path().join("etc/dkim/.wh.key"), "").unwrap();
        assert_eq!(fate(), Some(Fate::Deleted));
        fs::write(layer.path().join("etc/dkim/key"), "").unwrap();
        assert_eq!(fate(), Some(Fate::Replaced));
        fs::remove_dir_all(layer.path().join("etc/dkim")).unwrap();
        std::os::unix::fs::symlink("x", layer.path().join("etc/dkim")).unwrap();
        assert_eq!(fate(), Some(Fate::Replaced));
        fs::remove_dir_all(layer.path().join("etc")).unwrap();
        fs::write(layer.path().join(".wh.etc"), "").unwrap();
        assert_eq!(fate(), Some(Fate::Deleted));
    }
}
