//! What a refused open was about, without a kernel.

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
