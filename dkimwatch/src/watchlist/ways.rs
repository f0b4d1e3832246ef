//! The folders that lead to what is watched.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::Tag;

/// Every folder above these paths, as they are written and with links resolved, each with the smallest tag that it leads to.
pub(super) fn to<'p>(paths: impl Iterator<Item = (&'p Path, Tag)>) -> BTreeMap<PathBuf, Tag> {
    let mut folders: BTreeMap<&Path, Tag> = BTreeMap::new();
    for (folder, tag) in paths.filter_map(|(path, tag)| Some((path.parent()?, tag))) {
        let least = folders.entry(folder).or_insert(tag);
        *least = tag.min(*least);
    }
    let mut ways: BTreeMap<PathBuf, Tag> = BTreeMap::new();
    for (folder, tag) in folders {
        let resolved = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        for way in folder.ancestors().chain(resolved.ancestors()) {
            let least = ways.entry(way.to_owned()).or_insert(tag);
            *least = tag.min(*least);
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_link_lead_there() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        std::fs::create_dir_all(root.join("real/deep")).expect("folders");
        std::os::unix::fs::symlink("real", root.join("named")).expect("a link");
        let ways = to([(root.join("named/deep/key").as_path(), 7)].into_iter());
        for way in ["/", "named", "named/deep", "real", "real/deep"] {
            assert!(ways.get(&root.join(way)) == Some(&7), "{way} is not among {ways:?}");
        }
        assert!(!ways.contains_key(&root.join("named/deep/key")));
    }
}
