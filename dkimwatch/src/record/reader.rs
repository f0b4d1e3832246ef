//! Reads segments: total on any bytes. Behind damage it goes on with the next whole entry, and says what lay between.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use memchr::memmem;
use ruzstd::decoding::StreamingDecoder;

use super::{
    JournalError,
    frame::{self, Found, Frame, LONGEST, MARKER},
    segment::{self, HEADER, Header, SegmentFile},
};

/// What is read at once.
const CHUNK: usize = 256 * 1024;
/// Whoever writes beginnings of entries without end must not have us look for their ends as often: behind so many bytes in vain, the rest
/// of the segment counts as damage.
const MOST_WASTED: usize = 64 << 20;
/// No segment is that long, whatever it was packed from.
const LONGEST_SEGMENT: u64 = 1 << 40;

/// What a segment holds at some place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An entry.
    Frame(Box<Frame>),
    /// Bytes that are none, and then a whole entry.
    Damage {
        /// How many.
        bytes: u64,
    },
    /// The end, with bytes before it that are no entry: what was being written as the power went, or what was left of it.
    Torn {
        /// How many.
        bytes: u64,
    },
}

/// A segment that is read from its beginning.
pub(super) struct SegmentReader {
    from: Box<dyn Read>,
    path: std::path::PathBuf,
    /// Bytes that were read and not yet taken, from `at` on.
    buffer: Vec<u8>,
    at: usize,
    /// Where `at` is in the segment, unpacked.
    offset: u64,
    /// Bytes that were looked at in vain: of what says that it is an entry, and is none.
    wasted: usize,
    ended: bool,
}

impl SegmentReader {
    /// Opens a segment and reads its header. `None`: it has none.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(super) fn open(segment: &SegmentFile) -> Result<(Option<Header>, Self), JournalError> {
        let path = segment.path.as_path();
        let (file, packed) = match segment::open(path) {
            // It was packed between the listing and now.
            Err(JournalError::File { error, .. })
                if !segment.packed && error.kind() == std::io::ErrorKind::NotFound =>
            {
                (segment::open(&path.with_added_extension("zst"))?, true)
            }
            opened => (opened?, segment.packed),
        };
        let from: Box<dyn Read> = if packed { unpacked(file) } else { Box::new(file) };
        let mut reader =
            Self { from, path: path.to_owned(), buffer: Vec::new(), at: 0, offset: 0, wasted: 0, ended: false };
        reader.fill(HEADER)?;
        let header = reader.rest().first_chunk::<HEADER>().and_then(Header::read);
        if header.is_some() {
            reader.take(HEADER);
        }
        Ok((header, reader))
    }

    /// How much has been read, in bytes of the segment.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// What comes next. `None`: the end.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, JournalError> {
        self.piece(false)
    }

    /// What comes next in a segment that is still written: `None` is its end for now, and what is half written is no damage.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn next_written(&mut self) -> Result<Option<Piece>, JournalError> {
        self.ended = false;
        self.piece(true)
    }

    /// Asks again what lies behind the end: the writer may have come between the last look and now.
    pub(super) fn look_again(&mut self) {
        self.ended = false;
    }

    fn piece(&mut self, is_written: bool) -> Result<Option<Piece>, JournalError> {
        let mut wrong = 0;
        loop {
            self.fill(1)?;
            if self.rest().is_empty() {
                return Ok((wrong > 0).then_some(Piece::Torn { bytes: wrong }));
            }
            let mut found = Frame::read(self.rest());
            while let Found::More(length) = found {
                if !self.fill(length)? {
                    if is_written && wrong == 0 {
                        return Ok(None);
                    }
                    // It is not there: this is none, whatever it says of its length.
                    found = Found::Nothing;
                    break;
                }
                found = Frame::read(self.rest());
            }
            match found {
                Found::Frame(..) if wrong > 0 => return Ok(Some(Piece::Damage { bytes: wrong })),
                Found::Frame(frame, length) => {
                    self.take(length);
                    return Ok(Some(Piece::Frame(frame)));
                }
                Found::More(_) | Found::Nothing if self.wasted > MOST_WASTED || self.offset > LONGEST_SEGMENT => {
                    let rest = self.rest().len();
                    self.take(rest);
                    wrong += rest as u64;
                    self.ended = true;
                }
                Found::More(_) | Found::Nothing => wrong += self.pass(),
            }
        }
    }

    /// Passes over bytes up to the next marker, or what can be one. How many.
    fn pass(&mut self) -> u64 {
        let rest = self.rest();
        let wasted = frame::claimed(rest).min(rest.len());
        let behind = rest.get(1..).unwrap_or_default();
        let next = memmem::find(behind, &MARKER).map_or_else(
            // The last bytes can be the beginning of one.
            || if self.ended { rest.len() } else { rest.len().saturating_sub(MARKER.len() - 1).max(1) },
            |at| at + 1,
        );
        self.wasted += wasted;
        self.take(next);
        u64::try_from(next).unwrap_or(u64::MAX)
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, bytes: usize) {
        self.at += bytes;
        self.offset += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Reads until there are so many bytes. Whether there are.
    fn fill(&mut self, wanted: usize) -> Result<bool, JournalError> {
        while self.rest().len() < wanted && !self.ended {
            // One entry and a chunk at most.
            debug_assert!(wanted <= LONGEST + CHUNK, "no entry is that long");
            self.buffer.drain(..self.at);
            self.at = 0;
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let space = self.buffer.get_mut(before..).unwrap_or_default();
            let read = self.from.read(space);
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // A packed segment that was altered or cut: what came before it is good.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => self.ended = true,
                Err(error) => return Err(JournalError::at(Path::new(&self.path), "cannot be read", error)),
            }
        }
        Ok(self.rest().len() >= wanted)
    }
}

/// Unpacks as it is read. What is not zstd is read as it lies: it is damage, and is told as such.
fn unpacked(file: File) -> Box<dyn Read> {
    match StreamingDecoder::new(BufReader::new(file)) {
        Ok(decoder) => Box::new(Unpacked(decoder)),
        Err(_) => Box::new(std::io::empty()),
    }
}

/// The decoder's errors are all one: the file is not what was packed.
struct Unpacked<R: Read, D: std::borrow::BorrowMut<ruzstd::decoding::FrameDecoder>>(StreamingDecoder<R, D>);

impl<R: Read, D: std::borrow::BorrowMut<ruzstd::decoding::FrameDecoder>> Read for Unpacked<R, D> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}
