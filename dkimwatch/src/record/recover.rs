//! Where a journal goes on: behind its last whole entry that is its own. What a crash tore is cut off; what somebody altered stays as it
//! is, and nothing in it says how the journal goes on.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{
    JournalError, Notice, chain,
    frame::Frame,
    journal::{Point, sync_folder},
    reader::{Piece, SegmentReader},
    seal::Sealer,
    sealstate::SealState,
    segment::{self, HEADER, Header, PLAIN_FILE, SegmentFile},
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
    /// Where the point is: the segment, and the place in it.
    pub(super) place: (u64, u64),
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
    while let Some(last) = segments.last() {
        match read(last, state, &mut notices)? {
            Last::Is(recovered) => return Ok(Recovered { notices, ..*recovered }),
            // Its header was torn as it was begun.
            Last::Torn => {
                std::fs::remove_file(&last.path)
                    .map_err(|error| JournalError::at(&last.path, "cannot be removed", error))?;
            }
            // Whoever put it there is not to say how the journal goes on, nor to keep it from going on.
            Last::Foreign(bytes) => notices.push(Notice::Damaged { segment: last.number, bytes }),
        }
        segments.pop();
    }
    let Some(state) = state else {
        let point = Point { seq: 1, chain: [0; 32], sealer: None, last_alert: 0 };
        return Ok(Recovered { id: new_id()?, point, goes_on: None, next_number: 1, place: (0, 0), notices });
    };
    if state.seq > 1 {
        notices.push(Notice::Missing { first: 1, last: state.seq - 1 });
    }
    let (next_number, place) = (state.segment + 1, (state.segment, state.offset));
    Ok(Recovered { id: state.journal, point: of_state(state, 0), goes_on: None, next_number, place, notices })
}

/// What the last segment is.
enum Last {
    Is(Box<Recovered>),
    Torn,
    /// Of so many bytes.
    Foreign(u64),
}

/// The place that the seal's state knows of.
fn of_state(state: &SealState, last_alert: u64) -> Point {
    Point { seq: state.seq, chain: state.chain, sealer: Some(state.sealer.clone()), last_alert }
}

fn read(last: &SegmentFile, state: Option<&SealState>, notices: &mut Vec<Notice>) -> Result<Last, JournalError> {
    let fault = |error| JournalError::at(&last.path, "cannot be read", error);
    let length = std::fs::symlink_metadata(&last.path).map_err(fault)?.len();
    // A sealed journal's own segments are known by number and header.
    let is_foreign = |header: Option<&Header>| {
        state.is_some_and(|state| match header {
            _ if last.number > state.segment + 1 => true,
            Some(header) if header.journal != state.journal => true,
            Some(header) if last.number == state.segment + 1 => !follows(state, header),
            Some(_) => false,
            None => last.number == state.segment + 1,
        })
    };
    let (header, mut reader) = match SegmentReader::open(last) {
        Ok(opened) => opened,
        Err(error) if state.is_some() && is_foreign(None) => {
            tracing::error!(%error, "what lies where a segment could be cannot be read");
            return Ok(Last::Foreign(length));
        }
        Err(error) => return Err(error),
    };
    if header.is_none() && !last.packed && length <= HEADER as u64 {
        notices.push(Notice::Cut { segment: last.number, bytes: length });
        return Ok(Last::Torn);
    }
    if is_foreign(header.as_ref()) {
        return Ok(Last::Foreign(length));
    }
    if state.is_none() && header.as_ref().is_some_and(Header::is_sealed) {
        notices.push(Notice::SealGone { segment: last.number });
    }
    let id = match (&header, state) {
        (Some(header), _) => header.journal,
        (None, Some(state)) => state.journal,
        (None, None) => new_id()?,
    };
    let mut walk = Walk::new(header, last.number, state);
    let mut torn = 0;
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::Frame(frame) => walk.take(&frame, reader.offset(), notices),
            Piece::Damage { bytes } => {
                walk.spoilt = true;
                notices.push(Notice::Damaged { segment: last.number, bytes });
            }
            Piece::Torn { bytes } => torn = bytes,
        }
    }
    if torn > 0 {
        walk.spoilt |= last.packed;
        notices.push(if walk.spoilt {
            Notice::Damaged { segment: last.number, bytes: torn }
        } else {
            Notice::Cut { segment: last.number, bytes: torn }
        });
    }
    walk.finish(last, id, torn, notices).map(|recovered| Last::Is(Box::new(recovered)))
}

/// Whether a header is that of the segment behind the state's: it was begun, and then nothing more was written to the state.
fn follows(state: &SealState, header: &Header) -> bool {
    let chain = header.chain();
    (header.first_seq, header.before) == (state.seq, state.chain)
        && header.tag == Sealer::of_segment(&state.sealer.next_segment).seal(&chain)
        && header.close == state.sealer.close(&chain)
}

