//! What `journal verify` finds, and how it says so.

use std::fmt;

/// What is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A segment's first bytes are no header.
    NoHeader {
        /// The segment, by its name.
        segment: u64,
    },
    /// A segment says that it is another one.
    Misplaced {
        /// By its name.
        segment: u64,
        /// By its header.
        says: u64,
    },
    /// A segment is another journal's.
    Foreign {
        /// Which.
        segment: u64,
    },
    /// A segment follows one that is not the one before it.
    Unchained {
        /// Which.
        segment: u64,
    },
    /// Segments are not there, and no entry tells that they were removed.
    SegmentsMissing {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A segment should be sealed, and says that it is not.
    NotSealed {
        /// Which.
        segment: u64,
    },
    /// A segment's header does not carry the seal.
    HeaderUnsealed {
        /// Which.
        segment: u64,
    },
    /// An entry is not what it was.
    Altered {
        /// Its segment.
        segment: u64,
        /// Its number.
        seq: u64,
    },
    /// An entry, and what follows it in the segment, does not carry the seal: it was written by somebody who had not its key.
    Unsealed {
        /// Its segment.
        segment: u64,
        /// Its number.
        seq: u64,
    },
    /// Entries are not there.
    Missing {
        /// In which segment, or at whose end.
        segment: u64,
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// An entry stands where another one belongs: moved, or there twice.
    Reordered {
        /// In which segment.
        segment: u64,
        /// The one that belongs there.
        expected: u64,
        /// The one that stands there.
        found: u64,
    },
    /// Bytes between entries are none.
    Damaged {
        /// In which segment.
        segment: u64,
        /// The entry before which they lie.
        before: u64,
        /// How many.
        bytes: u64,
    },
    /// A segment's last bytes are no entry.
    Torn {
        /// Which.
        segment: u64,
        /// The entry that would be there.
        seq: u64,
        /// How many.
        bytes: u64,
    },
    /// The journal ends before the place that the seal's state names.
    CutOff {
        /// The entry that it ends with.
        ends: u64,
        /// The last one that was written, by the seal's state.
        written: u64,
    },
    /// The segment before does not end where this one begins: by the key that only the writer had there.
    EndUnsealed {
        /// The segment before.
        segment: u64,
    },
    /// There is no segment that the key seals.
    SealedMissing {
        /// The first one that there should be.
        from: u64,
    },
    /// The seal's state is not the one that belongs to its place.
    StateForged,
    /// The seal's state is not there, and with it what proves where the journal ends.
    EndUnproven {
        /// The entry that it ends with.
        ends: u64,
    },
    /// The key is another journal's.
    OtherJournal,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader { segment } => write!(f, "segment {segment}: its beginning was altered or torn"),
            Self::Misplaced { segment, says } => {
                write!(f, "segment {segment}: it is segment {says}, under another name")
            }
            Self::Foreign { segment } => write!(f, "segment {segment}: it is of another journal"),
            Self::Unchained { segment } => {
                write!(
                    f,
                    "segment {segment}: it does not follow the end of the one before it, one of them was replaced or altered"
                )
            }
            Self::SegmentsMissing { first, last } if first == last => {
                write!(f, "segment {first}: missing, and no entry tells that it was removed for its age")
            }
            Self::SegmentsMissing { first, last } => {
                write!(
                    f,
                    "segments {first} to {last}: missing, and no entry tells that they were removed for their age"
                )
            }
            Self::NotSealed { segment } => write!(f, "segment {segment}: it should be sealed, and is not: replaced"),
            Self::HeaderUnsealed { segment } => {
                write!(
                    f,
                    "segment {segment}: its beginning does not carry the seal: replaced, or begun by somebody without the key"
                )
            }
            Self::Altered { segment, seq } => write!(f, "entry {seq} (segment {segment}): altered"),
            Self::Unsealed { segment, seq } => write!(
                f,
                "entry {seq} (segment {segment}): it does not carry the seal: this and what follows it in the segment was written anew by somebody without its key"
            ),
            Self::Missing { segment, first, last } if first == last => {
                write!(f, "entry {first} (segment {segment}): missing")
            }
            Self::Missing { segment, first, last } => {
                write!(f, "entries {first} to {last} (segment {segment}): missing")
            }
            Self::Reordered { segment, expected, found } => {
                write!(f, "entry {expected} (segment {segment}): entry {found} stands in its place")
            }
            Self::Damaged { segment, before, bytes } => {
                write!(f, "before entry {before} (segment {segment}): {bytes} bytes that are no entry")
            }
            Self::Torn { segment, seq, bytes } => write!(
                f,
                "entry {seq} (segment {segment}): torn, {bytes} bytes of it are there: a crash as it was written, or cut by hand; what a crash tears, the next `dkimwatch run` cuts off and tells"
            ),
            Self::CutOff { ends, written } => write!(
                f,
                "the journal ends with entry {ends}, and {written} were on the disk, by the seal's state: its end was cut off"
            ),
            Self::EndUnsealed { segment } => write!(
                f,
                "segment {segment}: that it ends there is not sealed: its end was cut off or replaced, and the next segment begun, by somebody without its key"
            ),
            Self::SealedMissing { from } => {
                write!(f, "segment {from}, from which on the journal is sealed, is not there, nor anything behind it")
            }
            Self::StateForged => f.write_str(
                "the seal's state is not that of its place in the journal: the end was cut off, or replaced, and the state made to fit"
            ),
            Self::EndUnproven { ends } => write!(
                f,
                "the file `seal` is not there, which proves that the journal ends with entry {ends}: copy it with the journal; where it is gone on the host itself, somebody removed it"
            ),
            Self::OtherJournal => {
                f.write_str("the verification key is of another journal: this one was replaced, or the key mixed up")
            }
        }
    }
}
