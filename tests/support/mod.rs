//! What the tests that run the real program share: a running watch, and the events it printed.

mod engine;
mod event;
mod watch;

pub use engine::{Engine, Run, User};
pub use event::{Event, Events, Missing};
pub use watch::{Watch, WatchCommand, Watched, program};
