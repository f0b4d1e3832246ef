//! [`Access`](crate::decode::Access) → [`AttributedAccess`]. Promise: may be incomplete, never drops an access, never waits for a slow source.

mod accounts;
mod attributed;
mod attributor;
mod cgroup;
mod code;
mod container;
mod maps;
mod monitor;
mod packages;
mod processes;
mod surroundings;

pub(crate) use accounts::parse as account_names;
pub use attributed::*;
pub use attributor::Attributor;
pub use cgroup::unit;
pub use code::{Code, Mapped};
pub use container::{Container, Outer, Pod, container};
pub(crate) use packages::{ends_within, merged};
pub(crate) use processes::is_alive;
pub use surroundings::{Host, Surroundings};
