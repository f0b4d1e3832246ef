//! `journal verify`: every entry against its checksum, its place, the chain and the seal. Reads only; works on a copy.

use std::{fmt, path::Path};

use super::{
    JournalError, VerificationKey,
    chain::{self, Hash},
    entry::{Entry, EntryKind},
    frame::Frame,
    reader::{Piece, SegmentReader},
    seal::{Key, Sealer, UNSEALED},
    sealstate,
    segment::{self, Header, SegmentFile},
};

/// Findings that are kept; the rest is counted.
const MOST: usize = 1_000;
/// Segments between two numbers: whoever names a file with a number from the moon must not have us count up to it.
const FARTHEST: u64 = 1_000_000;

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
            Self::OtherJournal => {
                f.write_str("the verification key is of another journal: this one was replaced, or the key mixed up")
            }
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Accesses among them that nobody expected.
    pub alerts: u64,
    /// Entries that carry the seal, by the key.
    pub sealed: u64,
    /// Entries of segments that say they are sealed, where no key was there to see.
    pub unchecked: u64,
    /// The first and the last entry.
    pub span: Option<(Place, Place)>,
    /// What is wrong, the first ones.
    pub findings: Vec<Finding>,
    /// How much more.
    pub more: u64,
    /// Segments that were removed for their age or their size, by the entries that tell so: the first, the last, and when.
    pub trimmed: Vec<(u64, u64, i64)>,
}

/// An entry's number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: i64,
}

