//! What the tests that run the real program share: a running watch, and the events it printed.

mod command;
mod containerd;
mod cri;
mod daemon;
mod engine;
mod event;
mod service;
mod steady;
mod watch;

pub use command::{WatchCommand, program};
pub use containerd::Containerd;
pub use cri::Pod;
pub use engine::{Engine, Run, User};
pub use event::{Event, Events, Missing};
pub use service::Service;
pub use steady::Steady;
pub use watch::{Watch, Watched};
