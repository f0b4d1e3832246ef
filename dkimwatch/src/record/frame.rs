//! How an entry lies in a segment: marker, length, checksum, entry. The checksum tells what a crash tore; against an intruder there
//! are the chain and the seal.

use super::{
    chain::Hash,
    entry::{Entry, HEAD},
    seal::Tag,
};

/// The longest entry. An access is far below; the start of a watch names every key, of which large hosts have tens of thousands.
pub(super) const LONGEST: usize = 1 << 24;

/// Begins each frame, so that a reader finds the next one behind damage.
pub(super) const MARKER: [u8; 4] = *b"\xd7DKE";

/// Marker, length, checksum.
const PREFIX: usize = 4 + 4 + 4;

/// The entry's hash and seal, before it.
const PROOF: usize = size_of::<Hash>() + size_of::<Tag>();

/// An entry and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) entry: Entry,
    pub(super) chain: Hash,
    /// Zeros where the journal is not sealed.
    pub(super) tag: Tag,
}

/// What lies at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame, and its length.
    Frame(Box<Frame>, usize),
    /// The beginning of one, if more bytes follow: at least this many in all.
    More(usize),
    /// None.
    Nothing,
}

impl Frame {
    /// Appends the frame to some bytes. `None`: it is too long.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        let Self { entry, chain, tag } = self;
        let length = PROOF + HEAD + entry.event.len() + entry.record.len();
        if length > LONGEST {
            return None;
        }
        let mut sum = crc32fast::Hasher::new();
        let parts: [&[u8]; 5] = [chain, tag, &entry.head(), &entry.event, &entry.record];
        parts.iter().for_each(|part| sum.update(part));
        to.extend(MARKER);
        to.extend(u32::try_from(length).ok()?.to_le_bytes());
        to.extend(sum.finalize().to_le_bytes());
        parts.iter().for_each(|part| to.extend_from_slice(part));
        Some(())
    }

    /// Reads the frame that `bytes` begin with.
    pub(super) fn read(bytes: &[u8]) -> Found {
        let Some((prefix, rest)) = bytes.split_at_checked(PREFIX) else {
            let begins = MARKER.iter().zip(bytes).all(|(one, other)| one == other);
            return if begins { Found::More(PREFIX) } else { Found::Nothing };
        };
        let (marker, numbers) = prefix.split_at(MARKER.len());
        let (length, sum) = numbers.split_at(4);
        let number = |bytes: &[u8]| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
        let length = usize::try_from(number(length)).unwrap_or(usize::MAX);
        if marker != MARKER || !(PROOF + HEAD..=LONGEST).contains(&length) {
            return Found::Nothing;
        }
        let Some(payload) = rest.get(..length) else { return Found::More(PREFIX + length) };
        if crc32fast::hash(payload) != number(sum) {
            return Found::Nothing;
        }
        let frame = || {
            let (chain, payload) = payload.split_first_chunk()?;
            let (tag, payload) = payload.split_first_chunk()?;
            let (head, payload) = payload.split_first_chunk()?;
            Some(Self { entry: Entry::read(head, payload)?, chain: *chain, tag: *tag })
        };
        frame().map_or(Found::Nothing, |frame| Found::Frame(Box::new(frame), PREFIX + length))
    }
}

/// How many bytes what lies at the beginning says that it has, if it says that it is a frame.
pub(super) fn claimed(bytes: &[u8]) -> usize {
    let length = bytes.strip_prefix(&MARKER).and_then(|rest| rest.first_chunk());
    length.map_or(0, |length| usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{judge::Verdict, record::entry::EntryKind};

    fn frame(event: &[u8], record: &[u8]) -> Frame {
        let entry = Entry {
            seq: 7,
            unix_ns: -1,
            kind: EntryKind::Access,
            verdict: Some(Verdict::Unexpected),
            event: event.to_vec(),
            record: record.to_vec(),
        };
        Frame { entry, chain: [1; 32], tag: [2; 32] }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(event in any::<Vec<u8>>(), record in any::<Vec<u8>>(), behind in any::<Vec<u8>>()) {
            let frame = frame(&event, &record);
            let mut bytes = Vec::new();
            frame.write(&mut bytes).expect("short enough");
            let length = bytes.len();
            bytes.extend(behind);
            prop_assert_eq!(Frame::read(&bytes), Found::Frame(Box::new(frame), length));
        }

        #[test]
        fn no_bytes_are_too_hostile(bytes in any::<Vec<u8>>()) {
            let _ = Frame::read(&bytes);
            let _ = Frame::read(&[MARKER.as_slice(), &bytes].concat());
        }
    }

    #[test]
    fn a_torn_frame_wants_more_and_one_with_a_flipped_bit_is_none() {
        let mut bytes = Vec::new();
        frame(b"{}", b"record").write(&mut bytes).expect("short enough");
        for length in 1..bytes.len() {
            assert!(matches!(Frame::read(&bytes[..length]), Found::More(more) if more > length), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Frame::read(&altered), Found::Frame(..)), "bit {bit}");
        }
    }
}
