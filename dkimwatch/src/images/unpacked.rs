//! Bytes as they are before packing: gzip and zstd are told by their first bytes, never by a name.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::{fault::Fault, frames::Frames};

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Reads the packing off the first bytes; more than 6 are not needed.
///
/// # Errors
/// A packing that is known by sight but not read.
pub(super) fn packing(first: &[u8]) -> Result<Packing, Fault> {
    match first {
        [0x1f, 0x8b, ..] => Ok(Packing::Gzip),
        // A frame, or one to be skipped.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Packing::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(Fault::Packing("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Fault::Packing("bzip2")),
        _ => Ok(Packing::None),
    }
}

/// The first bytes of a stream, at most 6, and the whole stream again.
pub(super) fn peek<R: Read>(mut from: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut first = Vec::with_capacity(6);
    from.by_ref().take(6).read_to_end(&mut first)?;
    Ok((first.clone(), Cursor::new(first).chain(from)))
}

/// The bytes of `from` before it was packed.
///
/// # Errors
/// It cannot be read, or is packed otherwise.
pub(super) fn unpacked<'a>(from: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Fault> {
    let (first, from) = peek(from)?;
    let from = BufReader::with_capacity(64 << 10, from);
    Ok(match packing(&first)? {
        Packing::None => Box::new(from),
        Packing::Gzip => Box::new(MultiGzDecoder::new(from)),
        Packing::Zstd => Box::new(Frames::new(from)),
    })
}

/// A reader that refuses to give more than so many bytes.
pub(super) struct Bounded<R> {
    from: R,
    left: u64,
    limit: u64,
}

/// The error of a [`Bounded`] reader at its limit, in bytes.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes")]
pub(super) struct Limit(pub(super) u64);

impl<R: Read> Bounded<R> {
    pub(super) const fn new(from: R, limit: u64) -> Self {
        Self { from, left: limit, limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 && !buffer.is_empty() {
            // At the limit exactly is not above it.
            return if self.from.read(&mut [0])? == 0 { Ok(0) } else { Err(io::Error::other(Limit(self.limit))) };
        }
        let count = self.from.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Reads a document to its end.
///
/// # Errors
/// It is longer than `limit`, or cannot be read.
pub(super) fn whole(from: impl Read, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(Fault::TooLong(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn all(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpacked(packed).map_err(io::Error::other)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn several_members_and_frames_are_one_stream() {
        let text = b"the same again and again ".repeat(10_000);
        assert_eq!(all(&text).unwrap(), text);
        assert_eq!(all(&[gzip(&text), gzip(b"end")].concat()).unwrap(), [&text[..], b"end"].concat());
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let frames = [skipped.clone(), zstd(&text), skipped, zstd(b"end")].concat();
        assert_eq!(all(&frames).unwrap(), [&text[..], b"end"].concat());
        assert_eq!(all(b"").unwrap(), b"");
        assert!(matches!(unpacked(&b"\xfd7zXZ\0"[..]).err(), Some(Fault::Packing("xz"))));
    }

    #[test]
    fn what_is_cut_is_told_as_cut() {
        let text: Vec<u8> =
            (0..60_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [gzip(&text), zstd(&text)] {
            for length in [7, packed.len() / 2, packed.len() - 1] {
                let error = all(&packed[..length]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} of {}: {error}", packed.len());
            }
        }
    }

    #[test]
    fn a_limit_is_told_where_it_is_passed_only() {
        let read = |limit| Bounded::new(&b"12345"[..], limit).read_to_end(&mut Vec::new());
        assert_eq!(read(5).unwrap(), 5);
        assert!(read(4).unwrap_err().get_ref().unwrap().is::<Limit>());
    }
}
