//! The folders that lead to what is watched.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Every folder above these paths, as they are written and with links resolved.
pub(super) fn to<'p>(paths: impl Iterator<Item = &'p Path>) -> BTreeSet<PathBuf> {
    let folders: BTreeSet<&Path> = paths.filter_map(Path::parent).collect();
    let mut ways = BTreeSet::new();
    for folder in folders {
        let resolved = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        for way in folder.ancestors().chain(resolved.ancestors()) {
            ways.insert(way.to_owned());
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
        let ways = to([root.join("named/deep/key").as_path()].into_iter());
        for way in ["/", "named", "named/deep", "real", "real/deep"] {
            assert!(ways.contains(&root.join(way)), "{way} is not among {ways:?}");
        }
        assert!(!ways.contains(&root.join("named/deep/key")));
    }
}
