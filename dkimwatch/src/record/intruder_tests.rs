//! An intruder who is root, knows the source, and has the files and keys of the moment at which he came.

use std::{fs, path::Path};

use super::{
    tests::{LIMITS, event, journal, segments, whole},
    *,
};
use crate::judge::Verdict;

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

/// What the intruder of noon has: the files, and with them the keys of what comes.
fn state_of_noon(folder: &Path) -> sealstate::SealState {
    sealstate::peek(folder).expect("a state")
}

/// A segment as he writes it, sealed from a segment key, with the journal's own header otherwise.
fn forged(header: &segment::Header, key: &seal::Key, close: seal::Tag, entries: u64) -> Vec<u8> {
    let mut sealer = seal::Sealer::of_segment(key);
    let mut header = segment::Header { close, ..header.clone() };
    let mut before = header.chain();
    header.tag = sealer.seal(&before);
    let mut bytes = header.bytes();
    for number in 0..entries {
        let New { unix_ns, kind, event, record, .. } = event(number);
        let seq = header.first_seq + number;
        let entry = Entry { seq, unix_ns, kind, verdict: Some(Verdict::Expected), event, record };
        before = chain::of_entry(&before, &entry);
        let tag = sealer.seal(&before);
        frame::Frame { entry, chain: before, tag }.write(&mut bytes).expect("short enough");
    }
    bytes
}

/// He cuts the segment that is being written before the alert of the morning, and begins the next one, whose key he has.
#[test]
fn a_segment_that_was_cut_has_no_successor() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = journal(folder.path(), 20, 1 << 20, true).expect("sealed");
    let path = segments(folder.path()).pop().expect("a segment");
    let (bytes, all) = frames(&path);
    let header = segment::Header::read(bytes.as_slice().try_into().expect("a header")).expect("whole");
    let state = state_of_noon(folder.path());
    put(&path, &bytes, &all[..8]);
    let frame::Found::Frame(last, _) = frame::Frame::read(&all[7]) else { panic!("a frame") };
    let next = segment::Header { number: 2, first_seq: 9, before: last.chain, last_alert: 0, ..header };
    // The keys that he has: of entry 21, and of segment 2.
    let close = state.sealer.close(&next.chain());
    let successor = forged(&next, &state.sealer.next_segment, close, 12);
    fs::write(segment::path(folder.path(), 2), &successor).expect("written");
    // The state fits as well.
    let mut sealer = seal::Sealer::of_segment(&state.sealer.next_segment);
    for _ in 0..13 {
        sealer.seal(&[0; 32]);
    }
    let (mut at, mut chain) = (segment::HEADER, [0; 32]);
    while let frame::Found::Frame(frame, length) = frame::Frame::read(&successor[at..]) {
        (chain, at) = (frame.chain, at + length);
    }
    let state = sealstate::SealState { segment: 2, offset: at as u64, seq: 21, chain, sealer, ..state };
    sealstate::SealFile::create(folder.path(), &state).expect("written");
    let found = verify(folder.path(), Some(&key)).expect("read").findings;
    assert_eq!(found, [Finding::EndUnsealed { segment: 1 }]);
}

/// He cuts the end, and has the state fit: its keys do not.
#[test]
fn a_state_that_was_made_to_fit_is_found_and_so_is_one_that_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = journal(folder.path(), 20, 1 << 20, true).expect("sealed");
    let path = segments(folder.path()).pop().expect("a segment");
    let (header, all) = frames(&path);
    let state = state_of_noon(folder.path());
    put(&path, &header, &all[..8]);
    let frame::Found::Frame(last, _) = frame::Frame::read(&all[7]) else { panic!("a frame") };
    let offset = fs::metadata(&path).expect("there").len();
    let fitting = sealstate::SealState { offset, seq: 9, chain: last.chain, ..state };
    sealstate::SealFile::create(folder.path(), &fitting).expect("written");
    let found = || verify(folder.path(), Some(&key)).expect("read").findings;
    assert_eq!(found(), [Finding::StateForged]);
    fs::remove_file(folder.path().join(sealstate::NAME)).expect("removed");
    assert_eq!(found(), [Finding::EndUnproven { ends: 8 }]);
    let (_, notices) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
    assert_eq!(notices, [Notice::SealGone { segment: 1 }], "the program itself tells");
    assert!(matches!(set_up_sealing(folder.path(), false), Err(JournalError::SealedAlready(_))));
}

