//! Events → entries of the journal: written before anybody is told, chained, and sealed so that an intruder cannot rewrite what was.
//!
//! A journal is a folder: segments ([`segment`]) of entries in frames ([`frame`]), a `lock` of who writes, and `seal`, the state of
//! the evolving keys ([`sealstate`]). Promise: what [`Journal::sync`] returned from is there after a crash, and what a crash tore is
//! cut off and told; a reader is total on any bytes.

mod chain;
mod entries;
mod entry;
mod error;
mod finding;
mod frame;
mod journal;
mod notice;
mod pack;
mod reader;
mod recorder;
mod recover;
mod seal;
mod sealstate;
mod segment;
mod setup;
mod teller;
mod verify;

#[cfg(test)]
mod intruder_tests;
#[cfg(test)]
mod tests;

pub use entries::{Entries, ReadOut, entries, size_on_disk};
pub use entry::{Entry, EntryKind};
pub use error::JournalError;
pub use finding::Finding;
pub use journal::{Journal, Limits, New};
pub use notice::Notice;
pub use pack::mark_reported;
pub use recorder::{LineBuffer, Recorder, SyncPolicy};
pub use seal::{NoKey, VerificationKey};
pub use setup::set_up_sealing;
pub use verify::{Place, Verified, verify};
