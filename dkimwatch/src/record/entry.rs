//! The noun: one entry of the journal.

use crate::judge::Verdict;

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// An access that was judged.
    Access = 1,
    /// What was found out of an access's container behind it: the same `event.id`.
    FollowUp = 2,
    /// Of the watch itself, or of the journal.
    State = 3,
}

impl EntryKind {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Access),
            2 => Some(Self::FollowUp),
            3 => Some(Self::State),
            _ => None,
        }
    }
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the journal, from 1 on, without gaps.
    pub seq: u64,
    /// Wall-clock time of the event, nanoseconds since the Unix epoch.
    pub unix_ns: i64,
    /// What it tells of.
    pub kind: EntryKind,
    /// Of an access.
    pub verdict: Option<Verdict>,
    /// The event: an ECS object, without a line's end.
    pub event: Vec<u8>,
    /// The kernel's record, as it came through the ring; empty where there is none.
    pub record: Vec<u8>,
}

/// Bytes of an entry before the event: seq, time, kind, verdict, two of padding, length of the event.
pub(super) const HEAD: usize = 8 + 8 + 4 + 4;

impl Entry {
    /// Whether it is an access that nobody expected. (What followed it tells of the same access.)
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.kind == EntryKind::Access && self.verdict == Some(Verdict::Unexpected)
    }

    /// Its first bytes, which say how long the event is.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let verdict = match self.verdict {
            None => 0,
            Some(Verdict::Expected) => 1,
            Some(Verdict::Maintenance) => 2,
            Some(Verdict::Unexpected) => 3,
        };
        let event = u32::try_from(self.event.len()).unwrap_or(u32::MAX);
        let mut at = head.as_mut_slice();
        for field in [
            self.seq.to_le_bytes().as_slice(),
            &self.unix_ns.to_le_bytes(),
            &[self.kind as u8, verdict, 0, 0],
            &event.to_le_bytes(),
        ] {
            if let Some((here, rest)) = std::mem::take(&mut at).split_at_mut_checked(field.len()) {
                here.copy_from_slice(field);
                at = rest;
            }
        }
        head
    }

    /// From its first bytes and those behind them. `None`: it is no entry.
    pub(super) fn read(head: &[u8; HEAD], rest: &[u8]) -> Option<Self> {
        let (seq, head) = head.split_first_chunk()?;
        let (unix_ns, head) = head.split_first_chunk()?;
        let ([kind, verdict, 0, 0], length) = head.split_first_chunk()? else { return None };
        let verdict = match *verdict {
            0 => None,
            1 => Some(Verdict::Expected),
            2 => Some(Verdict::Maintenance),
            3 => Some(Verdict::Unexpected),
            _ => return None,
        };
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (event, record) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        Some(Self {
            seq: u64::from_le_bytes(*seq),
            unix_ns: i64::from_le_bytes(*unix_ns),
            kind: EntryKind::of(*kind)?,
            verdict,
            event: event.to_vec(),
            record: record.to_vec(),
        })
    }
}
