//! Tape archives as a stream of members: ustar, PAX and GNU names (POSIX.1-2017, pax; GNU tar's manual, "Basic Tar Format").
//!
//! The `tar` crate reads the headers. Its own iterator is not used, for three reasons: it takes a name or a PAX record of
//! any length into memory, it says nothing of offsets, and it takes an archive that is cut between two members for a
//! whole one. Where readers differ, this one follows Go's `archive/tar`, with which every engine unpacks layers.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use tar::{EntryType, Header};

use super::{
    fault::Fault,
    limits::LONGEST_EXTENSION,
    unpacked::{Bounded, Limit},
};

const BLOCK: usize = 512;

/// A source that can leave bytes out.
pub(super) trait Skip: Read {
    /// Goes `count` bytes on. Says how many there were, also where it cannot be read any further; fewer than asked for
    /// without an error is the end.
    fn skip(&mut self, count: u64) -> (u64, io::Result<()>);
}

/// A source that must read what it leaves out.
pub(super) struct Stream<R>(pub(super) R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Stream<R> {
    fn skip(&mut self, count: u64) -> (u64, io::Result<()>) {
        let mut from = self.0.by_ref().take(count);
        let mut buffer = [0; 8 << 10];
        let mut done = 0_u64;
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return (done, Ok(())),
                Ok(read) => done += read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
    }
}

impl Skip for File {
    fn skip(&mut self, count: u64) -> (u64, io::Result<()>) {
        let mut go = || {
            // lseek(2) goes past the end as well.
            let (at, length) = (self.stream_position()?, self.metadata()?.len());
            let to = at.saturating_add(count).min(length.max(at));
            self.seek(SeekFrom::Start(to))?;
            Ok(to - at)
        };
        match go() {
            Ok(done) => (done, Ok(())),
            Err(error) => (0, Err(error)),
        }
    }
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file, of so many bytes in the archive.
    File(u64),
    /// Another name of an earlier member.
    HardLink(Vec<u8>),
    /// A symbolic link, to this.
    Symlink(Vec<u8>),
    /// A folder.
    Folder,
    /// A device, a FIFO, or what nobody knows.
    Other,
}

/// A member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name as it stands there; any bytes.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits; `None` where the field is no number.
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Where its data begins.
    pub(super) at: u64,
}

/// What extension headers say of the next member.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
}

/// An archive that is being read.
pub(super) struct Tarball<R> {
    from: R,
    at: u64,
    /// Bytes of the current member's data that were not read.
    data: u64,
    /// And after them, to the end of its last block.
    padding: u64,
}