/// The last segment, walked to its end.
struct Walk<'a> {
    number: u64,
    header: Option<Header>,
    state: Option<&'a SealState>,
    /// Behind the last entry that is the journal's own.
    point: Point,
    /// Where that is.
    end: u64,
    /// Something is wrong with it that is no torn end: it is left as it is.
    spoilt: bool,
    /// The state's place was reached: from here on each entry must carry the seal.
    sealing: bool,
    /// One did not.
    unproven: bool,
}

impl<'a> Walk<'a> {
    fn new(header: Option<Header>, number: u64, state: Option<&'a SealState>) -> Self {
        let (seq, chain, last_alert) =
            header.as_ref().map_or((1, [0; 32], 0), |header| (header.first_seq, header.chain(), header.last_alert));
        let mut walk = Self {
            number,
            spoilt: header.is_none(),
            header,
            state,
            point: Point { seq, chain, sealer: None, last_alert },
            end: HEADER as u64,
            sealing: false,
            unproven: false,
        };
        if let Some(state) = state.filter(|state| state.segment + 1 == number) {
            // By `follows`.
            let mut sealer = Sealer::of_segment(&state.sealer.next_segment);
            sealer.seal(&chain);
            (walk.sealing, walk.point.sealer) = (true, Some(sealer));
        }
        walk.reach_state();
        walk
    }

    /// The place that the seal's state knows of.
    fn reach_state(&mut self) {
        if let Some(state) = self.state
            && (state.segment, state.offset, state.seq) == (self.number, self.end, self.point.seq)
            && state.chain == self.point.chain
        {
            self.sealing = true;
            self.point.sealer = Some(state.sealer.clone());
        }
    }

    fn take(&mut self, frame: &Frame, end: u64, notices: &mut Vec<Notice>) {
        if self.unproven {
            return;
        }
        let Frame { entry, chain, tag } = frame;
        let follows = entry.seq == self.point.seq && chain::of_entry(&self.point.chain, entry) == *chain;
        let mut sealer = self.point.sealer.clone();
        let is_sealed = !self.sealing || sealer.as_mut().is_some_and(|sealer| sealer.seal(chain) == *tag);
        if !follows || !is_sealed {
            self.spoilt = true;
            // What an unsealed journal was altered to, it goes on from: there is nothing better. Numbers from the moon are none.
            if self.sealing || entry.seq < self.point.seq || entry.seq > u64::MAX / 2 {
                self.unproven = self.sealing;
                notices.push(Notice::Unproven { first: entry.seq });
                return;
            }
        }
        self.point = Point {
            seq: entry.seq + 1,
            chain: *chain,
            sealer,
            last_alert: if entry.is_alert() { entry.seq } else { self.point.last_alert },
        };
        self.end = end;
        self.reach_state();
    }

    fn finish(
        mut self,
        last: &SegmentFile,
        id: [u8; 16],
        torn: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<Recovered, JournalError> {
        let next_number = self.state.map_or(last.number, |state| state.segment.max(last.number)) + 1;
        if let Some(state) = self.state.filter(|_| !self.sealing) {
            self.spoilt = true;
            if state.seq > self.point.seq {
                notices.push(Notice::Missing { first: self.point.seq, last: state.seq - 1 });
            } else {
                notices.push(Notice::Unproven { first: state.seq });
            }
            self.point = of_state(state, self.point.last_alert.min(state.seq));
            (self.number, self.end) = (state.segment, state.offset);
        }
        let place = (self.number, self.end);
        let is_sealed = self.header.as_ref().is_some_and(Header::is_sealed);
        let of_this_key = self.state.is_none_or(|state| last.number >= state.from);
        let goes_on = !self.spoilt && !last.packed && is_sealed == self.state.is_some() && of_this_key;
        let Some(header) = self.header.filter(|_| goes_on) else {
            return Ok(Recovered { id, point: self.point, goes_on: None, next_number, place, notices: Vec::new() });
        };
        let fault = |error| JournalError::at(&last.path, "cannot be written", error);
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(PLAIN_FILE).open(&last.path).map_err(fault)?;
        if torn > 0 {
            file.set_len(self.end).and_then(|()| file.sync_all()).map_err(fault)?;
            sync_folder(&last.path)?;
        }
        let goes_on = Begun { file, number: last.number, begun_unix_ns: header.unix_ns, offset: self.end };
        Ok(Recovered { id, point: self.point, goes_on: Some(goes_on), next_number, place, notices: Vec::new() })
    }
}

/// A new journal's name.
fn new_id() -> Result<[u8; 16], JournalError> {
    random()
}

/// Random bytes of the kernel's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], JournalError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| JournalError::at(path, "cannot be read", error))?;
    Ok(bytes)
}
