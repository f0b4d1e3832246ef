//! Where a journal goes on: behind its last whole entry. What a crash tore is cut off; what somebody altered stays as it is.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use super::{
    JournalError, Notice,
    journal::{Point, sync_folder},
    reader::{Piece, SegmentReader},
    seal::Sealer,
    sealstate::SealState,
    segment::{self, HEADER, Header, SegmentFile},
};

/// How a journal was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) id: [u8; 16],
    pub(super) point: Point,
    /// The segment to go on with; `None`: a new one is begun …
    pub(super) goes_on: Option<Begun>,
    /// … of this number.
    pub(super) next_number: u64,
    pub(super) notices: Vec<Notice>,
}

/// A segment that is not complete.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) begun_unix_ns: i64,
    pub(super) offset: u64,
}

/// Reads the last segment, from what the seal's state knows of it.
pub(super) fn recover(folder: &Path, state: Option<&SealState>) -> Result<Recovered, JournalError> {
    let mut notices = Vec::new();
    let mut segments = segment::list(folder)?;
    // Others were never written by this journal: whoever put them there is not to say how it goes on.
    for foreign in segments.extract_if(.., |segment| state.is_some_and(|state| segment.number > state.segment + 1)) {
        notices.push(Notice::Damaged {
            segment: foreign.number,
            bytes: std::fs::metadata(&foreign.path).map_or(0, |meta| meta.len()),
        });
    }
    while let Some(last) = segments.last() {
        match read(last, state, &mut notices)? {
            Some(recovered) => return Ok(Recovered { notices, ..recovered }),
            // Its header was torn as it was begun.
            None => {
                std::fs::remove_file(&last.path)
                    .map_err(|error| JournalError::at(&last.path, "cannot be removed", error))?;
                segments.pop();
            }
        }
    }
    let id = state.map_or_else(new_id, |state| Ok(state.journal))?;
    let mut point = Point { seq: 1, chain: [0; 32], sealer: None, last_alert: 0 };
    let mut next_number = 1;
    if let Some(state) = state {
        if state.seq > 1 {
            notices.push(Notice::Missing { first: 1, last: state.seq - 1 });
        }
        (point.seq, point.chain, next_number) = (state.seq, state.chain, state.segment + 1);
        point.sealer = Some(Sealer::of_segment(&state.sealer.next_segment));
    }
    Ok(Recovered { id, point, goes_on: None, next_number, notices })
}

/// The last segment, walked to its end.
struct Walk<'a> {
    header: Option<Header>,
    state: Option<&'a SealState>,
    point: Point,
    /// Behind the last whole entry.
    end: u64,
    /// Something is wrong with it that is no torn end: it is left as it is.
    spoilt: bool,
    /// The keys are those of the place that was reached.
    sealing: bool,
}

/// `None`: it was torn as it was begun, and there is nothing in it.
fn read(
    last: &SegmentFile,
    state: Option<&SealState>,
    notices: &mut Vec<Notice>,
) -> Result<Option<Recovered>, JournalError> {
    let (header, mut reader) = SegmentReader::open(last)?;
    let length =
        std::fs::metadata(&last.path).map_err(|error| JournalError::at(&last.path, "cannot be read", error))?.len();
    if header.is_none() && !last.packed && length <= HEADER as u64 {
        notices.push(Notice::Cut { segment: last.number, bytes: length });
        return Ok(None);
    }
    let id = match (&header, state) {
        (Some(header), _) => header.journal,
        (None, Some(state)) => state.journal,
        (None, None) => new_id()?,
    };
    if state.is_some_and(|state| state.journal != id) {
        return Err(JournalError::BrokenSeal(last.path.with_file_name(super::sealstate::NAME)));
    }
    let mut walk = Walk::new(header, last.number, state);
    let mut torn = 0;
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::Frame(frame) => walk.take(&frame, reader.offset(), last.number, notices),
            Piece::Damage { bytes } => {
                walk.spoilt = true;
                notices.push(Notice::Damaged { segment: last.number, bytes });
            }
            Piece::Torn { bytes } => torn = bytes,
        }
    }
    if torn > 0 {
        if walk.spoilt || last.packed {
            walk.spoilt = true;
            notices.push(Notice::Damaged { segment: last.number, bytes: torn });
        } else {
            notices.push(Notice::Cut { segment: last.number, bytes: torn });
        }
    }
    walk.finish(last, id, torn, notices).map(Some)
}

