//! The watch list as far as it needs no kernel.

use std::{fs, os::unix::fs::symlink};

use super::{realpaths::RealPaths, *};
use dkimwatch_common::{deed::Deed, watch::file_watch};

use crate::{
    config::KeySettings,
    containers::Stores,
    decode::{Fact, KernelPath, OpenedFile, tests::Random},
    keys::{Folder, Key},
};

fn settings() -> Settings {
    let keys = KeySettings { discover: false, paths: Vec::new(), public: vec!["*.txt".to_owned()] };
    Settings {
        keys,
        signers: Vec::new(),
        maintenance: Vec::new(),
        containers: Stores::default(),
        journal: crate::config::JournalSettings::default(),
    }
}

fn list(keys: &[PathBuf], folders: &[PathBuf]) -> WatchList {
    let key = |path: &PathBuf| Key {
        contained: false,
        root: None,
        path: path.clone(),
        domain: Some("example.org".to_owned()),
        selector: None,
        signer: None,
        found_in: "a test".to_owned(),
    };
    let folder = |path: &PathBuf| Folder { path: path.clone(), signer: None, found_in: "a test".to_owned() };
    let inventory = Inventory {
        keys: keys.iter().map(key).collect(),
        folders: folders.iter().map(folder).collect(),
        notes: Vec::new(),
    };
    WatchList::new(settings(), &inventory)
}

fn target(path: impl AsRef<Path>, purpose: Purpose) -> Target {
    Target { path: path.as_ref().to_owned(), purpose }
}

#[test]
fn a_key_is_armed_after_its_name_is_awaited_and_tags_name_entries() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("a.private"), root.path().join("b.private"));
    fs::write(&first, "").unwrap();
    let list = list(&[first.clone(), second.clone()], &[]);
    assert_eq!(
        list.targets(&mut RealPaths::default()),
        [
            target(root.path(), Purpose::Nest(0, b"a.private".to_vec())),
            // Not there yet, and awaited all the same.
            target(root.path(), Purpose::Nest(1, b"b.private".to_vec())),
            target(&first, Purpose::Key(0)),
            target(&second, Purpose::Key(1)),
        ]
    );
    let (keys, folders) = list.keys_and_folders();
    assert_eq!((keys.len(), folders.len()), (2, 0));
    assert_eq!(keys.first().map(|key| (&key.path, key.domain.as_deref())), Some((&first, Some("example.org"))));
}

#[test]
fn a_key_behind_a_link_is_awaited_at_both_ends() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    for folder in ["real", "named"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    fs::write(root.join("real/2026.private"), "").unwrap();
    let key = root.join("named/mail.private");
    symlink("../real/2026.private", &key).unwrap();
    let nests: Vec<Target> = list(&[key], &[])
        .targets(&mut RealPaths::default())
        .into_iter()
        .filter(|target| matches!(target.purpose, Purpose::Nest(..)))
        .collect();
    assert_eq!(
        nests,
        [
            target(root.join("named"), Purpose::Nest(0, b"mail.private".to_vec())),
            target(root.join("real"), Purpose::Nest(0, b"2026.private".to_vec())),
        ]
    );
}

#[test]
fn folders_come_before_what_is_in_them_and_a_key_in_one_stays_a_key() {
    let root = tempfile::tempdir().unwrap();
    let key = root.path().join("mail.private");
    fs::write(&key, "").unwrap();
    fs::create_dir(root.path().join("below")).unwrap();
    let targets = list(std::slice::from_ref(&key), &[root.path().to_owned()]).targets(&mut RealPaths::default());
    let position = |wanted: &Target| targets.iter().position(|target| target == wanted).unwrap();
    let folder = position(&target(root.path(), Purpose::Folder(1)));
    let below = position(&target(root.path().join("below"), Purpose::Folder(1)));
    let member = position(&target(&key, Purpose::Member(1)));
    let itself = position(&target(&key, Purpose::Key(0)));
    assert!(folder < member && below < member, "a file born in between is seen");
    assert!(member < itself, "what is written last stays");
}

const WATCHED: FileId = FileId::new(8 << 20, 77);

