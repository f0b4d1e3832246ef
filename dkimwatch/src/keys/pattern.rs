//! Paths with wildcards, expanded over a host's folders component by component.
//!
//! Names are matched as bytes. The walk is bounded in depth, in names looked at and in matches, and says when it was cut.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use globset::{Candidate, GlobBuilder, GlobMatcher};

use crate::host::{Host, Presence};

/// Most names that one expansion looks at.
const MOST_NAMES: usize = 200_000;
/// Most paths that one expansion returns.
const MOST_PATHS: usize = dkimwatch_common::limits::WATCHED_FILES as usize;
/// How deep `**` reaches.
const DEEPEST: usize = 12;

/// Existing paths that fit a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// Sorted by folder, each once.
    pub paths: Vec<PathBuf>,
    /// There was more than is looked at; what was found so far stands.
    pub cut: bool,
    /// How many names were looked at.
    pub names: usize,
}

/// Does a name fit?
pub(super) type Fits = Box<dyn Fn(&[u8]) -> bool>;

/// One component of a pattern.
pub(super) enum Part {
    /// A name as it is.
    Name(OsString),
    /// Whatever name this accepts.
    Fits(Fits),
    /// `**`: no, one or several folders.
    Deep,
}

/// A glob as a person writes it: `*`, `?`, `[…]`, `{…,…}` within a name, `**` for any folders.
pub struct Glob {
    parts: Vec<Part>,
}

/// True if `path` holds a character that means something in a glob.
#[must_use]
pub fn is_glob(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

impl Glob {
    /// Reads an absolute glob.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn new(path: &Path) -> Result<Self, String> {
        let mut parts = Vec::new();
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            parts.push(if name == "**" {
                Part::Deep
            } else if is_glob(Path::new(name)) {
                let text = name.to_str().ok_or("a name with a wildcard must be UTF-8")?;
                let fits = matcher(text)?;
                Part::Fits(Box::new(move |name| fits.is_match_candidate(&Candidate::from_bytes(name))))
            } else {
                Part::Name(name.to_owned())
            });
        }
        Ok(Self { parts })
    }

    /// The existing paths that fit.
    #[must_use]
    pub fn expand(&self, host: &Host) -> Expansion {
        expand(host, &self.parts)
    }
}

fn matcher(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

/// The existing paths that fit `parts`, from the root.
pub(super) fn expand(host: &Host, parts: &[Part]) -> Expansion {
    let mut walk = Walk { host, found: Expansion::default() };
    walk.step(Path::new("/"), parts, 0);
    walk.found.paths.sort_unstable();
    walk.found.paths.dedup();
    walk.found
}

struct Walk<'a> {
    host: &'a Host,
    found: Expansion,
}

impl Walk<'_> {
    fn step(&mut self, base: &Path, parts: &[Part], depth: usize) {
        if self.found.cut {
            return;
        }
        self.found.names += 1;
        let Some((part, rest)) = parts.split_first() else {
            if self.found.paths.len() == MOST_PATHS {
                self.found.cut = true;
            } else {
                self.found.paths.push(base.to_path_buf());
            }
            return;
        };
        match part {
            Part::Name(name) => {
                let next = base.join(name);
                let there = self.host.presence(&next);
                if there == Presence::Folder || (rest.is_empty() && there != Presence::Missing) {
                    self.step(&next, rest, depth);
                }
            }
            Part::Fits(fits) => {
                for name in self.listing(base) {
                    if fits(name.as_bytes()) {
                        let next = base.join(&name);
                        if rest.is_empty() || self.host.presence(&next) == Presence::Folder {
                            self.step(&next, rest, depth);
                        }
                    }
                }
            }
            Part::Deep => {
                // A trailing `**` means everything below.
                if !rest.is_empty() {
                    self.step(base, rest, depth);
                }
                for name in self.listing(base) {
                    let next = base.join(&name);
                    if self.host.is_own_folder(&next) {
                        if depth < DEEPEST {
                            self.step(&next, parts, depth + 1);
                        } else {
                            self.found.cut = true;
                        }
                    } else if rest.is_empty() {
                        self.step(&next, rest, depth);
                    }
                }
            }
        }
    }

    fn listing(&mut self, folder: &Path) -> Vec<OsString> {
        let names = self.host.names(folder);
        self.found.names += names.len();
        if self.found.names > MOST_NAMES {
            self.found.cut = true;
            return Vec::new();
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn tree(files: &[&[u8]]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(crate::host::path_of(file));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let host = Host::at(root.path());
        (root, host)
    }

    fn found(host: &Host, glob: &str) -> Vec<String> {
        let expansion = Glob::new(Path::new(glob)).unwrap().expand(host);
        assert!(!expansion.cut);
        expansion.paths.iter().map(|path| crate::escape::path(path)).collect()
    }

    #[test]
    fn names_folders_and_any_depth() {
        let (root, host) = tree(&[
            b"k/a.org/m.private",
            b"k/b.org/m.private",
            b"k/b.org/\xff.private",
            b"k/x.txt",
            b"k/d/e/f/m.private",
        ]);
        assert_eq!(found(&host, "/k/*/m.private"), ["/k/a.org/m.private", "/k/b.org/m.private"]);
        assert_eq!(found(&host, "/k/b.org/*.private"), ["/k/b.org/m.private", "/k/b.org/\\xff.private"]);
        assert_eq!(found(&host, "/k/{a,c}.org/[l-n].*"), ["/k/a.org/m.private"]);
        assert_eq!(found(&host, "/k/**/m.private").len(), 3);
        assert_eq!(found(&host, "/k/**").len(), 5);
        assert_eq!(found(&host, "/none/*"), [""; 0]);
        // A loop of links is not followed by `**`, and harmless for the others.
        symlink("..", root.path().join("k/up")).unwrap();
        assert_eq!(found(&host, "/k/**/m.private").len(), 3);
        assert_eq!(found(&host, "/k/*/k/*/m.private").len(), 2);
    }

    #[test]
    fn what_is_no_glob() {
        for bad in ["/k/[a", "/k/{a", "/k/{a/b,c}/x"] {
            assert!(Glob::new(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
