//! `journal verify`: every entry against its checksum, its place, the chain and the seal. Reads only; works on a copy.

use std::path::Path;

use super::{
    JournalError, VerificationKey,
    chain::{self, Hash},
    entry::{Entry, EntryKind},
    finding::Finding,
    frame::Frame,
    reader::{Piece, SegmentReader},
    seal::{Key, Sealer, UNSEALED},
    sealstate::{self, SealState},
    segment::{self, Header, SegmentFile},
};

/// Findings that are kept; the rest is counted.
const MOST: usize = 1_000;
/// Segments or entries between two numbers: whoever writes a number from the moon must not have us count up to it.
const FARTHEST: u64 = 16_000_000;

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
    /// The segment from which on another key seals: `journal setup-sealing --renew`.
    pub renewed: Option<u64>,
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

/// Verifies a journal; with its key, its seals. Of one that is being written, what was there as the look began.
///
/// # Errors
/// There is no journal, or a file of it cannot be read.
pub fn verify(folder: &Path, key: Option<&VerificationKey>) -> Result<Verified, JournalError> {
    // Before the segments: what is written meanwhile is behind it.
    let state = sealstate::peek(folder);
    let segments = segment::list(folder)?;
    if segments.is_empty() {
        return Err(JournalError::Empty(folder.to_owned()));
    }
    let mut walk = Walk {
        key: key.map(|key| Keys { key, reached: key.from, evolved: key.key.clone(), end: None, renewed: false }),
        state,
        ..Walk::default()
    };
    for segment in &segments {
        walk.segment(segment)?;
    }
    walk.end();
    Ok(walk.found)
}

#[derive(Default)]
struct Walk<'a> {
    found: Verified,
    key: Option<Keys<'a>>,
    state: Option<SealState>,
    /// The hash at the state's place, once it was reached, and whether its keys are those of the place.
    at_state: Option<(Hash, Option<bool>)>,
    journal: Option<[u8; 16]>,
    /// The segment before: its number.
    before: Option<u64>,
    next_seq: u64,
    /// The hash that the next entry follows; `None`: nobody knows.
    chain: Option<Hash>,
    /// Segments before the first one that is there.
    absent: Option<(u64, u64)>,
    /// Runs of segments that entries tell of as removed; and whether the entry is sealed.
    trimmed: Vec<(u64, u64, bool)>,
}

/// The verification key, evolved up to some segment.
struct Keys<'a> {
    key: &'a VerificationKey,
    reached: u64,
    /// That segment's.
    evolved: Key,
    /// Of the segment before: the keys at its end.
    end: Option<Sealing>,
    /// Another key seals from here on.
    renewed: bool,
}

/// The keys of a segment's entries, as they are walked.
struct Sealing {
    sealer: Sealer,
    /// The entry that the sealer is at.
    next: u64,
    broken: bool,
}

