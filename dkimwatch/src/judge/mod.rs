//! [`AttributedAccess`](crate::attribute::AttributedAccess) → [`JudgedAccess`]. Promise: pure, no input or output, no clock; says which rule decided and why.

mod judged;
mod policy;

pub use judged::*;
pub use policy::*;
