//! What a refused open was about, without a kernel.

use dkimwatch_common::{deed::Deed, identity::Identified};

use super::*;
use crate::decode::tests::Random;

const KEY: Place = Place { dev: 8, ino: 100 };
const FOLDER: Place = Place { dev: 8, ino: 10 };
const NEST: Place = Place { dev: 8, ino: 11 };

fn places() -> Places {
    let mut places = Places::default();
    places.add_key(KEY, 3);
    places.add_folder(FOLDER, 4);
    places.add_name(NEST, b"mail.private".to_vec(), 3);
    places
}

/// A refused open, at a key that the hook knew or not.
fn refused(tag: Tag) -> Access {
    let mut access = Random(1).access();
    let path = |bytes: &[u8]| Fact::Known(KernelPath { bytes: bytes.to_vec(), cut: false });
    access.file.tag = tag;
    access.file.id = FileId::new(8, 100);
    access.file.path = path(b"/etc");
    access.second = path(b"dkimkeys/mail.private");
    access
}

fn there(place: Place, folder: Option<Place>, mode: u32) -> Answer {
    Answer::There(Found { place, folder, path: b"/etc/dkimkeys/found".to_vec(), mode, uid: 1, gid: 2, nlink: 1 })
}

fn path(access: &Access) -> &[u8] {
    &access.file.path.known().expect("a path").bytes
}

#[test]
fn a_key_that_the_hook_knew_is_told_whatever_became_of_its_path() {
    for answer in [Answer::Undecided, Answer::Elsewhere, Answer::Nothing { folder: NEST, path: b"/gone".to_vec() }] {
        let access = identified(refused(7), &answer, &places()).expect("the hook knew it");
        assert_eq!((access.file.tag, path(&access)), (7, b"/etc/dkimkeys/mail.private".as_slice()));
    }
    let access = identified(refused(7), &there(KEY, None, S_IFREG), &places()).expect("the hook knew it");
    assert_eq!((access.file.tag, path(&access)), (7, b"/etc/dkimkeys/found".as_slice()));
    // Another file by now: its path is not the key's.
    let other = there(Place { dev: 8, ino: 101 }, None, S_IFREG);
    let access = identified(refused(7), &other, &places()).expect("the hook knew it");
    assert_eq!(path(&access), b"/etc/dkimkeys/mail.private");
}

#[test]
fn of_two_names_that_changed_places_the_other_one_is_kept() {
    let asked = |old: &[u8], new: &[u8]| {
        let mut text = new.to_vec();
        text.resize(limits::SECOND_ASKED, 0);
        text.extend(old);
        Access { second: Fact::Known(KernelPath { bytes: text, cut: false }), ..refused(Tag::MAX) }
    };
    let what = Identified { file: FileId::new(8, 7), mode: 0o04_0755, generation: 9, ..Identified::default() };
    let moved = Moved { what, tag: 3, path: b"/srv/mail".to_vec(), looked_ns: 0 };
    for (old, new) in [(b"/srv/mail//".as_slice(), b"evil".as_slice()), (b"evil", b"mail")] {
        let access = exchanged(asked(old, new), moved.clone());
        assert_eq!((access.file.id, access.file.tag, access.file.is_folder), (FileId::new(8, 7), 3, true));
        assert_eq!(path(&access), b"/srv/mail");
        assert_eq!(access.second.known().expect("the other").bytes, b"evil");
    }
    let access = asked(b"/srv/mail//", b"evil");
    let [(before, name), (other_before, other)] = named_in(&access.second.known().expect("two").bytes);
    assert_eq!((before, name), (b"".as_slice(), b"evil".as_slice()));
    assert_eq!((other_before, other), (b"/srv/".as_slice(), b"mail".as_slice()));
    assert_eq!(named_in(b""), [(b"".as_slice(), b"".as_slice()); 2]);
}

