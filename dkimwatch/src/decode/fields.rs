//! The bytes of one record, read at the contract's own offsets.
//!
//! A cast of ring bytes to `RawRecord` would need `unsafe` and would trust what it is to check. Reading each field at
//! `offset_of!` its place costs nothing measurable beside the ring's own work.

use dkimwatch_common::{
    identity::FileId,
    record::{RawExtended, RawRecord},
};

use super::DecodeError;

/// Bytes of an open's record.
pub(super) const SIZE: usize = size_of::<RawRecord>();

/// Bytes of any other record.
pub(super) const EXTENDED: usize = size_of::<RawExtended>();

/// A record's bytes, exactly as many as it has.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Takes the bytes, if they are exactly as many as a record has.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() == SIZE || bytes.len() == EXTENDED {
            Ok(Self(bytes))
        } else {
            Err(DecodeError::Size { got: bytes.len() })
        }
    }

    /// Whether it has more than an open's record.
    pub(super) const fn is_extended(self) -> bool {
        self.0.len() == EXTENDED
    }

    /// How many bytes there are.
    pub(super) const fn len(self) -> usize {
        self.0.len()
    }

    /// `N` bytes at `at`. Offsets are constants of the contract, so the zeroes for an offset outside are never seen; a
    /// test reads the last field to prove it.
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn i32(self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// A file's identity at `at`.
    pub(super) fn file_id(self, at: usize) -> FileId {
        FileId {
            ino: self.u64(at + std::mem::offset_of!(FileId, ino)),
            dev: self.u32(at + std::mem::offset_of!(FileId, dev)),
            birth: self.u32(at + std::mem::offset_of!(FileId, birth)),
        }
    }

    /// The used part of a text of at most `capacity` bytes; `None` when the record claims to use more than there is.
    pub(super) fn text(self, at: usize, used: u32, capacity: usize) -> Option<&'a [u8]> {
        let used = usize::try_from(used).ok().filter(|used| *used <= capacity)?;
        self.0.get(at..at + used)
    }

    /// A text that ends at its first NUL, or fills its `capacity`.
    pub(super) fn c_text(self, at: usize, capacity: usize) -> &'a [u8] {
        let field = self.0.get(at..at + capacity).unwrap_or_default();
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}
