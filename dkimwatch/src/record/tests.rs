//! Crashes at every byte, and an intruder with root and the source.

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
fn journal(folder: &Path, entries: u64, segment_size: u64, sealed: bool) -> Option<VerificationKey> {
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

fn whole(folder: &Path, key: Option<&VerificationKey>, entries: u64) {
    let found = verify(folder, key).expect("read");
    assert_eq!(found.findings, [], "{found:?}");
    assert_eq!(found.entries, entries);
    if key.is_some() {
        assert_eq!(found.sealed, entries, "each carries its seal");
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    segment::list(folder).expect("listed").into_iter().map(|segment| segment.path).collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.path().join(entry.file_name())).expect("copied");
    }
    to
}

/// Frames of a segment, as bytes, behind its header.
fn frames(path: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = fs::read(path).expect("read");
    let (header, mut rest) = bytes.split_at(segment::HEADER);
    let mut frames = Vec::new();
    while let frame::Found::Frame(_, length) = frame::Frame::read(rest) {
        let (one, behind) = rest.split_at(length);
        frames.push(one.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "whole entries only");
    (header.to_vec(), frames)
}

fn put(path: &Path, header: &[u8], frames: &[Vec<u8>]) {
    fs::write(path, [header, &frames.concat()].concat()).expect("written");
}

/// Entries as somebody writes them who knows the source and has no key: chained anew, with whatever tags.
fn chain_anew(header: &[u8], frames: &[Vec<u8>], alter: impl Fn(&mut Entry)) -> Vec<Vec<u8>> {
    let header = segment::Header::read(header.try_into().expect("a header")).expect("whole");
    let mut before = header.chain();
    let mut out = Vec::new();
    for bytes in frames {
        let frame::Found::Frame(mut frame, _) = frame::Frame::read(bytes) else { panic!("whole frames") };
        alter(&mut frame.entry);
        before = chain::of_entry(&before, &frame.entry);
        frame.chain = before;
        let mut bytes = Vec::new();
        frame.write(&mut bytes).expect("short enough");
        out.push(bytes);
    }
    out
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

/// What an intruder does who is root and knows the source, and what is found. He has no key of what was written before him.
#[test]
fn an_intruder_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = journal(folder.path(), 60, 1_400, true).expect("sealed");
    let all = segments(folder.path());
    assert!(all.len() > 4, "{} segments", all.len());
    whole(folder.path(), Some(&key), 60);
    let (header, plain) = frames(&all[1]);
    let first = segment::Header::read(header.as_slice().try_into().expect("a header")).expect("whole").first_seq;
    let name = |path: &Path| path.file_name().expect("a name").to_owned();
    let found = |tamper: &dyn Fn(&Path)| {
        let copy = copy(folder.path());
        tamper(copy.path());
        verify(copy.path(), Some(&key)).expect("read").findings
    };
    let second = |folder: &Path| folder.join(name(&all[1]));

    // An event is edited in place, with a checksum that fits.
    let edited = found(&|folder| {
        let mut frames = plain.clone();
        let frame::Found::Frame(mut frame, _) = frame::Frame::read(&frames[2]) else { panic!("a frame") };
        frame.entry.event = b"{}".to_vec();
        frames[2].clear();
        frame.write(&mut frames[2]).expect("short enough");
        put(&second(folder), &header, &frames);
    });
    assert_eq!(edited, [Finding::Altered { segment: 2, seq: first + 2 }]);

    // A bit flips, and the checksum does not fit.
    let flipped = found(&|folder| {
        let mut frames = plain.clone();
        *frames[2].last_mut().expect("bytes") ^= 1;
        put(&second(folder), &header, &frames);
    });
    assert!(matches!(flipped[0], Finding::Damaged { segment: 2, before, .. } if before == first + 2), "{flipped:?}");
    assert_eq!(flipped[1], Finding::Missing { segment: 2, first: first + 2, last: first + 2 });

    // One is deleted.
    let deleted = found(&|folder| {
        let mut frames = plain.clone();
        frames.remove(3);
        put(&second(folder), &header, &frames);
    });
    assert_eq!(deleted, [Finding::Missing { segment: 2, first: first + 3, last: first + 3 }]);

    // Two change places.
    let reordered = found(&|folder| {
        let mut frames = plain.clone();
        frames.swap(3, 4);
        put(&second(folder), &header, &frames);
    });
    assert_eq!(reordered[0], Finding::Missing { segment: 2, first: first + 3, last: first + 3 }, "{reordered:?}");

    // The end of a segment is cut off, at an entry's end.
    let truncated = found(&|folder| put(&second(folder), &header, &plain[..plain.len() - 2]));
    let last = first + plain.len() as u64 - 1;
    assert_eq!(truncated, [Finding::Missing { segment: 2, first: last - 1, last }]);

    // Edited and chained anew to the segment's end: the seal tells, and the next segment.
    let rechained = found(&|folder| {
        let frames = chain_anew(&header, &plain, |entry| {
            if entry.seq == first + 2 {
                entry.event = b"{}".to_vec();
            }
        });
        put(&second(folder), &header, &frames);
    });
    assert_eq!(rechained, [Finding::Unsealed { segment: 2, seq: first + 2 }, Finding::Unchained { segment: 3 }]);

    // An entry is deleted, the others renumbered, and all chained anew.
    let renumbered = found(&|folder| {
        let mut frames = plain.clone();
        frames.remove(1);
        let frames = chain_anew(&header, &frames, |entry| {
            if entry.seq > first {
                entry.seq -= 1;
            }
        });
        put(&second(folder), &header, &frames);
    });
    assert_eq!(renumbered[0], Finding::Unsealed { segment: 2, seq: first + 1 }, "{renumbered:?}");

    // Whole segments: removed, put in another's place, replaced by another journal's, or by an unsealed one.
    let removed = found(&|folder| fs::remove_file(second(folder)).expect("removed"));
    assert_eq!(removed, [Finding::SegmentsMissing { first: 2, last: 2 }]);
    let swapped = found(&|folder| assert!(fs::copy(&all[2], second(folder)).is_ok()));
    assert!(swapped.contains(&Finding::Misplaced { segment: 2, says: 3 }), "{swapped:?}");
    let other = tempfile::tempdir().expect("a folder");
    journal(other.path(), 60, 1_400, true);
    let foreign = found(&|folder| assert!(fs::copy(other.path().join(name(&all[1])), second(folder)).is_ok()));
    assert!(foreign.contains(&Finding::Foreign { segment: 2 }), "{foreign:?}");
    let unsealed = found(&|folder| {
        let mut read = segment::Header::read(header.as_slice().try_into().expect("a header")).expect("whole");
        (read.from, read.tag) = (0, [0; 32]);
        let header = read.bytes();
        put(&second(folder), &header, &chain_anew(&header, &plain, |_| {}));
    });
    assert!(unsealed.contains(&Finding::NotSealed { segment: 2 }), "{unsealed:?}");

    // The whole journal is another one, with a seal of its own.
    let copied = copy(other.path());
    let replaced = verify(copied.path(), Some(&key)).expect("read").findings;
    assert_eq!(replaced, [Finding::OtherJournal]);

    // The end of the journal is cut off: the state tells; without it, the journal just ends.
    let cut = |folder: &Path| fs::remove_file(folder.join(name(all.last().expect("one")))).expect("removed");
    let cut_off = found(&|folder| {
        cut(folder);
        fs::remove_file(folder.join(name(&all[all.len() - 2]))).expect("removed");
    });
    assert!(matches!(cut_off.as_slice(), [Finding::CutOff { written: 60, .. }]), "{cut_off:?}");
}

/// Who was there at noon has the state of noon, and nothing of the morning.
#[test]
fn the_state_of_noon_does_not_sign_the_morning() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = journal(folder.path(), 20, 1 << 20, true).expect("sealed");
    let path = segments(folder.path()).pop().expect("a segment");
    let (header, all) = frames(&path);
    // He cuts the journal before the alert of the morning, and has the program go on with the state that is there.
    put(&path, &header, &all[..8]);
    let (mut went_on, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
    assert_eq!(notices, [Notice::Missing { first: 9, last: 20 }], "the program itself tells");
    went_on.append(event(21)).expect("appended");
    went_on.sync().expect("synced");
    drop(went_on);
    let found = verify(folder.path(), Some(&key)).expect("read").findings;
    assert_eq!(found, [Finding::Missing { segment: 1, first: 9, last: 20 }]);
    // An older state, of which he had a copy (and for that he was there before): what is sealed from it is told apart no more.
    // SECURITY.md names that.
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
    assert!(verify(folder.path(), None).expect("read").is_whole(), "without a key: the chain");
}