impl<'a> Walk<'a> {
    fn new(header: Option<Header>, number: u64, state: Option<&'a SealState>) -> Self {
        let (seq, chain, last_alert) =
            header.as_ref().map_or((1, [0; 32], 0), |header| (header.first_seq, header.chain(), header.last_alert));
        let mut walk = Self {
            spoilt: header.is_none(),
            header,
            state,
            point: Point { seq, chain, sealer: None, last_alert },
            end: HEADER as u64,
            sealing: false,
        };
        if let (Some(state), Some(header)) = (state, &walk.header)
            && state.segment + 1 == number
            && number >= state.from
        {
            // It was begun, and then nothing more was written.
            let mut sealer = Sealer::of_segment(&state.sealer.next_segment);
            let tag = sealer.seal(&header.chain());
            (walk.sealing, walk.spoilt) = (tag == header.tag, walk.spoilt || tag != header.tag);
            walk.point.sealer = Some(sealer);
        }
        walk.reach_state(number);
        walk
    }

    /// The place that the seal's state knows of.
    fn reach_state(&mut self, number: u64) {
        if let Some(state) = self.state
            && (state.segment, state.offset, state.seq) == (number, self.end, self.point.seq)
            && state.chain == self.point.chain
        {
            self.sealing = true;
            self.point.sealer = Some(state.sealer.clone());
        }
    }

    fn take(&mut self, frame: &super::frame::Frame, end: u64, number: u64, notices: &mut Vec<Notice>) {
        if self.sealing
            && let Some(sealer) = &mut self.point.sealer
            && (sealer.seal(&frame.chain) != frame.tag || self.spoilt)
        {
            notices.push(Notice::Unproven { first: frame.entry.seq });
            (self.sealing, self.spoilt) = (false, true);
        }
        self.point.seq = frame.entry.seq.saturating_add(1);
        self.point.chain = frame.chain;
        if frame.entry.is_alert() {
            self.point.last_alert = frame.entry.seq;
        }
        self.end = end;
        self.reach_state(number);
    }

    fn finish(
        mut self,
        last: &SegmentFile,
        id: [u8; 16],
        torn: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<Recovered, JournalError> {
        let mut next_number = last.number + 1;
        if let Some(state) = self.state.filter(|_| !self.sealing) {
            if last.number >= state.from || state.segment > last.number {
                // The state's place was not reached, or not left by the seal.
                self.spoilt = true;
                if state.seq > self.point.seq {
                    notices.push(Notice::Missing { first: self.point.seq, last: state.seq - 1 });
                    (self.point.seq, self.point.chain) = (state.seq, state.chain);
                } else if !notices.iter().any(|notice| matches!(notice, Notice::Unproven { .. })) {
                    notices.push(Notice::Unproven { first: state.seq });
                }
                next_number = next_number.max(state.segment + 1);
            }
            // The key of the segment to come, by as many steps as there are segments between: few, see above.
            let mut key = state.sealer.next_segment.clone();
            for _ in state.segment + 1..next_number {
                key = key.next_segment();
            }
            self.point.sealer = Some(Sealer::of_segment(&key));
        }
        let is_sealed = self.header.as_ref().is_some_and(|header| header.sealed);
        let of_this_key = self.state.is_none_or(|state| last.number >= state.from);
        let goes_on = !self.spoilt && !last.packed && is_sealed == self.state.is_some() && of_this_key;
        let Some(header) = self.header.filter(|_| goes_on) else {
            if self.sealing {
                self.point.sealer = self.point.sealer.map(|sealer| Sealer::of_segment(&sealer.next_segment));
            }
            return Ok(Recovered { id, point: self.point, goes_on: None, next_number, notices: Vec::new() });
        };
        let fault = |error| JournalError::at(&last.path, "cannot be written", error);
        let file = OpenOptions::new().read(true).write(true).open(&last.path).map_err(fault)?;
        if torn > 0 {
            file.set_len(self.end).and_then(|()| file.sync_all()).map_err(fault)?;
            sync_folder(&last.path)?;
        }
        let goes_on = Begun { file, number: last.number, begun_unix_ns: header.unix_ns, offset: self.end };
        Ok(Recovered { id, point: self.point, goes_on: Some(goes_on), next_number, notices: Vec::new() })
    }
}

/// A new journal's name.
pub(super) fn new_id() -> Result<[u8; 16], JournalError> {
    random()
}

/// Random bytes of the kernel's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], JournalError> {
    use std::io::Read as _;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| JournalError::at(path, "cannot be read", error))?;
    Ok(bytes)
}
