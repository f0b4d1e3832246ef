//! Closed segments are packed with zstd, and the oldest are removed for their age or their size.

use std::{
    fs::OpenOptions,
    io::{BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    JournalError, Limits,
    journal::sync_folder,
    reader::SegmentReader,
    segment::{self, SegmentFile, UNFINISHED},
};

/// How hard zstd tries: on events, level 3 leaves a thirtieth.
const LEVEL: i32 = 3;

/// Names the last entry that a report told of: one line, its number.
const REPORTED: &str = "reported";

/// Packs a closed segment. Until it is on the disk under its name, the plain one stays.
///
/// # Errors
/// A file cannot be read or written: it stays plain.
pub(super) fn pack(folder: &Path, number: u64) -> Result<(), JournalError> {
    let (from, to) = (segment::path(folder, number), segment::packed_path(folder, number));
    let unfinished = to.with_added_extension(UNFINISHED.trim_start_matches('.'));
    let read = |error| JournalError::at(&from, "cannot be read", error);
    let write = |error| JournalError::at(&unfinished, "cannot be written", error);
    let plain = segment::open(&from)?;
    let written = plain.metadata().and_then(|meta| meta.modified()).map_err(read)?;
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(segment::PLAIN_FILE)
        .open(&unfinished);
    let mut encoder = zstd::Encoder::new(target.map_err(write)?, LEVEL).map_err(write)?;
    encoder.include_checksum(true).map_err(write)?;
    std::io::copy(&mut BufReader::with_capacity(1 << 17, plain), &mut encoder).map_err(write)?;
    let packed = encoder.finish().map_err(write)?;
    // Its age is that of its last entry.
    packed.set_modified(written).and_then(|()| packed.sync_all()).map_err(write)?;
    std::fs::rename(&unfinished, &to).map_err(write)?;
    sync_folder(&to)?;
    std::fs::remove_file(&from).map_err(|error| JournalError::at(&from, "cannot be removed", error))
}

/// Closed segments that are still plain: a crash came between closing and packing.
pub(super) fn unpacked(folder: &Path, current: u64) -> Result<Vec<u64>, JournalError> {
    let segments = segment::list(folder)?;
    Ok(segments
        .iter()
        .filter(|segment| !segment.packed && segment.number < current)
        .map(|segment| segment.number)
        .collect())
}

/// The segments that are to go: the oldest ones, down to the limits. Never the one that is written, and never that of the newest
/// alert (`last_alert`, its number) as long as no report has told of it.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn overdue(
    folder: &Path,
    limits: &Limits,
    current: u64,
    last_alert: u64,
    now: SystemTime,
) -> Result<Vec<u64>, JournalError> {
    let segments = segment::list(folder)?;
    let reported = reported(folder);
    let mut lie: Vec<(&SegmentFile, u64, Duration)> = Vec::new();
    for segment in &segments {
        let meta = std::fs::metadata(&segment.path);
        let meta = meta.map_err(|error| JournalError::at(&segment.path, "cannot be read", error))?;
        let age = meta.modified().ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default();
        lie.push((segment, meta.len(), age));
    }
    let mut size: u64 = lie.iter().map(|(_, size, _)| size).sum();
    let mut overdue = Vec::new();
    for (at, (segment, bytes, age)) in lie.iter().enumerate() {
        let is_due = size > limits.keep_size || *age > limits.keep_age;
        if segment.number >= current || !is_due {
            break;
        }
        let holds_alert = || {
            let first_seq = |segment: Option<&&SegmentFile>| {
                let (header, _) = SegmentReader::open(segment?).ok()?;
                Some(header?.first_seq)
            };
            let next = lie.get(at + 1).map(|(next, ..)| next);
            first_seq(Some(segment)).is_some_and(|first| first <= last_alert)
                && first_seq(next).is_none_or(|next| last_alert < next)
        };
        if last_alert > reported && holds_alert() {
            break;
        }
        overdue.push(segment.number);
        size = size.saturating_sub(*bytes);
    }
    Ok(overdue)
}

