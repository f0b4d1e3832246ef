//! The rings, read without ever blocking the kernel side.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use tokio::io::unix::AsyncFd;

use super::KernelError;
use crate::decode::Ring;

/// Raw records, taken from the rings in the order in which each ring holds them.
pub type Batch = Vec<(Ring, Bytes)>;

/// Records taken from one ring in one go, so that the rest of the pipeline and the signals get their turn under a flood.
const BATCH: usize = 512;

/// The rings.
pub struct Rings {
    stranger: AsyncFd<Readable>,
    signer: AsyncFd<Readable>,
    attempt: AsyncFd<Readable>,
    attempts_held: bool,
}

struct Readable(RingBuf<MapData>);

// `AsyncFd` asks for both.
impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Rings {
    /// Registers the rings with the runtime: strangers', signers', attempts'.
    ///
    /// # Errors
    /// When the runtime cannot poll them.
    pub(super) fn new([stranger, signer, attempt]: [RingBuf<MapData>; 3]) -> Result<Self, KernelError> {
        let register = |ring| {
            // SAFETY: the ring owns its descriptor, which is the same for as long as it lives.
            unsafe { AsyncFd::register(Readable(ring)) }.map_err(|error| KernelError::io("poll a ring")(error.into()))
        };
        Ok(Self {
            stranger: register(stranger)?,
            signer: register(signer)?,
            attempt: register(attempt)?,
            attempts_held: false,
        })
    }

    /// Leaves attempts in their ring for now, or takes them again. What no longer fits is counted by the kernel side as lost.
    pub fn hold_attempts(&mut self, held: bool) {
        self.attempts_held = held;
    }

    /// Waits for records and takes what is there, strangers first.
    ///
    /// # Errors
    /// When the runtime's poll fails.
    pub async fn next(&mut self) -> Result<Batch, KernelError> {
        loop {
            let batch = self.drain();
            if !batch.is_empty() {
                return Ok(batch);
            }
            tokio::select! {
                biased;
                ready = self.stranger.readable_mut() => {
                    ready.map_err(KernelError::io("poll the strangers' ring"))?.clear_ready();
                }
                ready = self.signer.readable_mut() => {
                    ready.map_err(KernelError::io("poll the signers' ring"))?.clear_ready();
                }
                ready = self.attempt.readable_mut(), if !self.attempts_held => {
                    ready.map_err(KernelError::io("poll the attempts' ring"))?.clear_ready();
                }
            }
        }
    }

    /// Takes what is there, without waiting. Each ring has its own share, so that none waits for another.
    pub fn drain(&mut self) -> Batch {
        let mut batch = Batch::new();
        let sources = [
            (Ring::Stranger, &mut self.stranger),
            (Ring::Signer, &mut self.signer),
            (Ring::Attempt, &mut self.attempt),
        ];
        for (ring, source) in sources {
            if ring == Ring::Attempt && self.attempts_held {
                continue;
            }
            let source = &mut source.get_mut().0;
            let mut taken = 0;
            while taken < BATCH
                && let Some(record) = source.next()
            {
                batch.push((ring, Bytes::copy_from_slice(&record)));
                taken += 1;
            }
        }
        batch
    }
}
