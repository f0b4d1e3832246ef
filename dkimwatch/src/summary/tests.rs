//! What is counted is told once, whenever it is read, and whoever goes on.

use dkimwatch_common::{identity::FileId, summary::Summary};

use super::*;
use crate::decode::{Access, tests::Random};

const SECOND: u64 = 1_000_000_000;

fn access(pid: u32) -> Access {
    let mut random = Random(u64::from(pid));
    let mut access = random.access();
    access.file.id = FileId::new(7, 12);
    access.guise = u64::from(pid) << 10;
    (access.process.pid, access.process.start_ns, access.boot_ns) = (pid, 5, SECOND);
    access
}

fn group(user: &str) -> Group {
    Group {
        path: "/etc/dkimkeys/a".to_owned(),
        domain: None,
        selector: None,
        signer: None,
        rule: "signer/x".to_owned(),
        executable: None,
        uid: Some(1),
        user: Some(user.to_owned()),
        place: Place::default(),
    }
}

fn counted(count: u64, first: u64, last: u64, span: u64) -> Summary {
    Summary { count, first: first * SECOND, last: last * SECOND, span, ..Summary::default() }
}

fn noted(book: &mut Book, pid: u32, user: &str) -> Id {
    let access = access(pid);
    let id = Id::of(&access);
    book.note(id, group(user), &access);
    id
}

/// Count, first and last second, processes of each.
fn told(book: &mut Book) -> Vec<(u64, i128, i128, u64)> {
    let second = i128::from(SECOND);
    let summed = book.close(0, 0).into_iter();
    summed.map(|one| (one.count, one.first_unix_ns / second, one.last_unix_ns / second, one.processes)).collect()
}

#[test]
fn what_was_counted_is_told_once() {
    let mut book = Book::default();
    let id = noted(&mut book, 42, "a");
    let read =
        |book: &mut Book, summary, span, now| book.read(&id, &Counted { summary, span, goes_on: true }, now * SECOND);
    assert_eq!(read(&mut book, counted(0, 0, 0, u64::MAX), 0, 2), Fate::Stays);
    assert!(told(&mut book).is_empty(), "nothing was opened");
    read(&mut book, counted(10, 3, 9, 1), 1, 10);
    assert_eq!(told(&mut book), [(10, 3, 9, 1)]);
    read(&mut book, counted(10, 3, 9, 1), 2, 11);
    assert!(told(&mut book).is_empty(), "all was told");
    // Twice read and once told: in one sum.
    read(&mut book, counted(15, 12, 13, 3), 3, 14);
    read(&mut book, counted(16, 15, 15, 4), 4, 16);
    assert_eq!(told(&mut book), [(6, 12, 15, 1)]);
    // Counted as it was read: a span had begun that was not this one's.
    read(&mut book, counted(20, 18, 18, 6), 5, 18);
    assert_eq!(told(&mut book), [(4, 16, 18, 1)], "not before the last look");
}

#[test]
fn groups_are_told_apart_and_their_processes_together() {
    let mut book = Book::default();
    for (pid, user, count) in [(1, "a", 5), (2, "a", 7), (3, "b", 1)] {
        let id = noted(&mut book, pid, user);
        book.read(&id, &Counted { summary: counted(count, 3, 4, 0), span: 0, goes_on: true }, 5 * SECOND);
    }
    assert_eq!(told(&mut book), [(12, 3, 4, 2), (1, 3, 4, 1)]);
}

#[test]
fn an_entry_that_is_over_stays_until_nobody_can_be_counting() {
    let mut book = Book::default();
    let id = noted(&mut book, 42, "a");
    let over = |count| Counted { summary: counted(count, 3, 4, 0), span: 0, goes_on: false };
    assert_eq!(book.read(&id, &over(1), 5 * SECOND), Fate::Stays);
    assert_eq!(book.read(&id, &over(2), 5 * SECOND + 1), Fate::Stays, "at once");
    assert_eq!(book.read(&id, &over(3), 6 * SECOND), Fate::Over);
    assert!(book.is_empty());
    assert_eq!(told(&mut book), [(3, 3, 4, 1)], "all of it");
}

#[test]
fn whoever_goes_on_tells_what_was_not_told() {
    let mut book = Book::default();
    let (one, other) = (noted(&mut book, 1, "a"), noted(&mut book, 2, "b\u{1b}\n"));
    let read = |book: &mut Book, id, count| {
        book.read(id, &Counted { summary: counted(count, 3, 4, 0), span: 0, goes_on: true }, 5 * SECOND)
    };
    read(&mut book, &one, 10);
    told(&mut book);
    read(&mut book, &other, 4);
    let saved = serde_json::to_vec(&book).expect("JSON");
    let mut next: Book = serde_json::from_slice(&saved).expect("the same");
    assert_eq!(next, book);
    read(&mut next, &one, 25);
    assert_eq!(told(&mut next), [(15, 3, 4, 1), (4, 3, 4, 1)]);
    assert_eq!(next.ids(), [one, other]);
}

#[test]
fn what_is_no_book_is_refused() {
    for bytes in [b"".as_slice(), b"{}", b"[]", b"{\"entries\":[[1,2]],\"owed\":[]}", &[0xff; 40]] {
        assert!(serde_json::from_slice::<Book>(bytes).is_err(), "{bytes:?}");
    }
}
