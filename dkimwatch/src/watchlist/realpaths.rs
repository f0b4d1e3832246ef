//! Paths without links, as realpath(3) has them. Keys lie beside each other: what leads to one is asked about once.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, readlinkat},
    io::Errno,
};

/// What was asked for, for as long as one look takes: the answers are not asked for again. A slash at the end is no part of a path.
#[derive(Debug, Default)]
pub(super) struct RealPaths(HashMap<PathBuf, Option<PathBuf>>);

impl RealPaths {
    /// The path without links; `None` where nothing is there, or nobody can say.
    pub(super) fn of(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if path.is_absolute() => self.inside(parent, name),
            // The root, what ends in `..`, and what begins in this process's folder.
            _ => fs::canonicalize(path).ok(),
        };
        self.0.insert(path.to_owned(), real.clone());
        real
    }

    fn inside(&mut self, parent: &Path, name: &OsStr) -> Option<PathBuf> {
        let path = self.of(parent)?.join(name);
        match readlinkat(CWD, &path, Vec::new()) {
            Ok(_) => fs::canonicalize(path).ok(),
            // It is there, and no link.
            Err(Errno::INVAL) => Some(path),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn they_are_what_realpath_says() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("real/deep")).expect("folders");
        for file in ["real/deep/key", "real/other"] {
            fs::write(at(file), "").expect("a file");
        }
        let links = [("real", "named"), ("deep/key", "real/key"), ("nowhere", "dangling"), ("round", "round")];
        for (to, link) in links.into_iter().chain([("../real/deep/..", "real/deep/up")]) {
            symlink(to, at(link)).expect("a link");
        }
        let mut paths = RealPaths::default();
        let asked = "real named real/deep/key named/deep/key named/key named/../real/key real/deep/.. dangling round absent \
                     absent/key real/other/key real/deep/up/other named/./deep . ..";
        for path in
            asked.split(' ').map(at).chain(["/".into(), "".into(), "Cargo.toml".into(), "/proc/self/exe".into()])
        {
            let real = fs::canonicalize(&path).ok();
            assert_eq!(paths.of(&path), real, "{}", path.display());
            assert_eq!(paths.of(&path), real, "{}, asked again", path.display());
        }
    }
}
