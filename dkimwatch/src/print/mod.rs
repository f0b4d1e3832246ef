//! [`JudgedAccess`] → lines: [`Pretty`] for people, [`Ecs`] for machines. Promise: one line an access, and no byte of a name
//! can make it two; the same access gives the same line again.

mod capabilities;
mod document;
mod ecs;
mod ecs_own;
mod ecs_state;
mod fields;
mod host;
mod pretty;
mod state;
mod time;
mod told;

#[cfg(test)]
mod tests;

pub use ecs::Ecs;
pub use fields::{ECS_VERSION, FIELDS, FieldType, check_schema};
pub use host::HostFacts;
pub use pretty::{Colour, Pretty};
pub use state::{Counts, EventsLost, Heartbeat, JournalNoted, Loss, State, WatchResumed, WatchStarted, WatchStopped};
pub use time::rfc3339;
pub use told::{harmful, told};

use crate::judge::JudgedAccess;

/// Somebody who writes events down.
pub trait Printer {
    /// Writes an access.
    ///
    /// # Errors
    /// The output's own: a closed pipe, a full disk.
    fn access(&mut self, judged: &JudgedAccess) -> std::io::Result<()>;

    /// Writes an access once more, with what was found out of its container since: the same event, by its id.
    ///
    /// # Errors
    /// As [`Self::access`].
    fn follow_up(&mut self, judged: &JudgedAccess) -> std::io::Result<()>;

    /// Writes an event of the watch itself.
    ///
    /// # Errors
    /// The output's own.
    fn state(&mut self, state: &State) -> std::io::Result<()>;

    /// How far it has come. One that keeps nothing is always done.
    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// How far a [`Printer`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that it was given.
    pub given: u64,
    /// Those that are where they outlive this process, or never will be.
    pub kept: u64,
}
