//! The kernel side, from here: load it, arm it, prove it live, read what it says.
//!
//! Entry point: [`Session::open`], then [`Session::go_live`] chooses a backend by trying it on a canary file.

mod backend;
mod canary;
#[cfg(test)]
mod contract_tests;
mod core_pattern;
mod empty;
mod error;
mod identify;
mod left_behind;
mod links;
mod lru;
mod namespace;
mod object;
mod offsets;
mod parts;
mod pins;
mod pod;
mod rights;
mod ring;
mod session;
mod summaries;
mod symbols;
mod tally;
mod tracefs;
mod watchset;

pub use backend::{Backend, BackendChoice, Unseen};
pub use core_pattern::dumps_through_pipe;
pub use empty::Empties;
pub use error::KernelError;
pub use identify::Handle;
pub use left_behind::Pins;
pub use namespace::host_mount_namespace;
pub use object::KERNEL_OBJECT;
pub use pins::{FOLDER as PIN_FOLDER, Left, PinFolder, Pinning, discard, unload};
pub use rights::missing_rights;
pub use ring::{Batch, Mark, Rings};
pub use session::{Attempt, Live, Session};
pub use summaries::{CountedBy, Summaries, Switch};
pub use tally::{Counts, Tally};
pub use watchset::WatchSet;
