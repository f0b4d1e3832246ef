//! What is the watcher's own, as targets: armed like a key and like a folder of keys, with tags by which the kernel side tells
//! only what others do to it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::{Tag, own_entry, own_tag};

use super::{Purpose, Target, WatchList, folders, realpaths::RealPaths};
use crate::{
    judge::{Guarded, Part, Policy},
    refused::Places,
};

/// What there is to arm.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Folders, and the one that the configuration is awaited in.
    pub(super) folders: Vec<Target>,
    /// Files.
    pub(super) files: Vec<Target>,
}

/// Each, by its tag.
fn each(policy: &Policy) -> impl Iterator<Item = (Tag, &Guarded)> {
    (0..).zip(&policy.guarded).map(|(entry, guarded)| (own_tag(entry), guarded))
}

impl WatchList {
    /// Guards what is the watcher's own, from the next refresh on: the configuration's file, and folders with what is in them (the
    /// journal, pins on a bpffs). What others do to it is told.
    pub fn guard(&mut self, own: impl IntoIterator<Item = Guarded>) {
        self.policy.guarded.extend(own);
    }
}

/// Where it is, without links: what is mounted there, or above, lies over it.
pub(super) fn add_paths(policy: &Policy, places: &mut Places, real: &mut RealPaths) {
    for (tag, Guarded { part, path }) in each(policy) {
        let resolved = real.of(path);
        for path in std::iter::once(path).chain(resolved.as_ref()) {
            places.add_path(path.as_os_str().as_bytes().to_vec(), tag, *part != Part::Configuration);
        }
    }
}

/// What to arm for it.
pub(super) fn targets(policy: &Policy, real: &mut RealPaths) -> Own {
    let mut own = Own::default();
    for (tag, Guarded { part, path }) in each(policy) {
        let resolved = real.of(path);
        if *part != Part::Configuration {
            folders::members(resolved.as_ref().unwrap_or(path), tag, &mut own.folders, &mut own.files);
            continue;
        }
        // Behind a link it can be replaced at either end.
        for path in std::iter::once(path).chain(resolved.as_ref().filter(|resolved| *resolved != path)) {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let purpose = Purpose::Nest(tag, name.as_bytes().to_vec());
                own.folders.push(Target { path: parent.to_owned(), purpose });
            }
        }
        own.files.push(Target { path: path.clone(), purpose: Purpose::Key(tag) });
    }
    own
}

/// Whether a file of another generation than the one that was enrolled is still the watcher's own, by its path.
pub(super) fn is_at(policy: &Policy, tag: Tag, path: Option<&Path>) -> bool {
    let guarded = own_entry(tag).and_then(|entry| policy.guarded.get(usize::from(entry)));
    let (Some(guarded), Some(path)) = (guarded, path) else { return false };
    let resolved = std::fs::canonicalize(&guarded.path).unwrap_or_else(|_| guarded.path.clone());
    [&guarded.path, &resolved].iter().any(|own| path.starts_with(own))
}

/// The path of the watcher's own that a tag names, links resolved.
pub(super) fn path(policy: &Policy, tag: Tag) -> Option<PathBuf> {
    let guarded = policy.guarded.get(usize::from(own_entry(tag)?))?;
    Some(std::fs::canonicalize(&guarded.path).unwrap_or_else(|_| guarded.path.clone()))
}

/// The login session of this process (`/proc/self/sessionid`, proc(5)); `None` where it is of none.
pub(super) fn session() -> Option<u32> {
    let text = std::fs::read("/proc/self/sessionid").ok()?;
    let number = OsStr::from_bytes(&text).to_str()?.trim().parse().ok()?;
    (number != u32::MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use dkimwatch_common::watch::is_own;

    use super::*;

    #[test]
    fn a_configuration_is_awaited_by_name_and_a_journal_is_all_that_is_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("a path");
        std::fs::create_dir_all(root.join("journal")).expect("a folder");
        std::fs::write(root.join("journal/1.dkj"), "").expect("a segment");
        let guarded = vec![
            Guarded { part: Part::Configuration, path: root.join("x.toml") },
            Guarded { part: Part::Journal, path: root.join("journal") },
        ];
        let policy = Policy { guarded, ..Policy::default() };
        let own = targets(&policy, &mut RealPaths::default());
        assert!(own.folders.iter().chain(&own.files).all(|target| is_own(target.purpose.tag())));
        let purposes: Vec<_> = own.folders.iter().map(|target| &target.purpose).collect();
        assert_eq!(purposes, [&Purpose::Nest(own_tag(0), b"x.toml".to_vec()), &Purpose::Folder(own_tag(1))]);
        let files: Vec<_> = own.files.iter().map(|target| &target.path).collect();
        assert_eq!(files, [&root.join("x.toml"), &root.join("journal/1.dkj")]);
        assert!(is_at(&policy, own_tag(1), Some(&root.join("journal/2.dkj"))));
        assert!(!is_at(&policy, own_tag(1), Some(&root.join("2.dkj"))));
        assert!(!is_at(&policy, own_tag(7), Some(&root)));
        assert_eq!(path(&policy, own_tag(0)), Some(root.join("x.toml")));
    }
}
