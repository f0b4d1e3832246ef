//! Paths without links, as realpath(3) has them, and the links on the way. Keys lie beside each other: what leads to one is asked
//! about once.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, readlinkat},
    io::Errno,
};

/// What was asked for, for as long as one look takes: the answers are not asked for again. A slash at the end is no part of a path.
#[derive(Debug, Default)]
pub(super) struct RealPaths {
    known: HashMap<PathBuf, Real>,
    /// Links that are being followed, one in the other.
    depth: usize,
}

/// What a path leads to.
#[derive(Clone, Debug, Default)]
struct Real {
    path: Option<PathBuf>,
    /// The links on its way, each by a path that has none but itself.
    links: Vec<PathBuf>,
}

/// `MAXSYMLINKS` (`include/linux/namei.h`).
const DEEPEST: usize = 40;

impl RealPaths {
    /// The path without links; `None` where nothing is there, or nobody can say.
    pub(super) fn of(&mut self, path: &Path) -> Option<PathBuf> {
        self.look(path).path
    }

    /// The links that a path leads by, whether or not it leads somewhere. Each is named by a path that has no link but itself.
    pub(super) fn links(&mut self, path: &Path) -> Vec<PathBuf> {
        self.look(path).links
    }

    fn look(&mut self, path: &Path) -> Real {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if path.is_absolute() => self.inside(path, parent, name),
            // What ends in `..` is above what comes before that.
            (Some(below), None) if path.is_absolute() && path.ends_with("..") => {
                Real { path: fs::canonicalize(path).ok(), links: self.links(below) }
            }
            // The root, and what begins in this process's folder.
            _ => Real { path: fs::canonicalize(path).ok(), links: Vec::new() },
        };
        self.known.insert(path.to_owned(), real.clone());
        real
    }

    fn inside(&mut self, asked: &Path, parent: &Path, name: &OsStr) -> Real {
        let Real { path: folder, mut links } = self.look(parent);
        let Some(folder) = folder else { return Real { path: None, links } };
        let path = folder.join(name);
        match readlinkat(CWD, &path, Vec::new()) {
            Ok(to) => {
                // Known as leading nowhere for as long as it is followed: it may lead to itself.
                self.known.insert(asked.to_owned(), Real::default());
                links.push(path.clone());
                if self.depth < DEEPEST {
                    self.depth += 1;
                    links.extend(self.links(&folder.join(OsStr::from_bytes(to.as_bytes()))));
                    self.depth -= 1;
                }
                Real { path: fs::canonicalize(path).ok(), links }
            }
            // It is there, and no link.
            Err(Errno::INVAL) => Real { path: Some(path), links },
            Err(_) => Real { path: None, links },
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
    #[test]
    fn every_link_on_the_way_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        fs::create_dir_all(root.join("real/2026")).expect("folders");
        fs::write(root.join("real/2026/mail.key"), "").expect("a file");
        let links =
            [("real", "named"), ("2026", "real/now"), ("../named/now/mail.key", "real/key"), ("round", "round")];
        for (to, link) in links.into_iter().chain([("gone/away", "dangling")]) {
            symlink(to, root.join(link)).expect("a link");
        }
        let mut paths = RealPaths::default();
        let mut of = |path: &str| {
            let mut links = paths.links(&root.join(path));
            links.sort();
            links.dedup();
            let within = |link: PathBuf| link.strip_prefix(&root).expect("in the folder").display().to_string();
            links.into_iter().map(within).collect::<Vec<_>>()
        };
        assert_eq!(of("named/key"), ["named", "real/key", "real/now"]);
        assert_eq!(of("real/2026/mail.key"), [""; 0]);
        // What leads nowhere is a link all the same, which can be turned to somewhere.
        assert_eq!(of("dangling"), ["dangling"]);
        assert_eq!(of("dangling/below"), ["dangling"]);
        assert_eq!(of("round"), ["round"]);
        assert_eq!(of("named/absent"), ["named"]);
        assert_eq!(of("named/now/../key"), ["named", "real/key", "real/now"]);
    }
}
