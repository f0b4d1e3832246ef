//! [`AttributedAccess`](crate::attribute::AttributedAccess) → [`JudgedAccess`]. Promise: pure, no input or output, no clock; says which rule decided and why.

mod action;
mod code;
mod contained;
mod decide;
mod deed;
mod fit;
mod itself;
mod judged;
mod memory;
mod policy;
mod public;
mod reason;
pub mod severity;
mod stranger;

pub use action::Action;
pub use code::{Foreign, foreign};
pub use contained::{Contained, Met, is_called, is_unmet, within};
pub use decide::judge;
pub use itself::{Guarded, Part};
pub use judged::*;
pub use policy::*;
pub use public::PublicNames;
pub(crate) use reason::errno_name;
pub use stranger::may_check_itself;
