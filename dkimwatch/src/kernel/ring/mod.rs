//! The rings, read without ever blocking the kernel side. What was read stays there until it is given back.

mod mapped;

use std::time::Duration;

use bytes::Bytes;
use tokio::io::unix::AsyncFd;

use super::KernelError;
use crate::decode::Ring;
pub(super) use mapped::Mapped;

/// Raw records, in the order in which each ring holds them.
#[derive(Debug)]
pub struct Batch {
    /// They.
    pub records: Vec<(Ring, Bytes)>,
    /// Up to where the rings were read with them.
    pub end: Mark,
}

/// A place in each of the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark([usize; 3]);

#[cfg(test)]
impl Mark {
    pub(crate) const fn test(positions: [usize; 3]) -> Self {
        Self(positions)
    }
}

/// How long a look waits while something that was read is not given back: the kernel wakes nobody then.
const LOOK: Duration = Duration::from_millis(2);

/// Records read from one ring in one go, so that the rest of the pipeline and the signals get their turn under a flood.
const BATCH: usize = 512;

/// The rings: strangers', signers', attempts'.
pub struct Rings {
    rings: [AsyncFd<Mapped>; 3],
    attempts_held: bool,
}

/// In the order of [`Rings`].
const ORDER: [Ring; 3] = [Ring::Stranger, Ring::Signer, Ring::Attempt];

impl Rings {
    /// Registers the rings with the runtime: strangers', signers', attempts'.
    ///
    /// # Errors
    /// When the runtime cannot poll them.
    pub(super) fn new([stranger, signer, attempt]: [Mapped; 3]) -> Result<Self, KernelError> {
        let register = |ring| {
            // SAFETY: the ring owns its descriptor, which is the same for as long as it lives.
            unsafe { AsyncFd::register(ring) }.map_err(|error| KernelError::io("poll a ring")(error.into()))
        };
        Ok(Self { rings: [register(stranger)?, register(signer)?, register(attempt)?], attempts_held: false })
    }

    /// Leaves attempts in their ring for now, or takes them again. What no longer fits is counted by the kernel side as lost.
    pub fn hold_attempts(&mut self, held: bool) {
        self.attempts_held = held;
    }

    /// Whether attempts are left in their ring.
    #[must_use]
    pub const fn are_held(&self) -> bool {
        self.attempts_held
    }

    /// Waits for records and reads what is there, strangers first. Where something that was read is not given back yet, an empty batch
    /// comes after a moment.
    ///
    /// # Errors
    /// When the runtime's poll fails.
    pub async fn next(&mut self) -> Result<Batch, KernelError> {
        loop {
            let batch = self.drain();
            if !batch.records.is_empty() {
                return Ok(batch);
            }
            if self.rings.iter().any(|ring| ring.get_ref().kept() > 0) {
                tokio::time::sleep(LOOK).await;
                return Ok(self.drain());
            }
            let held = self.attempts_held;
            let [stranger, signer, attempt] = &mut self.rings;
            tokio::select! {
                biased;
                ready = stranger.readable_mut() => {
                    ready.map_err(KernelError::io("poll the strangers' ring"))?.clear_ready();
                }
                ready = signer.readable_mut() => {
                    ready.map_err(KernelError::io("poll the signers' ring"))?.clear_ready();
                }
                ready = attempt.readable_mut(), if !held => {
                    ready.map_err(KernelError::io("poll the attempts' ring"))?.clear_ready();
                }
            }
        }
    }

    /// Reads what is there, without waiting. Each ring has its own share, so that none waits for another.
    pub fn drain(&mut self) -> Batch {
        let mut records = Vec::new();
        for (ring, source) in ORDER.into_iter().zip(&mut self.rings) {
            if ring == Ring::Attempt && self.attempts_held {
                continue;
            }
            let source = source.get_mut();
            let mut taken = 0;
            while taken < BATCH
                && let Some(record) = source.next()
            {
                records.push((ring, Bytes::copy_from_slice(record)));
                taken += 1;
            }
        }
        let end = Mark(self.rings.each_ref().map(|ring| ring.get_ref().position()));
        Batch { records, end }
    }

    /// Gives the kernel the room of what was read before a place: it is kept elsewhere.
    pub fn give_back(&mut self, Mark(positions): Mark) {
        for (ring, position) in self.rings.iter_mut().zip(positions) {
            ring.get_mut().give_back(position);
        }
    }

    /// Whether so much waits to be given back that the kernel may soon want for room.
    #[must_use]
    pub fn are_filling(&self) -> bool {
        self.rings.iter().map(AsyncFd::get_ref).any(|ring| ring.kept() > ring.size() / 2)
    }
}
