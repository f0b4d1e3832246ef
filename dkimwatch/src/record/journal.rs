//! The journal as it is written: appended to, never altered; on the disk before anybody is told.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::FlockOperation;

use super::{
    JournalError, Notice,
    chain::{self, Hash},
    entry::{Entry, EntryKind},
    frame::{Frame, LONGEST},
    recover::{self, Begun, Recovered},
    seal::{Sealer, UNSEALED},
    sealstate::{SealFile, SealState},
    segment::{self, HEADER, Header, PLAIN_FILE},
};
use crate::judge::Verdict;

/// Held by who writes.
const LOCK: &str = "lock";

/// When a segment is closed, and which are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment is closed behind so many bytes.
    pub segment_size: u64,
    /// And behind so long.
    pub segment_age: Duration,
    /// The oldest segments are removed behind so many bytes in all, as they lie.
    pub keep_size: u64,
    /// And so long after their last entry.
    pub keep_age: Duration,
}

/// What is to become an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i64,
    /// What it tells of.
    pub kind: EntryKind,
    /// Of an access.
    pub verdict: Option<Verdict>,
    /// The event.
    pub event: Vec<u8>,
    /// The kernel's record.
    pub record: Vec<u8>,
}

/// How far the journal has come.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The entry to come.
    pub(super) seq: u64,
    /// The hash that it follows.
    pub(super) chain: Hash,
    /// What seals it, in a sealed journal.
    pub(super) sealer: Option<Sealer>,
    /// The newest alert; 0: there is none.
    pub(super) last_alert: u64,
}

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// Dropping it lets another writer in.
    _lock: File,
    limits: Limits,
    id: [u8; 16],
    /// The segment that is written, as far as it was.
    segment: Begun,
    /// Entries that are not written yet.
    buffer: Vec<u8>,
    /// Behind the buffer.
    at: Point,
    /// Before it.
    written: Point,
    /// Something was written since the last sync that came to its end.
    dirty: bool,
    /// The disk failed to take something: the kernel tells that once, and a later sync of the same file says nothing. The next entries go
    /// into a new segment.
    doubtful: bool,
    seal: Option<(SealFile, u64)>,
}

impl Journal {
    /// Opens a journal, or begins one, and says what was found wrong with it. A torn end is cut off.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(folder: &Path, limits: Limits, now_unix_ns: i64) -> Result<(Self, Vec<Notice>), JournalError> {
        make_folder(folder)?;
        let lock = lock(folder)?;
        let seal = SealFile::open(folder)?;
        let Recovered { id, point, goes_on, next_number, place: _, notices } =
            recover::recover(folder, seal.as_ref().map(|(_, state)| state))?;
        let seal = seal.map(|(file, state)| (file, state.from));
        let (segment, point) = match goes_on {
            Some(goes_on) => (goes_on, point),
            None => {
                let from = seal.as_ref().map_or(0, |(_, from)| *from);
                begin(&Place { folder, journal: id, number: next_number, from }, point, now_unix_ns)?
            }
        };
        let mut journal = Self {
            folder: folder.to_owned(),
            _lock: lock,
            limits,
            id,
            segment,
            buffer: Vec::new(),
            written: point.clone(),
            at: point,
            dirty: true,
            doubtful: false,
            seal,
        };
        journal.sync()?;
        Ok((journal, notices))
    }

    /// Puts an entry behind the others; nothing is written yet. Its number.
    ///
    /// # Errors
    /// It is too long.
    pub fn append(&mut self, new: New) -> Result<u64, JournalError> {
        let length = new.event.len() + new.record.len();
        // An entry's own numbers are far less.
        if length + 1_024 > LONGEST {
            return Err(JournalError::TooLong(length));
        }
        let New { unix_ns, kind, verdict, event, record } = new;
        let entry = Entry { seq: self.at.seq, unix_ns, kind, verdict, event, record };
        if entry.is_alert() {
            self.at.last_alert = entry.seq;
        }
        let chain = chain::of_entry(&self.at.chain, &entry);
        let tag = self.at.sealer.as_mut().map_or(UNSEALED, |sealer| sealer.seal(&chain));
        let frame = Frame { entry, chain, tag };
        frame.write(&mut self.buffer).ok_or(JournalError::TooLong(length))?;
        self.at.seq += 1;
        self.at.chain = chain;
        Ok(frame.entry.seq)
    }

    /// Writes what was appended. On a failure (a full disk) nothing of it is in the journal, and the journal is as it was.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn flush(&mut self) -> Result<(), JournalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.segment.file.write_all_at(&self.buffer, self.segment.offset);
        let length = self.buffer.len();
        self.buffer.clear();
        if let Err(error) = written {
            self.at = self.written.clone();
            // What was written of it would be damage; on a full disk, cutting it off needs no room.
            let path = segment::path(&self.folder, self.segment.number);
            if let Err(error) = self.segment.file.set_len(self.segment.offset) {
                tracing::error!(path = %path.display(), %error, "what was half written cannot be cut off");
            }
            return Err(JournalError::at(&path, "cannot be written", error));
        }
        self.segment.offset += length as u64;
        self.written = self.at.clone();
        self.dirty = true;
        Ok(())
    }

    /// Writes what was appended, to the disk; and how far it is sealed.
    ///
    /// # Errors
    /// As pwrite(2) and fdatasync(2).
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        if !self.dirty {
            return Ok(());
        }
        let synced = self.segment.file.sync_data();
        self.doubtful |= synced.is_err();
        synced.map_err(|error| {
            JournalError::at(&segment::path(&self.folder, self.segment.number), "cannot be written to the disk", error)
        })?;
        if let (Some(sealer), Some((file, from))) = (self.written.sealer.clone(), &mut self.seal) {
            let Point { seq, chain, .. } = self.written;
            let (segment, offset) = (self.segment.number, self.segment.offset);
            file.write(&SealState { journal: self.id, from: *from, segment, offset, seq, chain, sealer })?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Begins the next segment where this one is large or old enough. The number of the closed one.
    ///
    /// # Errors
    /// As [`Self::sync`], and as open(2).
    pub fn rotate(&mut self, now_unix_ns: i64) -> Result<Option<u64>, JournalError> {
        let age = u128::from(now_unix_ns.saturating_sub(self.segment.begun_unix_ns).max(0).cast_unsigned());
        let due = self.doubtful
            || self.segment.offset + self.buffer.len() as u64 >= self.limits.segment_size
            || age >= self.limits.segment_age.as_nanos();
        // Of an empty one nothing is gained.
        if !due || self.segment.offset <= HEADER as u64 {
            return Ok(None);
        }
        self.sync()?;
        let before = self.segment.number;
        let place = Place { folder: &self.folder, journal: self.id, number: before + 1, from: self.from() };
        (self.segment, self.written) = begin(&place, self.written.clone(), now_unix_ns)?;
        self.at = self.written.clone();
        (self.dirty, self.doubtful) = (true, false);
        if let Err(error) = self.sync() {
            // It is begun all the same; the next sync tries again.
            tracing::error!(%error, "the seal's state of a new segment is not on the disk");
        }
        Ok(Some(before))
    }

    /// The first segment that is sealed by the key that seals now.
    fn from(&self) -> u64 {
        self.seal.as_ref().map_or(0, |(_, from)| *from)
    }

    /// How far it has been written: the number of the entry to come.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.at.seq
    }

    /// Whether its entries are sealed.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.at.sealer.is_some()
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest alert; 0: there is none.
    pub(super) const fn last_alert(&self) -> u64 {
        self.written.last_alert
    }

    /// The segment that is written.
    pub(super) const fn number(&self) -> u64 {
        self.segment.number
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Makes the folder where there is none, for its owner alone, and refuses one that others may write.
pub(super) fn make_folder(folder: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| JournalError::at(folder, "cannot be made", error))?;
    let meta = std::fs::metadata(folder).map_err(|error| JournalError::at(folder, "cannot be read", error))?;
    if meta.mode() & 0o022 != 0 {
        return Err(JournalError::Open(folder.to_owned()));
    }
    let us = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != us {
        return Err(JournalError::Owner { path: folder.to_owned(), uid: meta.uid() });
    }
    Ok(())
}

