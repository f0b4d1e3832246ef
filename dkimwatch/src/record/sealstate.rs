//! The seal's state, `seal` in the journal's folder: the keys of what comes, and how far the journal had come when it was written.
//!
//! Two slots, written in turn, so that a power cut leaves one; the older one is overwritten with zeros as soon as the newer one is
//! on the disk, and its keys with it. (What the disk itself keeps of overwritten blocks, the threat model in SECURITY.md names.)

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroize as _;

use super::{
    JournalError,
    chain::Hash,
    seal::{Key, Sealer},
    segment::PLAIN_FILE,
};

/// The file's name in the folder.
pub(super) const NAME: &str = "seal";
/// And before it is whole.
const UNFINISHED: &str = "seal.new";

/// A slot is a block, of which a disk writes each sector whole or not, and no two at once.
const SLOT: usize = 4096;

const MAGIC: [u8; 8] = *b"DKWSEAL1";

/// Bytes of a slot that are used.
const USED: usize = 8 + 8 + 16 + 5 * 8 + 32 + 32 + 32 + 8;

/// What is known at some point of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealState {
    /// Which journal.
    pub(super) journal: [u8; 16],
    /// The first segment that is sealed by this key.
    pub(super) from: u64,
    /// The segment that the point is in; one before `from`: none yet is sealed.
    pub(super) segment: u64,
    /// Its place in it.
    pub(super) offset: u64,
    /// The entry to come.
    pub(super) seq: u64,
    /// The hash that it follows.
    pub(super) chain: Hash,
    /// Its key, and the next segment's.
    pub(super) sealer: Sealer,
}

impl SealState {
    fn bytes(&self, count: u64) -> [u8; USED] {
        let Self { journal, from, segment, offset, seq, chain, sealer } = self;
        let mut bytes = [0; USED];
        let numbers = [from, segment, offset, seq, &0].map(|number| number.to_le_bytes());
        let count = count.to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![&MAGIC, &count, journal];
        parts.extend(numbers.iter().map(<[u8; 8]>::as_slice));
        parts.extend([chain.as_slice(), sealer.entry.bytes(), sealer.next_segment.bytes()]);
        bytes.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        let (body, sum) = bytes.split_at_mut(USED - 8);
        sum.copy_from_slice(&u64::from(crc32fast::hash(body)).to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<(u64, Self)> {
        let (body, rest) = bytes.split_at_checked(USED - 8)?;
        if rest.first_chunk()? != &u64::from(crc32fast::hash(body)).to_le_bytes() {
            return None;
        }
        let rest = body.strip_prefix(&MAGIC)?;
        let number = |rest: &mut &[u8]| {
            let (number, behind) = rest.split_first_chunk()?;
            *rest = behind;
            Some(u64::from_le_bytes(*number))
        };
        let mut rest = rest;
        let count = number(&mut rest)?;
        let (journal, mut rest) = rest.split_first_chunk()?;
        let (from, segment) = (number(&mut rest)?, number(&mut rest)?);
        let (offset, seq, _) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let (chain, rest) = rest.split_first_chunk()?;
        let (entry, rest) = rest.split_first_chunk()?;
        let (next_segment, _) = rest.split_first_chunk()?;
        let sealer = Sealer { entry: Key::new(*entry), next_segment: Key::new(*next_segment) };
        Some((count, Self { journal: *journal, from, segment, offset, seq, chain: *chain, sealer }))
    }
}

/// The file, held open.
#[derive(Debug)]
pub(super) struct SealFile {
    file: File,
    path: PathBuf,
    /// How often it was written: says which slot is next.
    count: u64,
}

impl SealFile {
    /// Opens it and reads the newer slot. `None`: there is no such file, so the journal is not sealed.
    ///
    /// # Errors
    /// It cannot be opened, or no slot is whole.
    pub(super) fn open(folder: &Path) -> Result<Option<(Self, SealState)>, JournalError> {
        let path = folder.join(NAME);
        let file = match OpenOptions::new().read(true).write(true).custom_flags(PLAIN_FILE).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::at(&path, "cannot be opened", error)),
        };
        let Some((count, state)) = newest(&file, &path)? else { return Err(JournalError::BrokenSeal(path)) };
        Ok(Some((Self { file, path, count }, state)))
    }