#[test]
fn behind_a_folder_that_refused_the_path_decides() {
    let tag = |answer: &Answer| identified(refused(Tag::MAX), answer, &places()).map(|access| access.file.tag);
    let other = Place { dev: 9, ino: 100 };
    assert_eq!(tag(&there(KEY, None, S_IFREG | 0o600)), Some(3));
    assert_eq!(tag(&there(other, Some(FOLDER), S_IFREG)), Some(4), "born a moment ago");
    assert_eq!(tag(&there(other, Some(NEST), S_IFREG)), None, "another file beside a key");
    assert_eq!(tag(&there(other, Some(FOLDER), 0o04_0000)), None, "a folder in the folder");
    assert_eq!(tag(&there(other, None, S_IFREG)), None);
    let nothing = |folder, path: &[u8]| tag(&Answer::Nothing { folder, path: path.to_vec() });
    assert_eq!(nothing(NEST, b"/etc/dkimkeys/mail.private"), Some(3), "a key that is awaited");
    assert_eq!(nothing(NEST, b"/etc/dkimkeys/other"), None);
    assert_eq!(nothing(FOLDER, b"/etc/keys/other"), Some(4));
    assert_eq!(tag(&Answer::Undecided), None);
}

#[tokio::test]
async fn a_path_that_hangs_is_undecided_and_holds_up_no_other() {
    use std::time::{Duration, Instant};
    let began = Instant::now();
    let mut resolver = Resolver::hanging_at_process_0();
    for pid in [0, 1, 2] {
        let mut access = refused(7);
        access.process.pid = pid;
        resolver.ask(access);
    }
    for (pid, expected) in [(0, Answer::Undecided), (1, Answer::Elsewhere), (2, Answer::Elsewhere)] {
        let (access, answer) = resolver.next().await;
        assert_eq!((access.process.pid, answer), (pid, expected));
    }
    assert!(resolver.is_idle());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A mount, of which the path is known as it was asked for.
fn mount(deed: Deed, base: &[u8], text: &[u8]) -> Access {
    let mut access = refused(Tag::MAX);
    let path = |bytes: &[u8]| Fact::Known(KernelPath { bytes: bytes.to_vec(), cut: false });
    (access.deed, access.file.path, access.second) = (deed, path(base), path(text));
    access
}

#[test]
fn a_mount_is_told_of_what_it_lies_over() {
    let mut places = places();
    places.add_path(b"/etc/dkimkeys/mail.private".to_vec(), 3, false);
    places.add_path(b"/etc/keys".to_vec(), 4, true);
    let at = |path: &[u8]| {
        let answer = Answer::Nothing { folder: Place { dev: 1, ino: 1 }, path: path.to_vec() };
        mounted(mount(Deed::Mount, b"/", path), &answer, &places).map(|access| (access.file.tag, access.file.is_folder))
    };
    assert_eq!(at(b"/etc/dkimkeys/mail.private"), Some((3, false)));
    assert_eq!(at(b"/etc/keys"), Some((4, true)));
    assert_eq!(at(b"/etc/keys/deeper"), Some((4, true)));
    assert_eq!(at(b"/etc"), Some((3, true)), "a folder further up");
    assert_eq!(at(b"/etc/dkimkeys2"), None);
    assert_eq!(at(b"/etc/dkimkeys/other"), None, "beside a key");
    let by_name = Answer::Nothing { folder: NEST, path: b"/bound/mail.private".to_vec() };
    let access = mounted(mount(Deed::Mount, b"/", b"/bound/mail.private"), &by_name, &places).expect("the key's name");
    assert_eq!(access.file.tag, 3);
    // What needs no following is not followed.
    let access = mounted_as_asked(mount(Deed::Unmount, b"/etc", b"keys"), &places).expect("a folder of keys");
    assert_eq!((access.file.tag, path(&access)), (4, b"/etc/keys".as_slice()));
    assert!(mounted_as_asked(mount(Deed::Mount, b"/", b"link"), &places).is_err());
}

#[test]
fn of_two_paths_as_they_were_asked_for_the_first_is_followed_and_the_second_kept() {
    let mut text = b"mail.private".to_vec();
    text.resize(limits::SECOND_ASKED, 0xa5);
    if let Some(end) = text.get_mut(b"mail.private".len()) {
        *end = 0;
    }
    text.extend(b"/tmp/forged");
    let access = mount(Deed::Place, b"/etc/dkimkeys", &text);
    assert_eq!(as_asked(&access), b"/etc/dkimkeys/mail.private");
    let access = changed(access, &there(KEY, Some(FOLDER), S_IFREG), &places()).expect("a key");
    assert_eq!(access.second.known().map(|path| path.bytes.as_slice()), Some(b"/tmp/forged".as_slice()));
    // One path alone leaves nothing behind.
    let access = changed(mount(Deed::Mode, b"/etc/dkimkeys", b"mail.private"), &there(KEY, None, S_IFREG), &places());
    assert_eq!(access.expect("a key").second, Fact::NotAsked);
}

#[test]
fn what_is_put_in_a_keys_place_is_that_key_whatever_key_had_its_inode_number() {
    let mut places = places();
    places.add_key(Place { dev: 8, ino: 200 }, 9);
    let found = |deed: Deed, folder: Place, path: &[u8]| {
        let found = Found {
            place: Place { dev: 8, ino: 200 },
            folder: Some(folder),
            path: path.to_vec(),
            mode: S_IFREG,
            uid: 1,
            gid: 2,
            nlink: 1,
        };
        let access = Access { deed, ..refused(Tag::MAX) };
        identified(access, &Answer::There(found), &places).map(|access| access.file.tag)
    };
    assert_eq!(found(Deed::Place, NEST, b"/etc/dkimkeys/mail.private"), Some(3));
    assert_eq!(found(Deed::Place, FOLDER, b"/etc/keys/mail.private"), Some(4));
    assert_eq!(found(Deed::Place, NEST, b"/etc/dkimkeys/other"), None, "a former key's number, and no key's place");
    assert_eq!(found(Deed::None, NEST, b"/etc/dkimkeys/mail.private"), Some(9), "an open is of the file");
}

#[test]
fn a_file_in_a_folder_of_keys_with_a_former_keys_inode_number_is_no_such_key() {
    let mut places = places();
    places.add_path(b"/etc/dkimkeys/mail.private".to_vec(), 3, false);
    let tag = |path: &[u8], nlink: u32| {
        let found =
            Found { place: KEY, folder: Some(FOLDER), path: path.to_vec(), mode: S_IFREG, uid: 1, gid: 2, nlink };
        identified(refused(Tag::MAX), &Answer::There(found), &places).map(|access| access.file.tag)
    };
    assert_eq!(tag(b"/etc/dkimkeys/mail.private", 1), Some(3), "the key at its path");
    assert_eq!(tag(b"/etc/keys/new", 1), Some(4), "a new file of its number");
    assert_eq!(tag(b"/etc/keys/new", 2), Some(3), "perhaps another name of the key");
}

#[test]
fn what_is_mounted_below_the_folder_that_refused_is_meant_where_the_path_can_no_longer_be_followed() {
    let guessed = || {
        let mut access = refused(7);
        access.file.id = FileId::default();
        access
    };
    let access = identified(guessed(), &Answer::Undecided, &places()).expect("perhaps that key");
    assert_eq!((access.file.tag, path(&access)), (7, b"/etc/dkimkeys/mail.private".as_slice()));
    let other = Place { dev: 9, ino: 100 };
    assert_eq!(identified(guessed(), &there(other, None, S_IFREG), &places()), None, "it meant another file");
    assert_eq!(identified(guessed(), &Answer::Elsewhere, &places()), None);
    let tag = identified(guessed(), &there(KEY, None, S_IFREG), &places()).map(|access| access.file.tag);
    assert_eq!(tag, Some(3), "the path says which key");
}
