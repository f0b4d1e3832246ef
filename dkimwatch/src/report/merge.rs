//! Entries of several journals in the order of time. One entry of each is in memory.

use std::path::{Path, PathBuf};

use super::shown::Shown;
use crate::record::{self, Entries, Entry, JournalError, ReadOut};

struct Source {
    entries: Entries,
    head: Option<Entry>,
    path: PathBuf,
}

/// Entries of all journals.
pub(super) struct Merged {
    sources: Vec<Source>,
    /// What could not be read to its end.
    pub(super) troubles: Vec<Shown>,
    /// Entries that two journals have: one is a copy of the other, or of a part of it.
    pub(super) twice: u64,
}

impl Merged {
    /// Opens the journals.
    ///
    /// # Errors
    /// One is none, or cannot be read.
    pub(super) fn open(folders: &[PathBuf], since: Option<i64>) -> Result<Self, JournalError> {
        let mut merged = Self { sources: Vec::new(), troubles: Vec::new(), twice: 0 };
        for folder in folders {
            let entries = record::entries(folder, since)?;
            merged.sources.push(Source { entries, head: None, path: folder.clone() });
        }
        for at in 0..merged.sources.len() {
            merged.advance(at);
        }
        Ok(merged)
    }

    /// Reads a journal's next entry.
    fn advance(&mut self, at: usize) {
        let Some(source) = self.sources.get_mut(at) else { return };
        source.head = None;
        for read in source.entries.by_ref() {
            match read {
                Ok(ReadOut::Entry(entry)) => {
                    source.head = Some(entry);
                    return;
                }
                // `verify` says what that is, and where.
                Ok(ReadOut::Damage { .. }) => {}
                Err(error) => self.troubles.push(trouble(&source.path, &error)),
            }
        }
    }
}

/// What could not be read, for people.
pub(super) fn trouble(folder: &Path, error: &JournalError) -> Shown {
    Shown::of(&format!("{}: {error}", crate::escape::path(folder)))
}

impl Iterator for Merged {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let time = |source: &Source| source.head.as_ref().map(|entry| entry.unix_ns);
        let (at, _) = self
            .sources
            .iter()
            .enumerate()
            .filter_map(|(at, source)| Some((at, time(source)?)))
            .min_by_key(|(_, unix_ns)| *unix_ns)?;
        let entry = self.sources.get_mut(at)?.head.take()?;
        self.advance(at);
        for other in 0..self.sources.len() {
            let is_copy = |source: &Source| source.head.as_ref().is_some_and(|head| *head == entry);
            if other != at && self.sources.get(other).is_some_and(is_copy) {
                self.twice += 1;
                self.advance(other);
            }
        }
        Some(entry)
    }
}
