//! A segment is a file: `0000000000000001.dkj`, packed once it is closed: `0000000000000001.dkj.zst`.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    JournalError,
    chain::{self, Hash},
    seal::Tag,
};

/// What the file's name ends with.
const PLAIN: &str = ".dkj";
/// And a packed one's.
const PACKED: &str = ".dkj.zst";
/// What a packed one is called while it is written.
pub(super) const UNFINISHED: &str = ".new";

/// Flags of an open: by no link, and without waiting for whoever holds the other end of a pipe that lies there (open(2)).
pub(super) const PLAIN_FILE: i32 = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()).cast_signed();

/// Opens a file of a journal for reading.
///
/// # Errors
/// As open(2); and what lies there is no regular file.
pub(super) fn open(path: &Path) -> Result<File, JournalError> {
    let fault = |error| JournalError::at(path, "cannot be read", error);
    let file = OpenOptions::new().read(true).custom_flags(PLAIN_FILE).open(path).map_err(fault)?;
    if !file.metadata().map_err(fault)?.is_file() {
        return Err(fault(std::io::Error::other("it is no regular file")));
    }
    Ok(file)
}

const MAGIC: [u8; 8] = *b"DKIMWJ01";

/// Bytes of a header.
pub(super) const HEADER: usize = 168;

/// Bytes of it that the first hash covers.
const HASHED: usize = 96;

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Which journal.
    pub(super) journal: [u8; 16],
    /// The segment's number, from 1 on.
    pub(super) number: u64,
    /// The number of its first entry.
    pub(super) first_seq: u64,
    /// When it was begun, nanoseconds since the Unix epoch.
    pub(super) unix_ns: i64,
    /// The newest alert before it; 0: there is none.
    pub(super) last_alert: u64,
    /// The last hash of the segment before it; zeros in the first one.
    pub(super) before: Hash,
    /// The first segment that is sealed by the key that seals this one; 0: it is not sealed.
    pub(super) from: u64,
    /// Its seal; zeros where it is not.
    pub(super) tag: Tag,
    /// The seal of the segment before, by the key of the entry that would have come there: that it ends where this one begins. Zeros
    /// where that one is not sealed.
    pub(super) close: Tag,
}

impl Header {
    fn body(&self) -> Vec<u8> {
        let Self { journal, number, first_seq, unix_ns, last_alert, before, from, tag: _, close: _ } = self;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(journal);
        for number in [number, first_seq, &unix_ns.cast_unsigned(), last_alert] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(before);
        bytes.extend(from.to_le_bytes());
        bytes
    }

    /// Whether its entries are sealed.
    pub(super) const fn is_sealed(&self) -> bool {
        self.from != 0
    }

    /// The hash that its first entry follows.
    pub(super) fn chain(&self) -> Hash {
        let mut body = self.body();
        body.resize(HASHED, 0);
        chain::of_header(&body)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.resize(HASHED, 0);
        bytes.extend(self.tag);
        bytes.extend(self.close);
        bytes.extend(u64::from(crc32fast::hash(&bytes)).to_le_bytes());
        bytes
    }

    /// From its bytes. `None`: it is none, or torn.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let (body, rest) = bytes.split_at(HASHED);
        let (tag, rest) = rest.split_first_chunk()?;
        let (close, sum) = rest.split_first_chunk()?;
        let whole = bytes.get(..HASHED + tag.len() + close.len())?;
        if sum != u64::from(crc32fast::hash(whole)).to_le_bytes() {
            return None;
        }
        let body = body.strip_prefix(&MAGIC)?;
        let (journal, body) = body.split_first_chunk()?;
        let (number, body) = body.split_first_chunk()?;
        let (first_seq, body) = body.split_first_chunk()?;
        let (unix_ns, body) = body.split_first_chunk()?;
        let (last_alert, body) = body.split_first_chunk()?;
        let (before, body) = body.split_first_chunk()?;
        let (from, _) = body.split_first_chunk()?;
        Some(Self {
            journal: *journal,
            number: u64::from_le_bytes(*number),
            first_seq: u64::from_le_bytes(*first_seq),
            unix_ns: i64::from_le_bytes(*unix_ns),
            last_alert: u64::from_le_bytes(*last_alert),
            before: *before,
            from: u64::from_le_bytes(*from),
            tag: *tag,
            close: *close,
        })
    }
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    /// By its name.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) packed: bool,
}

/// Where a segment lies that is written.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}{PLAIN}"))
}

/// Where it lies once it is packed.
pub(super) fn packed_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}{PACKED}"))
}

fn number(name: &OsStr) -> Option<(u64, bool)> {
    let name = name.to_str()?;
    let (number, packed) = match name.strip_suffix(PACKED) {
        Some(number) => (number, true),
        None => (name.strip_suffix(PLAIN)?, false),
    };
    let plain = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_digit());
    // The first one is 1: none of another number could be before it.
    Some((number.parse().ok().filter(|number| plain && *number > 0)?, packed))
}

/// The segments of a folder in their order. Of one that is there both ways, the packed one: it was whole when it got its name.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn list(folder: &Path) -> Result<Vec<SegmentFile>, JournalError> {
    let listing = std::fs::read_dir(folder).map_err(|error| JournalError::at(folder, "cannot be listed", error))?;
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| JournalError::at(folder, "cannot be listed", error))?;
        if let Some((number, packed)) = number(&entry.file_name()) {
            found.push(SegmentFile { number, path: entry.path(), packed });
        }
    }
    found.sort_by_key(|segment| (segment.number, !segment.packed));
    found.dedup_by_key(|segment| segment.number);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_a_torn_one_does_not() {
        let header = Header {
            journal: [1; 16],
            number: 2,
            first_seq: 3,
            unix_ns: -4,
            last_alert: 5,
            before: [6; 32],
            from: 2,
            tag: [7; 32],
            close: [8; 32],
        };
        let bytes = header.bytes();
        assert_eq!(bytes.len(), HEADER);
        let bytes: [u8; HEADER] = bytes.try_into().expect("a header");
        assert_eq!(Header::read(&bytes), Some(header));
        for bit in 0..HEADER * 8 {
            let mut altered = bytes;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&altered), None, "bit {bit}");
        }
    }

    #[test]
    fn names_are_numbers_of_sixteen_digits() {
        let is = |name: &str| number(OsStr::new(name));
        assert_eq!(is("0000000000000012.dkj"), Some((12, false)));
        assert_eq!(is("0000000000000012.dkj.zst"), Some((12, true)));
        for other in
            ["12.dkj", "0000000000000012.dkj.zst.new", "+000000000000012.dkj", "0000000000000000.dkj", "seal", ".dkj"]
        {
            assert_eq!(is(other), None, "{other}");
        }
    }
}
