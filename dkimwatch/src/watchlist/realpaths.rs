//! Paths without links, as realpath(3) has them, and the links on the way. Keys lie beside each other: what leads to one is asked
//! about once.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, readlinkat},
    io::Errno,
};

/// What was asked for, for as long as one look takes: the answers are not asked for again. A slash at the end is no part of a path.
/// Both tables go by a path's bytes, as hashing its components takes three times as long; one that is written in two ways is asked
/// about twice.
///
/// Links are others' to make: what they say is walked in a loop, and no further than the kernel would.
#[derive(Debug, Default)]
pub(super) struct RealPaths {
    known: HashMap<OsString, Real>,
    /// What lies at a path without links.
    there: HashMap<OsString, There>,
}

/// What a path leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Real {
    /// The path without links; `None` where nothing is there, or nobody can say.
    pub(super) path: Option<PathBuf>,
    /// The links on its way, each by a path that has none but itself.
    pub(super) links: Vec<PathBuf>,
    /// Where it ends on its way, as there is nothing: a folder, or what a link leads to. The path itself is not on its way.
    pub(super) missing: Option<PathBuf>,
}

/// What lies at a path.
#[derive(Clone, Debug)]
enum There {
    /// A link to this.
    Link(PathBuf),
    /// Something else.
    Else,
    /// Nothing.
    Nothing,
    /// Nobody can say.
    Unknown,
}

/// `MAXSYMLINKS` (`include/linux/namei.h`).
const MOST_LINKS: usize = 40;
/// Parts of paths that are walked for one, `PATH_MAX` and more.
const MOST_PARTS: usize = 4_096;

impl RealPaths {
    /// The path without links.
    pub(super) fn of(&mut self, path: &Path) -> Option<PathBuf> {
        self.look(path).path
    }

    /// The same, and what is on its way.
    pub(super) fn look(&mut self, path: &Path) -> Real {
        let mut real = self.follow(path);
        real.missing = real.missing.filter(|missing| missing != path);
        real
    }

    fn follow(&mut self, path: &Path) -> Real {
        if let Some(known) = self.known.get(path.as_os_str()) {
            return known.clone();
        }
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if path.is_absolute() => {
                let folder = self.follow(parent);
                match &folder.path {
                    Some(at) => self.walk(path, at.clone(), folder.links, Path::new(name)),
                    None => folder,
                }
            }
            // The root, and what ends in `..`.
            _ if path.is_absolute() => self.walk(path, PathBuf::from("/"), Vec::new(), path),
            // What begins in this process's folder.
            _ => Real { path: fs::canonicalize(path).ok(), ..Real::default() },
        };
        self.known.insert(path.into(), real.clone());
        real
    }

    /// From a folder without links, to which these led, on by a path.
    fn walk(&mut self, asked: &Path, mut at: PathBuf, mut links: Vec<PathBuf>, by: &Path) -> Real {
        let mut ahead = parts(by);
        let (mut followed, mut walked, mut is_plain) = (links.len(), 0, true);
        while let Some(part) = ahead.pop() {
            walked += 1;
            match part.as_bytes() {
                b"/" => at = PathBuf::from("/"),
                b".." => {
                    is_plain = false;
                    at.pop();
                }
                _ => {
                    let next = at.join(&part);
                    match self.there(&next) {
                        There::Else => at = next,
                        There::Link(to) if followed < MOST_LINKS && walked < MOST_PARTS => {
                            (followed, is_plain) = (followed + 1, false);
                            if !links.contains(&next) {
                                links.push(next);
                            }
                            ahead.extend(parts(&to));
                        }
                        There::Nothing => {
                            return Real { path: None, links, missing: Some(next) };
                        }
                        There::Link(_) | There::Unknown => return Real { path: None, links, missing: None },
                    }
                }
            }
        }
        // What a file's `..` is, and more of that kind, the kernel knows.
        let path = if is_plain { Some(at) } else { fs::canonicalize(asked).ok() };
        Real { path, links, missing: None }
    }

    fn there(&mut self, path: &Path) -> There {
        if let Some(known) = self.there.get(path.as_os_str()) {
            return known.clone();
        }
        let there = match readlinkat(CWD, path, Vec::new()) {
            Ok(to) => There::Link(PathBuf::from(OsStr::from_bytes(to.as_bytes()))),
            // It is there, and no link.
            Err(Errno::INVAL) => There::Else,
            Err(Errno::NOENT) => There::Nothing,
            Err(_) => There::Unknown,
        };
        self.there.insert(path.into(), there.clone());
        there
    }
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .take(MOST_PARTS)
        .map(|part| part.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
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
            let mut links = paths.look(&root.join(path)).links;
            links.sort();
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

    #[test]
    fn what_is_not_there_is_named_unless_it_is_the_end() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        symlink("gone/away", root.join("dangling")).expect("a link");
        let mut paths = RealPaths::default();
        let mut missing = |path: &str| paths.look(&root.join(path)).missing;
        assert_eq!(missing("key"), None);
        assert_eq!(missing("folder/key"), Some(root.join("folder")));
        assert_eq!(missing("dangling"), Some(root.join("gone")));
        assert_eq!(missing("dangling/key"), Some(root.join("gone")));
    }

    /// Who may make links in a folder of a key's may make any.
    #[test]
    fn links_that_lead_far_cost_little_and_lead_nowhere() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        symlink(".", root.join("a")).expect("a link");
        let long = |first: &str, then: &str| format!("{first}{}", then.repeat(2_000));
        symlink(long("a", "/a"), root.join("again")).expect("a link");
        for link in 0..60 {
            let to = long(&format!("l{}", link + 1), "/x");
            symlink(to, root.join(format!("l{link}"))).expect("a link");
        }
        let mut paths = RealPaths::default();
        for (path, most) in [("again", 2), ("l0", MOST_LINKS)] {
            let real = paths.look(&root.join(path));
            assert!(real.path.is_none() && real.links.len() <= most, "{path}: {} links", real.links.len());
        }
        assert!(paths.there.len() < 200, "{}", paths.there.len());
    }
}