impl<R: Skip> Tarball<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from, at: 0, data: 0, padding: 0 }
    }

    /// The next member; `None` at the end mark.
    ///
    /// # Errors
    /// The archive is cut or corrupt, or cannot be read. It is of no use to go on then.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Fault> {
        let mut extension = Extension::default();
        loop {
            self.skip(self.data, "a member's data")?;
            self.skip(self.padding, "a member's data")?;
            (self.data, self.padding) = (0, 0);
            let start = self.at;
            let block = self.block("a header; the end mark is missing")?;
            if block == [0; BLOCK] {
                return match self.block("its end mark")? {
                    end if end == [0; BLOCK] => Ok(None),
                    _ => Err(Fault::Corrupt { at: start, what: "an end mark in the midst of it".to_owned() }),
                };
            }
            let header = Header::from_byte_slice(&block);
            let corrupt = |what: &str| Fault::Corrupt { at: start, what: what.to_owned() };
            if !is_sound(header, &block) {
                return Err(corrupt("no header of a tape archive (its check sum does not fit)"));
            }
            let size = header.entry_size().map_err(|_| corrupt("a size that is no number"))?;
            match header.entry_type() {
                EntryType::XHeader => self.pax(size, &mut extension)?,
                // Go ignores it as well, and so do the engines.
                EntryType::XGlobalHeader => self.begin(size)?,
                EntryType::GNULongName => extension.name = Some(self.long(size)?),
                EntryType::GNULongLink => extension.link = Some(self.long(size)?),
                _ => return self.member(header, size, extension).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, size: u64, extension: Extension) -> Result<Member, Fault> {
        let name = extension.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            let own = || header.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
            extension.link.unwrap_or_else(own)
        };
        let size = extension.size.unwrap_or(size);
        let entry_type = header.entry_type();
        if entry_type == EntryType::GNUSparse && header.as_gnu().is_some_and(tar::GnuHeader::is_extended) {
            // Further parts of the map, each block saying whether there is one more.
            while self.block("a sparse member's map")?.get(504).is_some_and(|more| *more != 0) {}
        }
        let kind = match entry_type {
            EntryType::Link => Kind::HardLink(link()),
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::Directory => Kind::Folder,
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Other,
            // The oldest form has no type for folders.
            _ if name.ends_with(b"/") && header.as_old().linkflag == [0] => Kind::Folder,
            // POSIX: what is not known is a regular file.
            _ => Kind::File(size),
        };
        if !header_only(entry_type) {
            self.begin(size)?;
        }
        Ok(Member {
            name,
            kind,
            // Some writers put the type there as well (Docker and Podman: 0100600).
            mode: header.mode().ok().map(|mode| mode & 0o7777),
            uid: extension.uid.or_else(|| header.uid().ok()),
            gid: extension.gid.or_else(|| header.gid().ok()),
            at: self.at,
        })
    }

    /// Reads the current member's data, at most to fill `buffer` up to `most` bytes.
    ///
    /// # Errors
    /// The archive is cut, corrupt or cannot be read.
    pub(super) fn head(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<(), Fault> {
        let wanted = self.data.min(most as u64);
        self.fill(buffer, wanted, "a member's data")
    }

    /// The current member's data.
    pub(super) const fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// What lies behind the end mark, to be read to its end.
    pub(super) fn into_rest(self) -> R {
        self.from
    }

    fn begin(&mut self, size: u64) -> Result<(), Fault> {
        let block = BLOCK as u64;
        // More than a file can have; sums of it would overflow.
        if i64::try_from(size).is_err() || i64::try_from(self.at.saturating_add(size)).is_err() {
            return Err(Fault::Corrupt { at: self.at, what: format!("a member of {size} bytes") });
        }
        self.data = size;
        self.padding = (block - size % block) % block;
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > LONGEST_EXTENSION {
            return Err(Fault::Corrupt { at: self.at, what: format!("a name or record of {size} bytes") });
        }
        self.begin(size)?;
        let mut bytes = Vec::new();
        self.fill(&mut bytes, size, "an extension header")?;
        Ok(bytes)
    }

    fn long(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        let mut name = self.extension(size)?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// Records `LENGTH KEYWORD=VALUE\n`; LENGTH counts itself.
    fn pax(&mut self, size: u64, extension: &mut Extension) -> Result<(), Fault> {
        let at = self.at;
        let bytes = self.extension(size)?;
        let corrupt = || Fault::Corrupt { at, what: "a PAX record that is none".to_owned() };
        let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let blank = rest.iter().position(|&byte| byte == b' ').ok_or_else(corrupt)?;
            let length = rest.get(..blank).and_then(number).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length > blank).ok_or_else(corrupt)?;
            let (record, next) = rest.split_at_checked(length).ok_or_else(corrupt)?;
            let record = record.get(blank + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(corrupt)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(corrupt)?;
            let (keyword, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            match keyword {
                // A sparse file's own name stands beside one that GNU tar made up.
                b"GNU.sparse.name" => extension.name = Some(value.to_vec()),
                b"path" if extension.name.is_none() => extension.name = Some(value.to_vec()),
                b"linkpath" => extension.link = Some(value.to_vec()),
                b"size" => extension.size = Some(number(value).ok_or_else(corrupt)?),
                b"uid" => extension.uid = number(value),
                b"gid" => extension.gid = number(value),
                _ => {}
            }
            rest = next;
        }
        Ok(())
    }

    fn block(&mut self, within: &'static str) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => return Err(Fault::Cut { at: self.at, within }),
                Ok(count) => {
                    filled += count;
                    self.at = self.at.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(told(error, self.at, within)),
            }
        }
        Ok(block)
    }

    fn fill(&mut self, buffer: &mut Vec<u8>, wanted: u64, within: &'static str) -> Result<(), Fault> {
        let before = buffer.len();
        let outcome = self.from.by_ref().take(wanted).read_to_end(buffer);
        let count = (buffer.len() - before) as u64;
        self.at = self.at.saturating_add(count);
        self.data = self.data.saturating_sub(count);
        match outcome {
            Err(error) => Err(told(error, self.at, within)),
            Ok(_) if count < wanted => Err(Fault::Cut { at: self.at, within }),
            Ok(_) => Ok(()),
        }
    }

    fn skip(&mut self, count: u64, within: &'static str) -> Result<(), Fault> {
        if count == 0 {
            return Ok(());
        }
        let (done, outcome) = self.from.skip(count);
        self.at = self.at.saturating_add(done);
        outcome.map_err(|error| told(error, self.at, within))?;
        if done < count { Err(Fault::Cut { at: self.at, within }) } else { Ok(()) }
    }
}

/// The data of a member, as a reader of its own.
pub(super) struct Data<'a, R>(&'a mut Tarball<R>);

impl<R: Skip> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.data).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.0.from.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.0.at = self.0.at.saturating_add(count as u64);
        self.0.data = self.0.data.saturating_sub(count as u64);
        Ok(count)
    }
}

/// An error of a source, as one of the archive.
pub(super) fn told(error: io::Error, at: u64, within: &'static str) -> Fault {
    if let Some(Limit(limit)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return Fault::Expands(*limit);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Cut { at, within },
        // What the unpackers say of bytes that they cannot unpack.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Fault::Corrupt { at, what: crate::escape::text(error.to_string().as_bytes()) }
        }
        _ => Fault::Io(error),
    }
}

/// Types that Go's reader gives no data, so that no engine unpacks any.
fn header_only(entry_type: EntryType) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    matches!(entry_type, Link | Symlink | Char | Block | Directory | Fifo)
}

/// The check sum: the sum of the header's bytes with blanks for the sum itself; of signed bytes, as very old programs did.
fn is_sound(header: &Header, block: &[u8; BLOCK]) -> bool {
    let Ok(said) = header.cksum() else { return false };
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
    let unsigned: u32 = block.iter().enumerate().map(|one| u32::from(byte(one))).sum();
    let signed: i32 = block.iter().enumerate().map(|one| i32::from(byte(one).cast_signed())).sum();
    said == unsigned || i64::from(said) == i64::from(signed)
}

/// A layer's bytes, expanded and bounded, as an archive.
pub(super) fn layer<R: Read>(from: R, limit: u64) -> Tarball<Stream<Bounded<R>>> {
    Tarball::new(Stream(Bounded::new(from, limit)))
}

#[cfg(test)]
#[path = "tarball_tests.rs"]
mod tests;