/// Removes segments.
///
/// # Errors
/// As unlink(2).
pub(super) fn remove(folder: &Path, numbers: &[u64]) -> Result<(), JournalError> {
    for number in numbers {
        for path in [segment::path(folder, *number), segment::packed_path(folder, *number)] {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(JournalError::at(&path, "cannot be removed", error)),
            }
        }
    }
    Ok(())
}

/// The last entry that a report told of; 0: none did.
fn reported(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.join(REPORTED)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Notes that a report told of everything up to an entry: what retention waits for. Where the folder cannot be written (a copy, or
/// another user's), nothing is noted, and nothing is lost.
pub fn mark_reported(folder: &Path, seq: u64) {
    if seq <= reported(folder) {
        return;
    }
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600).custom_flags(segment::PLAIN_FILE);
    let written = open.open(folder.join(REPORTED)).and_then(|mut file| file.write_all(format!("{seq}\n").as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "that a report was made could not be noted beside the journal");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        Journal, ReadOut, entries,
        tests::{LIMITS, event},
        verify,
    };

    /// Segments of one entry each; the third is an alert.
    fn journal(folder: &Path) -> Journal {
        let limits = Limits { segment_size: 1, ..LIMITS };
        let (mut journal, _) = Journal::open(folder, limits, 0).expect("opened");
        for number in [1, 2, 10, 4, 5] {
            journal.append(event(number)).expect("appended");
            journal.sync().expect("synced");
            journal.rotate(0).expect("rotated");
        }
        journal
    }

    #[test]
    fn a_packed_segment_reads_as_the_plain_one_and_damage_to_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = journal(folder.path());
        let read = || -> Vec<ReadOut> {
            entries(folder.path(), None).expect("a journal").collect::<Result<_, _>>().expect("readable")
        };
        let plain = read();
        for number in unpacked(folder.path(), journal.number()).expect("listed") {
            pack(folder.path(), number).expect("packed");
        }
        assert_eq!(unpacked(folder.path(), journal.number()).expect("listed"), Vec::<u64>::new());
        assert_eq!(read(), plain);
        assert!(verify(folder.path(), None).expect("read").is_whole());
        let path = segment::packed_path(folder.path(), 2);
        let whole = std::fs::read(&path).expect("read");
        for length in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).expect("cut");
            let found = verify(folder.path(), None).expect("read");
            // The last byte is of zstd's own sum: what it is of came whole.
            assert!(!found.is_whole() || length == whole.len() - 1, "{length}: {found:?}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x55;
            std::fs::write(&path, &altered).expect("written");
            let _ = verify(folder.path(), None).expect("read");
        }
    }

    #[test]
    fn what_is_old_or_too_much_goes_but_never_the_newest_alert_that_nobody_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = journal(folder.path());
        let (folder, now) = (folder.path(), SystemTime::now());
        let overdue =
            |limits: Limits| overdue(folder, &limits, journal.number(), journal.last_alert(), now).expect("listed");
        assert_eq!(journal.last_alert(), 3);
        assert_eq!(overdue(LIMITS), Vec::<u64>::new());
        let too_much = Limits { keep_size: 0, ..LIMITS };
        assert_eq!(overdue(too_much), [1, 2], "up to the alert");
        let later = now + Duration::from_secs(100);
        let old = Limits { keep_age: Duration::from_secs(50), ..LIMITS };
        assert_eq!(super::overdue(folder, &old, journal.number(), 3, later).expect("listed"), [1, 2]);
        mark_reported(folder, 2);
        assert_eq!(overdue(too_much), [1, 2]);
        mark_reported(folder, 3);
        assert_eq!(overdue(too_much), [1, 2, 3, 4, 5], "all but the one that is written");
        remove(folder, &[1, 2]).expect("removed");
        assert_eq!(overdue(too_much), [3, 4, 5]);
    }
}