/// A file of tag 0 whose generation is not the one that was enrolled.
fn reused(opened: Option<&Path>) -> OpenedFile {
    OpenedFile {
        id: WATCHED,
        dir: FileId::new(8 << 20, 2),
        generation: 2,
        watch_generation: 1,
        mode: 0o10_0600,
        uid: 0,
        gid: 0,
        nlink: 1,
        path: opened.map_or(Fact::Unreadable, |path| {
            Fact::Known(KernelPath { bytes: path.as_os_str().as_bytes().to_vec(), cut: false })
        }),
        path_in_fs: false,
        is_folder: false,
        in_doubt: false,
        unlinked: false,
        tag: 0,
        watch_kind: file_watch::ARMED,
        open: Fact::NotAsked,
    }
}

/// An access to it.
fn opening(file: &OpenedFile) -> Access {
    Access { file: file.clone(), deed: Deed::None, ..Random(1).access() }
}

#[test]
fn what_a_rename_put_in_a_keys_place_is_told_as_that_and_not_as_the_former_key() {
    let key = PathBuf::from("/k/mail.private");
    let list = list(std::slice::from_ref(&key), &[]);
    let by = |io_worker: bool, from: &str, to: &[u8]| {
        let mut access = opening(&reused(Some(Path::new(from))));
        let second = Fact::Known(KernelPath { bytes: to.to_vec(), cut: false });
        access.process.io_worker = io_worker;
        let access = Access { deed: Deed::Rename, second, ..access };
        list.standing_by(&access, |_| Ok(Some(WATCHED))).unwrap()
    };
    let renamed = |from: &str, to: &[u8]| by(false, from, to);
    let (enrolled, heir) = (Standing::Enrolled, Standing::Heir);
    assert_eq!(by(true, "/k/alias", b"mail.private"), enrolled, "nobody tells of it beside this");
    // The second path may begin at the root of its file system.
    assert_eq!(renamed("/k/forged", b"/mail.private"), heir, "the inode number of the former key, and its name");
    assert_eq!(renamed("/k/forged", b"/elsewhere"), enrolled, "another name of the key, whose generation was set");
    assert_eq!(renamed("/k/mail.private", b"/k/mail.private"), enrolled, "the key itself");
    assert_eq!(renamed("/k/forged", b""), enrolled);
}

#[test]
fn the_generation_alone_never_ends_a_watch() {
    let key = PathBuf::from("/k/mail.private");
    let list = list(std::slice::from_ref(&key), &[]);
    let standing = |file: &OpenedFile, now: Option<FileId>| list.standing_by(&opening(file), |_| Ok(now)).unwrap();
    let stale = |file: &OpenedFile, now: Option<FileId>| standing(file, now) == Standing::Another;

    let same = OpenedFile { generation: 1, ..reused(None) };
    let asking = |_: &Path| panic!("nothing to ask");
    assert_eq!(list.standing_by(&opening(&same), asking).unwrap(), Standing::Enrolled, "the file that was enrolled");
    assert!(!stale(&reused(None), Some(WATCHED)), "its owner set the generation: the key's path leads to it still");
    assert!(stale(&reused(Some(&key)), Some(FileId::new(8 << 20, 78))), "the key's path leads elsewhere");
    assert!(stale(&reused(Some(Path::new("/tmp/other"))), None), "no key there, and opened elsewhere");
    assert!(!stale(&reused(Some(&key)), None), "opened by the key's path, which is gone by now");
}

#[test]
fn in_a_folder_the_path_decides() {
    let list = list(&[], &[PathBuf::from("/srv/keys")]);
    let standing = |file: &OpenedFile| list.standing_by(&opening(file), |_| Ok(None)).unwrap();
    let stale = |opened: Option<&str>| standing(&reused(opened.map(Path::new))) == Standing::Another;
    assert!(!stale(Some("/srv/keys/below/mail.private")));
    assert!(stale(Some("/srv/keys-of-others/mail.private")));
    assert!(stale(None));
    let nobodys = OpenedFile { tag: 7, ..reused(Some(Path::new("/srv/keys/a"))) };
    assert_eq!(standing(&nobodys), Standing::Another, "no entry of that tag");
}
