//! Crashes at every byte.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::judge::Verdict;

pub(super) const LIMITS: Limits = Limits {
    segment_size: 64 << 20,
    segment_age: Duration::from_secs(86_400),
    keep_size: 1 << 40,
    keep_age: Duration::from_secs(1 << 40),
};

pub(super) fn event(number: u64) -> New {
    let verdict = if number.is_multiple_of(10) { Verdict::Unexpected } else { Verdict::Expected };
    New {
        unix_ns: i64::try_from(number).expect("small"),
        kind: EntryKind::Access,
        verdict: Some(verdict),
        event: format!("{{\"n\":{number}}}").into_bytes(),
        record: vec![7; usize::try_from(number % 50).expect("small")],
    }
}

/// A journal of some entries in segments of some, sealed or not.
pub(super) fn journal(folder: &Path, entries: u64, segment_size: u64, sealed: bool) -> Option<VerificationKey> {
    let key = sealed.then(|| set_up_sealing(folder, false).expect("set up").0);
    let (mut journal, notices) = Journal::open(folder, Limits { segment_size, ..LIMITS }, 0).expect("opened");
    assert_eq!(notices, [], "a new journal");
    for number in 1..=entries {
        assert_eq!(journal.append(event(number)).expect("appended"), number);
        journal.sync().expect("synced");
        journal.rotate(0).expect("rotated");
    }
    key
}

pub(super) fn whole(folder: &Path, key: Option<&VerificationKey>, entries: u64) {
    let found = verify(folder, key).expect("read");
    assert_eq!(found.findings, [], "{found:?}");
    assert_eq!(found.entries, entries);
    if key.is_some() {
        assert_eq!(found.sealed, entries, "each carries its seal");
    }
}

pub(super) fn segments(folder: &Path) -> Vec<PathBuf> {
    segment::list(folder).expect("listed").into_iter().map(|segment| segment.path).collect()
}

#[test]
fn a_journal_goes_on_where_it_ended() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = journal(folder.path(), 30, 1_000, sealed);
        assert!(segments(folder.path()).len() > 2, "several segments");
        for round in 1..=3_u64 {
            let (mut journal, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
            assert_eq!(notices, []);
            assert_eq!((journal.next_seq(), journal.is_sealed()), (30 + round, sealed));
            journal.append(event(99)).expect("appended");
            journal.sync().expect("synced");
            let busy = Journal::open(folder.path(), LIMITS, 0).expect_err("one writer at a time");
            assert!(matches!(busy, JournalError::Busy(_)), "{busy}");
        }
        whole(folder.path(), key.as_ref(), 33);
    }
}

/// A host of ten thousand keys, each of which the start of the watch names.
#[test]
fn a_long_entry_is_one_like_any_other_and_one_that_is_too_long_costs_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
    let long = |bytes| New { event: vec![b' '; bytes], ..event(1) };
    assert_eq!(journal.append(long(4 << 20)).expect("appended"), 1);
    assert!(matches!(journal.append(long(64 << 20)), Err(JournalError::TooLong(_))));
    assert_eq!(journal.append(event(2)).expect("appended"), 2);
    journal.sync().expect("synced");
    drop(journal);
    whole(folder.path(), None, 2);
    let read: Vec<_> = entries(folder.path(), None).expect("a journal").collect::<Result<_, _>>().expect("readable");
    assert!(matches!(&read[..], [ReadOut::Entry(one), ReadOut::Entry(_)] if one.event.len() == 4 << 20));
}

#[test]
fn a_write_that_is_torn_at_any_byte_costs_that_entry_and_is_told() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = journal(folder.path(), 5, 1 << 20, sealed);
        let state = fs::read(folder.path().join("seal")).ok();
        let path = segments(folder.path()).pop().expect("a segment");
        let before = fs::read(&path).expect("read");
        let (mut journal, _) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
        journal.append(event(6)).expect("appended");
        journal.sync().expect("synced");
        drop(journal);
        let after = fs::read(&path).expect("read");
        for length in before.len()..=after.len() {
            fs::write(&path, &after[..length]).expect("torn");
            // As the power went between the entry and the seal's state.
            if let Some(state) = &state {
                fs::write(folder.path().join("seal"), state).expect("written");
            }
            let torn = length - before.len();
            let found = verify(folder.path(), key.as_ref()).expect("read");
            let expected = if torn == 0 || length == after.len() {
                vec![]
            } else {
                vec![Finding::Torn { segment: 1, seq: 6, bytes: torn as u64 }]
            };
            assert_eq!(found.findings, expected, "at byte {torn}");
            let (journal, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
            let (seq, expected) = if length == after.len() {
                (7, vec![])
            } else if torn == 0 {
                (6, vec![])
            } else {
                (6, vec![Notice::Cut { segment: 1, bytes: torn as u64 }])
            };
            assert_eq!((journal.next_seq(), notices), (seq, expected), "at byte {torn}");
            drop(journal);
            whole(folder.path(), key.as_ref(), seq - 1);
        }
    }
}

#[test]
fn a_segment_that_is_torn_as_it_is_begun_is_begun_again() {
    for sealed in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = journal(folder.path(), 5, 1 << 20, sealed);
        // It is begun, and then the seal's state is written: the power went between the two.
        let state = fs::read(folder.path().join("seal")).ok();
        let (mut journal, _) = Journal::open(folder.path(), Limits { segment_size: 1, ..LIMITS }, 0).expect("opened");
        assert_eq!(journal.rotate(0).expect("rotated"), Some(1));
        drop(journal);
        let path = segments(folder.path()).pop().expect("a segment");
        let header = fs::read(&path).expect("read");
        assert_eq!(header.len(), segment::HEADER, "nothing but a header");
        for length in 0..=header.len() {
            fs::write(&path, &header[..length]).expect("torn");
            if let Some(state) = &state {
                fs::write(folder.path().join("seal"), state).expect("written");
            }
            let (journal, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
            let expected =
                if length < header.len() { vec![Notice::Cut { segment: 2, bytes: length as u64 }] } else { vec![] };
            assert_eq!((journal.next_seq(), notices), (6, expected), "{length}");
            drop(journal);
            whole(folder.path(), key.as_ref(), 5);
        }
    }
}

#[test]
fn sealing_begins_with_a_segment_and_can_be_renewed() {
    let folder = tempfile::tempdir().expect("a folder");
    journal(folder.path(), 5, 1 << 20, false);
    let (one, _) = set_up_sealing(folder.path(), false).expect("set up");
    assert!(matches!(set_up_sealing(folder.path(), false), Err(JournalError::SealedAlready(_))));
    let go_on = |entries: u64| {
        let (mut journal, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
        assert_eq!(notices, []);
        for number in 0..entries {
            journal.append(event(number)).expect("appended");
        }
        journal.sync().expect("synced");
    };
    go_on(5);
    go_on(5);
    let found = verify(folder.path(), Some(&one)).expect("read");
    assert_eq!((found.findings.as_slice(), found.entries, found.sealed), ([].as_slice(), 15, 10));
    let (two, _) = set_up_sealing(folder.path(), true).expect("renewed");
    go_on(3);
    let found = verify(folder.path(), Some(&two)).expect("read");
    assert_eq!((found.findings.as_slice(), found.sealed), ([].as_slice(), 3));
    let found = verify(folder.path(), Some(&one)).expect("read");
    assert_eq!(
        (found.findings.as_slice(), found.sealed, found.renewed),
        ([].as_slice(), 10, Some(3)),
        "the old one, too"
    );
    assert!(verify(folder.path(), None).expect("read").is_whole(), "without a key: the chain");
}