/// Keeps others from writing.
pub(super) fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join(LOCK);
    let fault = |error| JournalError::at(&path, "cannot be made", error);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(PLAIN_FILE)
        .open(&path)
        .map_err(fault)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Busy(folder.to_owned())),
        Err(error) => Err(JournalError::at(&path, "cannot be locked", error.into())),
    }
}

/// Where a segment is begun.
struct Place<'a> {
    folder: &'a Path,
    journal: [u8; 16],
    number: u64,
    /// The first segment that is sealed by the key that seals this one.
    from: u64,
}

/// A new segment: its name and its header are on the disk. `point` is the end of the one before, with its seal.
fn begin(place: &Place<'_>, mut point: Point, unix_ns: i64) -> Result<(Begun, Point), JournalError> {
    let Place { folder, journal, number, from } = *place;
    let before = point.sealer.take();
    let mut header = Header {
        journal,
        number,
        first_seq: point.seq,
        unix_ns,
        last_alert: point.last_alert,
        before: point.chain,
        from,
        tag: UNSEALED,
        close: UNSEALED,
    };
    point.chain = header.chain();
    if let Some(before) = before {
        header.close = before.close(&point.chain);
        let mut sealer = Sealer::of_segment(&before.next_segment);
        header.tag = sealer.seal(&point.chain);
        point.sealer = Some(sealer);
    }
    let path = segment::path(folder, number);
    let fault = |error| JournalError::at(&path, "cannot be made", error);
    for other in [&path, &segment::packed_path(folder, number)] {
        if other.symlink_metadata().is_ok() {
            // It is not this journal's. Somebody put it there; it stays as evidence.
            let aside = other.with_added_extension(format!("foreign-{unix_ns}"));
            tracing::error!(path = %other.display(), aside = %aside.display(), "a file lay where the journal goes on: moved aside");
            std::fs::rename(other, aside).map_err(fault)?;
        }
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(fault)?;
    if let Err(error) = file.write_all_at(&header.bytes(), 0).and_then(|()| file.sync_all()) {
        // On a full disk; the segment before it goes on.
        let _ = std::fs::remove_file(&path);
        return Err(fault(error));
    }
    sync_folder(&path)?;
    Ok((Begun { file, number, begun_unix_ns: unix_ns, offset: HEADER as u64 }, point))
}

/// Puts the names in a file's folder on the disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| JournalError::at(folder, "cannot be written to the disk", error))
}
