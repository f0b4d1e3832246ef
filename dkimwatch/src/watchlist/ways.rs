//! The folders that lead to what is watched.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::Tag;

use super::realpaths::RealPaths;

/// Every folder above these paths, as they are written and with links resolved, each with the smallest tag that it leads to.
pub(super) fn to<'p>(paths: impl Iterator<Item = (&'p Path, Tag)>, real: &mut RealPaths) -> HashMap<PathBuf, Tag> {
    let mut folders: HashMap<&Path, Tag> = HashMap::new();
    for (folder, tag) in paths.filter_map(|(path, tag)| Some((path.parent()?, tag))) {
        let least = folders.entry(folder).or_insert(tag);
        *least = tag.min(*least);
    }
    let mut ways = HashMap::new();
    for (folder, tag) in folders {
        add(&mut ways, folder, tag);
        if let Some(resolved) = real.of(folder).filter(|resolved| resolved != folder) {
            add(&mut ways, &resolved, tag);
        }
    }
    ways
}

/// Adds a folder and those above it, up to one that is known to lead to as small a tag: those above that one do as well.
fn add(ways: &mut HashMap<PathBuf, Tag>, folder: &Path, tag: Tag) {
    for way in folder.ancestors() {
        match ways.get_mut(way) {
            Some(least) if *least <= tag => return,
            Some(least) => *least = tag,
            None => _ = ways.insert(way.to_owned(), tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leads_to_the_smallest_tag_below_it() {
        let paths = [("/a/b/c/key", 3), ("/a/b/key", 5), ("/a/d/key", 1), ("/a/b/c/e/key", 2)];
        for turn in 0..paths.len() {
            let mut turned = paths;
            turned.rotate_left(turn);
            let mut ways = HashMap::new();
            for (path, tag) in turned {
                add(&mut ways, Path::new(path).parent().expect("a folder"), tag);
            }
            let of = |path: &str| ways.get(Path::new(path)).copied();
            let tags = ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/e", "/a/d"].map(of);
            assert_eq!(tags, [1, 1, 2, 2, 2, 1].map(Some));
        }
    }

    #[test]
    fn both_ends_of_a_link_lead_there() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        std::fs::create_dir_all(root.join("real/deep")).expect("folders");
        std::os::unix::fs::symlink("real", root.join("named")).expect("a link");
        let ways = to([(root.join("named/deep/key").as_path(), 7)].into_iter(), &mut RealPaths::default());
        for way in ["/", "named", "named/deep", "real", "real/deep"] {
            assert!(ways.get(&root.join(way)) == Some(&7), "{way} is not among {ways:?}");
        }
        assert!(!ways.contains_key(&root.join("named/deep/key")));
    }
}