impl Verified {
    /// Whether all is well.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MOST {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Verifies a journal; with its key, its seals.
///
/// # Errors
/// There is no journal, or a file of it cannot be read.
pub fn verify(folder: &Path, key: Option<&VerificationKey>) -> Result<Verified, JournalError> {
    let segments = segment::list(folder)?;
    if segments.is_empty() {
        return Err(JournalError::Empty(folder.to_owned()));
    }
    let mut walk = Walk { key: key.map(|key| (key, key.from, key.key.clone())), ..Walk::default() };
    for segment in &segments {
        walk.segment(segment)?;
    }
    walk.missing_segments();
    if let Some(state) = sealstate::peek(folder)
        && walk.journal == Some(state.journal)
        && walk.next_seq < state.seq
    {
        walk.found.find(Finding::CutOff { ends: walk.next_seq.saturating_sub(1), written: state.seq - 1 });
    }
    Ok(walk.found)
}

#[derive(Default)]
struct Walk<'a> {
    found: Verified,
    /// The key; and how far it has been evolved: the segment, and its key.
    key: Option<(&'a VerificationKey, u64, Key)>,
    journal: Option<[u8; 16]>,
    /// The segment before: its number.
    before: u64,
    next_seq: u64,
    /// The hash that the next entry follows; `None`: nobody knows.
    chain: Option<Hash>,
    /// Runs of segments that are not there.
    absent: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn segment(&mut self, file: &SegmentFile) -> Result<(), JournalError> {
        let (header, mut reader) = SegmentReader::open(file)?;
        self.found.segments += 1;
        if file.number > self.before + 1 {
            self.absent.push((self.before + 1, file.number - 1));
        }
        let is_first = self.before == 0;
        let follows = file.number == self.before + 1;
        self.before = file.number;
        let mut sealer = match &header {
            Some(header) => self.header(file.number, header, is_first, follows),
            None => {
                self.found.find(Finding::NoHeader { segment: file.number });
                self.chain = None;
                None
            }
        };
        let says_sealed = header.is_some_and(|header| header.sealed);
        // Where entries are gone at the beginning, the place is not known by the header alone.
        while let Some(piece) = reader.next()? {
            match piece {
                Piece::Frame(frame) => {
                    self.frame(file.number, &frame, sealer.as_mut());
                    if says_sealed && self.key.is_none() {
                        self.found.unchecked += 1;
                    }
                }
                Piece::Damage { bytes } => {
                    self.found.find(Finding::Damaged { segment: file.number, before: self.next_seq, bytes });
                }
                Piece::Torn { bytes } => {
                    self.found.find(Finding::Torn { segment: file.number, seq: self.next_seq, bytes });
                }
            }
        }
        Ok(())
    }

    /// What seals the segment's entries, where the key tells.
    fn header(&mut self, number: u64, header: &Header, is_first: bool, follows: bool) -> Option<Sealing> {
        let segment = number;
        if header.number != number {
            self.found.find(Finding::Misplaced { segment, says: header.number });
        }
        match self.journal {
            None => self.journal = Some(header.journal),
            Some(journal) if journal != header.journal => self.found.find(Finding::Foreign { segment }),
            Some(_) => {}
        }
        if !is_first && follows {
            if header.first_seq > self.next_seq {
                self.found.find(Finding::Missing {
                    segment: number - 1,
                    first: self.next_seq,
                    last: header.first_seq - 1,
                });
            } else if header.first_seq < self.next_seq {
                self.found.find(Finding::Reordered { segment, expected: self.next_seq, found: header.first_seq });
            } else if self.chain.is_some_and(|chain| chain != header.before) {
                self.found.find(Finding::Unchained { segment });
            }
        }
        self.next_seq = header.first_seq;
        let chain = header.chain();
        self.chain = Some(chain);
        let (key, reached, evolved) = self.key.as_mut()?;
        if key.journal != header.journal {
            if is_first {
                self.found.find(Finding::OtherJournal);
            }
            return None;
        }
        if number < key.from {
            return None;
        }
        if !header.sealed {
            self.found.find(Finding::NotSealed { segment });
            return None;
        }
        if number - *reached > FARTHEST {
            self.found.find(Finding::HeaderUnsealed { segment });
            return None;
        }
        while *reached < number {
            *evolved = evolved.next_segment();
            *reached += 1;
        }
        let mut sealer = Sealer::of_segment(evolved);
        if sealer.seal(&chain) != header.tag {
            self.found.find(Finding::HeaderUnsealed { segment });
        }
        Some(Sealing { sealer, next: header.first_seq, broken: false })
    }

    fn frame(&mut self, segment: u64, frame: &Frame, sealing: Option<&mut Sealing>) {
        let Frame { entry, chain, tag } = frame;
        let seq = entry.seq;
        self.found.entries += 1;
        self.found.alerts += u64::from(entry.is_alert());
        let place = Place { seq, unix_ns: entry.unix_ns };
        self.found.span = Some((self.found.span.map_or(place, |(first, _)| first), place));
        self.trimmed(entry);
        let mut in_place = true;
        if seq > self.next_seq {
            self.found.find(Finding::Missing { segment, first: self.next_seq, last: seq - 1 });
            in_place = false;
        } else if seq < self.next_seq {
            self.found.find(Finding::Reordered { segment, expected: self.next_seq, found: seq });
            in_place = false;
        }
        let mut altered = false;
        if in_place && self.chain.is_some_and(|before| chain::of_entry(&before, entry) != *chain) {
            self.found.find(Finding::Altered { segment, seq });
            altered = true;
        }
        self.next_seq = seq.saturating_add(1).max(self.next_seq);
        self.chain = Some(*chain);
        if let Some(sealing) = sealing
            && !sealing.broken
        {
            match sealing.is_sealed(seq, chain, tag) {
                true if !altered => self.found.sealed += 1,
                true => {}
                false => {
                    sealing.broken = true;
                    // Where it was not chained anew, the finding above is the better one.
                    if in_place && !altered {
                        self.found.find(Finding::Unsealed { segment, seq });
                    }
                }
            }
        }
    }

    /// Segments that an entry tells of as removed.
    fn trimmed(&mut self, entry: &Entry) {
        const ACTION: &[u8] = b"journal-trimmed";
        if entry.kind != EntryKind::State || memchr::memmem::find(&entry.event, ACTION).is_none() {
            return;
        }
        let Ok(event) = serde_json::from_slice::<serde_json::Value>(&entry.event) else { return };
        let number = |name: &str| event.pointer(name).and_then(serde_json::Value::as_u64);
        if event.pointer("/event/action").and_then(serde_json::Value::as_str).map(str::as_bytes) == Some(ACTION)
            && let (Some(first), Some(last)) =
                (number("/dkimwatch/journal/segments/first"), number("/dkimwatch/journal/segments/last"))
            && self.found.trimmed.len() < MOST
        {
            self.found.trimmed.push((first, last, entry.unix_ns));
        }
    }

    /// Segments that are not there, and of which no entry says why.
    fn missing_segments(&mut self) {
        for (mut first, last) in std::mem::take(&mut self.absent) {
            let mut trimmed = self.found.trimmed.clone();
            trimmed.sort_unstable();
            for (from, to, _) in trimmed {
                if (from..=to).contains(&first) {
                    first = to.saturating_add(1);
                }
            }
            if first <= last {
                self.found.find(Finding::SegmentsMissing { first, last });
            }
        }
    }
}

/// The keys of a segment's entries, as they are walked.
struct Sealing {
    sealer: Sealer,
    /// The entry that the sealer is at.
    next: u64,
    broken: bool,
}

impl Sealing {
    fn is_sealed(&mut self, seq: u64, chain: &Hash, tag: &[u8; 32]) -> bool {
        // Those between are missing, which was told.
        if seq < self.next || seq - self.next > FARTHEST {
            return false;
        }
        while self.next < seq {
            self.sealer.seal(&UNSEALED);
            self.next += 1;
        }
        self.next += 1;
        self.sealer.seal(chain) == *tag
    }
}
