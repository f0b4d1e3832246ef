//! [`Access`](crate::decode::Access) → [`AttributedAccess`]. Promise: may be incomplete, never drops an access, never waits for a slow source.

mod attributed;

pub use attributed::*;