impl Walk<'_> {
    fn segment(&mut self, file: &SegmentFile) -> Result<(), JournalError> {
        let (header, mut reader) = SegmentReader::open(file)?;
        let number = file.number;
        self.found.segments += 1;
        let follows = match self.before {
            None if number > 1 => {
                self.absent = Some((1, number - 1));
                false
            }
            None => false,
            Some(before) if number > before + 1 => {
                // Only the oldest are ever removed.
                self.found.find(Finding::SegmentsMissing { first: before + 1, last: number - 1 });
                false
            }
            Some(_) => true,
        };
        let mut sealing = match &header {
            Some(header) => self.header(number, header, follows),
            None => {
                self.found.find(Finding::NoHeader { segment: number });
                self.chain = None;
                None
            }
        };
        self.before = Some(number);
        let is_unchecked =
            header.is_some_and(|header| header.is_sealed()) && self.key.as_ref().is_none_or(|key| key.renewed);
        self.pass_state(number, sealing.as_ref());
        while let Some(piece) = reader.next()? {
            match piece {
                Piece::Frame(frame) => {
                    self.frame(number, &frame, sealing.as_mut());
                    self.found.unchecked += u64::from(is_unchecked);
                    self.pass_state(number, sealing.as_ref());
                }
                Piece::Damage { bytes } => {
                    self.found.find(Finding::Damaged { segment: number, before: self.next_seq, bytes });
                }
                Piece::Torn { bytes } => {
                    self.found.find(Finding::Torn { segment: number, seq: self.next_seq, bytes });
                }
            }
        }
        if let Some(key) = &mut self.key {
            key.end = sealing;
        }
        Ok(())
    }

    /// Notes what is at the place that the seal's state names.
    fn pass_state(&mut self, segment: u64, sealing: Option<&Sealing>) {
        let Some(state) = self.state.as_ref().filter(|state| (state.segment, state.seq) == (segment, self.next_seq))
        else {
            return;
        };
        let keys = sealing.filter(|sealing| sealing.next == state.seq).map(|sealing| sealing.sealer == state.sealer);
        self.at_state = self.chain.map(|chain| (chain, keys));
    }

    /// What seals the segment's entries, where the key tells.
    fn header(&mut self, number: u64, header: &Header, follows: bool) -> Option<Sealing> {
        let segment = number;
        if header.number != number {
            self.found.find(Finding::Misplaced { segment, says: header.number });
        }
        match self.journal {
            None => self.journal = Some(header.journal),
            Some(journal) if journal != header.journal => self.found.find(Finding::Foreign { segment }),
            Some(_) => {}
        }
        if follows {
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
        let is_first = self.before.is_none();
        self.next_seq = header.first_seq;
        let chain = header.chain();
        self.chain = Some(chain);
        let keys = self.key.as_mut()?;
        if keys.key.journal != header.journal {
            if is_first {
                self.found.find(Finding::OtherJournal);
            }
            return None;
        }
        if number < keys.key.from || keys.renewed {
            return None;
        }
        if let Some(mut end) = keys.end.take().filter(|_| follows)
            && !(end.advance(header.first_seq) && end.sealer.close(&chain) == header.close)
        {
            self.found.find(Finding::EndUnsealed { segment: number - 1 });
        }
        if !header.is_sealed() {
            self.found.find(Finding::NotSealed { segment });
            return None;
        }
        if header.from > keys.key.from && number == header.from {
            // That the old key's part ends here, the check above has seen.
            keys.renewed = true;
            self.found.renewed = Some(number);
            return None;
        }
        if number - keys.reached > FARTHEST {
            self.found.find(Finding::HeaderUnsealed { segment });
            return None;
        }
        while keys.reached < number {
            keys.evolved = keys.evolved.next_segment();
            keys.reached += 1;
        }
        let mut sealer = Sealer::of_segment(&keys.evolved);
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
        let mut is_sealed = false;
        if let Some(sealing) = sealing
            && !sealing.broken
        {
            if sealing.is_sealed(seq, chain, tag) {
                is_sealed = !altered;
                self.found.sealed += u64::from(is_sealed);
            } else {
                sealing.broken = true;
                // Where it was not chained anew, the finding above is the better one.
                if in_place && !altered {
                    self.found.find(Finding::Unsealed { segment, seq });
                }
            }
        }
        self.trimmed(entry, is_sealed);
    }

    /// What is known once all was walked.
    fn end(&mut self) {
        self.missing_segments();
        let (ends, journal) = (self.next_seq.saturating_sub(1), self.journal);
        let state = self.state.take().filter(|state| Some(state.journal) == journal);
        if let Some(state) = state.as_ref().filter(|state| self.next_seq < state.seq) {
            self.found.find(Finding::CutOff { ends, written: state.seq - 1 });
            return;
        }
        let Some(Keys { key, renewed, .. }) = self.key.take().filter(|keys| Some(keys.key.journal) == journal) else {
            return;
        };
        let Some(state) = state else {
            self.found.find(Finding::EndUnproven { ends });
            return;
        };
        if renewed {
            return;
        }
        let last = self.before.unwrap_or_default();
        // Sealing was set up, and nothing was written since.
        let is_set_up = state.from == key.from && state.segment < key.from && state.sealer.next_segment == key.key;
        if last < key.from && !is_set_up {
            self.found.find(Finding::SealedMissing { from: key.from });
            return;
        }
        let is_its_own = match self.at_state {
            Some((chain, keys)) => chain == state.chain && (is_set_up || keys == Some(true)),
            None => false,
        };
        if !is_its_own {
            self.found.find(Finding::StateForged);
        }
    }

    /// Segments that an entry tells of as removed.
    fn trimmed(&mut self, entry: &Entry, is_sealed: bool) {
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
            self.trimmed.push((first, last, is_sealed));
        }
    }

    /// The oldest segments, if they are not there and no entry says why. Where they were sealed, a sealed entry must.
    fn missing_segments(&mut self) {
        let Some((mut first, last)) = self.absent else { return };
        let from = self.key.as_ref().map_or(u64::MAX, |keys| keys.key.from);
        self.trimmed.sort_unstable();
        for (begin, end, is_sealed) in &self.trimmed {
            let believed = if *is_sealed { *end } else { (*end).min(from.saturating_sub(1)) };
            if (*begin..=believed).contains(&first) {
                first = believed.saturating_add(1);
            }
        }
        if first <= last {
            self.found.find(Finding::SegmentsMissing { first, last });
        }
    }
}

impl Sealing {
    /// Goes to an entry further behind: those between are missing, which is told elsewhere. Whether it is near enough.
    fn advance(&mut self, seq: u64) -> bool {
        if seq < self.next || seq - self.next > FARTHEST {
            return false;
        }
        while self.next < seq {
            self.sealer.seal(&UNSEALED);
            self.next += 1;
        }
        true
    }

    fn is_sealed(&mut self, seq: u64, chain: &Hash, tag: &[u8; 32]) -> bool {
        if !self.advance(seq) {
            return false;
        }
        self.next = self.next.saturating_add(1);
        self.sealer.seal(chain) == *tag
    }
}