/// Nothing that he says excuses what is not there.
#[test]
fn only_the_oldest_segments_may_be_gone_and_a_sealed_entry_must_say_so() {
    let tells = |first: u64, last: u64| {
        New {
        unix_ns: 0,
        kind: EntryKind::State,
        verdict: None,
        event: format!(
            r#"{{"event":{{"action":"journal-trimmed"}},"dkimwatch":{{"journal":{{"segments":{{"first":{first},"last":{last}}}}}}}}}"#
        )
        .into_bytes(),
        record: Vec::new(),
    }
    };
    let lab = |first, last| {
        let folder = tempfile::tempdir().expect("a folder");
        let key = journal(folder.path(), 40, 1_000, true).expect("sealed");
        let (mut open, _) = Journal::open(folder.path(), LIMITS, 0).expect("opened");
        open.append(tells(first, last)).expect("appended");
        open.sync().expect("synced");
        (folder, key)
    };
    let found = |folder: &Path, key| verify(folder, Some(key)).expect("read").findings;
    let remove = |folder: &Path, number| fs::remove_file(segment::path(folder, number)).expect("removed");
    let (folder, key) = lab(1, 2);
    remove(folder.path(), 1);
    remove(folder.path(), 2);
    assert_eq!(found(folder.path(), &key), [], "as retention does it");
    remove(folder.path(), 3);
    assert_eq!(found(folder.path(), &key), [Finding::SegmentsMissing { first: 3, last: 3 }]);
    let (folder, key) = lab(2, 2);
    remove(folder.path(), 2);
    assert_eq!(found(folder.path(), &key), [Finding::SegmentsMissing { first: 2, last: 2 }], "out of the middle");

    // A segment 0, unsealed, with whatever he likes in it.
    let (folder, key) = lab(9, 9);
    let forged = tempfile::tempdir().expect("a folder");
    let (mut open, _) = Journal::open(forged.path(), LIMITS, 0).expect("opened");
    open.append(tells(1, 100)).expect("appended");
    open.sync().expect("synced");
    fs::copy(segment::path(forged.path(), 1), folder.path().join("0000000000000000.dkj")).expect("copied");
    assert_eq!(found(folder.path(), &key), [], "it is none of the journal's");
    for segment in segments(folder.path()) {
        fs::remove_file(segment).expect("removed");
    }
    assert!(matches!(verify(folder.path(), Some(&key)), Err(JournalError::Empty(_))));
}

/// What lies where the journal goes on, and is not its own, neither stops it nor becomes a part of it.
#[test]
fn a_foreign_successor_is_moved_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = journal(folder.path(), 20, 1 << 20, true).expect("sealed");
    let other = tempfile::tempdir().expect("a folder");
    journal(other.path(), 20, 1 << 20, true);
    let (bytes, all) = frames(&segment::path(folder.path(), 1));
    let header = segment::Header::read(bytes.as_slice().try_into().expect("a header")).expect("whole");
    let own_id = segment::Header { number: 2, first_seq: u64::MAX - 1, ..header };
    let sealed_by_nobody = forged(&own_id, &seal::Key::new([9; 32]), [0; 32], 1);
    for foreign in [fs::read(segment::path(other.path(), 1)).expect("read"), sealed_by_nobody, vec![0; 10_000]] {
        fs::write(segment::path(folder.path(), 2), &foreign).expect("written");
        let _ = verify(folder.path(), Some(&key)).expect("no panic");
        let (mut open, notices) =
            Journal::open(folder.path(), Limits { segment_size: 1, ..LIMITS }, 7).expect("opened");
        assert_eq!(notices, [Notice::Damaged { segment: 2, bytes: foreign.len() as u64 }]);
        assert_eq!(open.next_seq(), 21);
        assert_eq!(open.append(event(1)).expect("appended"), 21);
        open.sync().expect("synced");
        drop(open);
        // As it was before.
        put(&segment::path(folder.path(), 1), &bytes, &all);
        let _ = fs::remove_file(segment::path(folder.path(), 2));
        restore(folder.path(), &bytes, &all, &key);
    }
}

/// The state of a journal of twenty entries in one segment.
fn restore(folder: &Path, header: &[u8], all: &[Vec<u8>], key: &VerificationKey) {
    let mut sealer = seal::Sealer::of_segment(&key.key);
    for _ in 0..=all.len() {
        sealer.seal(&[0; 32]);
    }
    let frame::Found::Frame(last, _) = frame::Frame::read(all.last().expect("one")) else { panic!("a frame") };
    let offset = (header.len() + all.concat().len()) as u64;
    let (journal, seq) = (key.journal, all.len() as u64 + 1);
    let state = sealstate::SealState { journal, from: 1, segment: 1, offset, seq, chain: last.chain, sealer };
    sealstate::SealFile::create(folder, &state).expect("written");
    whole(folder, Some(key), all.len() as u64);
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
