//! Reads a journal from its beginning, or from a time on, as it lies: live, closed, packed, or a copy. Needs no key.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::{
    JournalError,
    entry::Entry,
    reader::{Piece, SegmentReader},
    segment::{self, SegmentFile},
};

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOut {
    /// An entry.
    Entry(Entry),
    /// Bytes that are no entry. `journal verify` says more.
    Damage {
        /// In which segment.
        segment: u64,
        /// How many.
        bytes: u64,
    },
}

/// The entries of a journal, in the order in which they were written. One segment is open at a time, and one entry in memory.
pub struct Entries {
    folder: PathBuf,
    waiting: VecDeque<SegmentFile>,
    open: Option<(u64, SegmentReader)>,
}

impl Entries {
    /// What comes next in a journal that is being written; `None`: nothing yet. After that, ask again.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_written(&mut self) -> Result<Option<ReadOut>, JournalError> {
        loop {
            let is_last = self.waiting.is_empty();
            let Some((segment, reader)) = self.open.as_mut() else {
                match self.waiting.pop_front() {
                    Some(file) => self.open = Some((file.number, SegmentReader::open(&file)?.1)),
                    None => return Ok(None),
                }
                continue;
            };
            let number = *segment;
            let piece = if is_last { reader.next_written()? } else { reader.next()? };
            match piece {
                Some(Piece::Frame(frame)) => return Ok(Some(ReadOut::Entry(frame.entry))),
                Some(Piece::Damage { bytes } | Piece::Torn { bytes }) => {
                    return Ok(Some(ReadOut::Damage { segment: number, bytes }));
                }
                None if is_last => {
                    // The writer may have gone on to the next segment.
                    let behind = segment::list(&self.folder)?.into_iter().filter(|file| file.number > number);
                    self.waiting.extend(behind);
                    if self.waiting.is_empty() {
                        return Ok(None);
                    }
                    // What it wrote before it went on.
                    reader.look_again();
                }
                None => self.open = None,
            }
        }
    }
}

/// Opens a journal for reading. With `since` (nanoseconds since the Unix epoch) segments that were complete before that are left out;
/// entries before it may still come.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn entries(folder: &Path, since: Option<i64>) -> Result<Entries, JournalError> {
    let segments = segment::list(folder)?;
    if segments.is_empty() {
        return Err(JournalError::Empty(folder.to_owned()));
    }
    let mut waiting = VecDeque::from(segments);
    if let Some(since) = since {
        // A segment's last entry is before the next one was begun.
        while let Some(next) = waiting.get(1) {
            let (header, _) = SegmentReader::open(next)?;
            if header.is_none_or(|header| header.unix_ns >= since) {
                break;
            }
            waiting.pop_front();
        }
    }
    Ok(Entries { folder: folder.to_owned(), waiting, open: None })
}

/// What a journal takes on the disk, in bytes.
///
/// # Errors
/// It cannot be listed.
pub fn size_on_disk(folder: &Path) -> Result<u64, JournalError> {
    let segments = segment::list(folder)?;
    Ok(segments.iter().filter_map(|segment| std::fs::metadata(&segment.path).ok()).map(|meta| meta.len()).sum())
}

impl Iterator for Entries {
    type Item = Result<ReadOut, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.open.is_none() {
                let file = self.waiting.pop_front()?;
                match SegmentReader::open(&file) {
                    Ok((_, reader)) => self.open = Some((file.number, reader)),
                    Err(error) => return Some(Err(error)),
                }
            }
            let (segment, reader) = self.open.as_mut()?;
            match reader.next() {
                Ok(Some(Piece::Frame(frame))) => return Some(Ok(ReadOut::Entry(frame.entry))),
                Ok(Some(Piece::Damage { bytes } | Piece::Torn { bytes })) => {
                    return Some(Ok(ReadOut::Damage { segment: *segment, bytes }));
                }
                Ok(None) => self.open = None,
                Err(error) => {
                    self.open = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}