    /// Makes it; one that is there is replaced once the new one is on the disk.
    ///
    /// # Errors
    /// As [`std::fs::OpenOptions::open`] and rename(2).
    pub(super) fn create(folder: &Path, state: &SealState) -> Result<Self, JournalError> {
        let (path, unfinished) = (folder.join(NAME), folder.join(UNFINISHED));
        let fault = |error| JournalError::at(&path, "cannot be made", error);
        // What an interrupted run has left.
        let _ = std::fs::remove_file(&unfinished);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished);
        let mut made = Self { file: file.map_err(fault)?, path: path.clone(), count: 0 };
        made.file.set_len(2 * SLOT as u64).map_err(fault)?;
        made.write(state)?;
        std::fs::rename(&unfinished, &path).map_err(fault)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)?;
        Ok(made)
    }

    /// Writes the state to the disk. What was there before it is overwritten.
    ///
    /// # Errors
    /// As pwrite(2) and fdatasync(2).
    pub(super) fn write(&mut self, state: &SealState) -> Result<(), JournalError> {
        let fault = |error| JournalError::at(&self.path, "cannot be written", error);
        let count = self.count + 1;
        let slot = |count: u64| (count % 2) * SLOT as u64;
        let mut bytes = state.bytes(count);
        let written = self.file.write_all_at(&bytes, slot(count)).and_then(|()| self.file.sync_data());
        bytes.zeroize();
        written.map_err(fault)?;
        self.count = count;
        // To the disk as well: who reads that, finds the key of what comes, and none before it.
        self.file.write_all_at(&[0; USED], slot(count + 1)).and_then(|()| self.file.sync_data()).map_err(fault)
    }
}

fn newest(file: &File, path: &Path) -> Result<Option<(u64, SealState)>, JournalError> {
    let mut bytes = [0; 2 * SLOT];
    let mut read = 0;
    while let Some(space) = bytes.get_mut(read..).filter(|space| !space.is_empty()) {
        match file.read_at(space, read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) => return Err(JournalError::at(path, "cannot be read", error)),
        }
    }
    let slots = bytes.chunks(SLOT).filter_map(SealState::read);
    let newest = slots.max_by_key(|(count, _)| *count);
    bytes.zeroize();
    Ok(newest)
}

/// The state as a verifier reads it, where there is one: a copy of a journal may come without.
pub(super) fn peek(folder: &Path) -> Option<SealState> {
    let path = folder.join(NAME);
    let file = OpenOptions::new().read(true).custom_flags(PLAIN_FILE).open(&path).ok()?;
    newest(&file, &path).ok()?.map(|(_, state)| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(seq: u64) -> SealState {
        SealState {
            journal: [1; 16],
            from: 1,
            segment: 1,
            offset: 136,
            seq,
            chain: [2; 32],
            sealer: Sealer::of_segment(&Key::new([3; 32])),
        }
    }

    #[test]
    fn the_newer_slot_counts_and_the_older_one_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(SealFile::open(folder.path()).expect("no error").is_none());
        let mut file = SealFile::create(folder.path(), &state(1)).expect("made");
        for seq in 2..6 {
            file.write(&state(seq)).expect("written");
            let bytes = std::fs::read(folder.path().join(NAME)).expect("read");
            assert_eq!(bytes.chunks(SLOT).filter_map(SealState::read).count(), 1, "one key at a time");
            assert_eq!(peek(folder.path()), Some(state(seq)));
        }
        let (_, found) = SealFile::open(folder.path()).expect("no error").expect("there");
        assert_eq!(found, state(5));
    }

    #[test]
    fn a_torn_slot_leaves_the_other_one_and_no_slot_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let mut bytes = vec![0; 2 * SLOT];
        bytes[..USED].copy_from_slice(&state(1).bytes(4));
        bytes[SLOT..SLOT + USED].copy_from_slice(&state(2).bytes(5));
        bytes[SLOT + 60] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(peek(folder.path()), Some(state(1)));
        bytes[60] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        let error = SealFile::open(folder.path()).expect_err("torn");
        assert!(error.to_string().contains("--renew"), "{error}");
    }
}
