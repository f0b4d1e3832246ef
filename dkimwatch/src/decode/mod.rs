//! Ring bytes → [`Access`]. Promise: total on any bytes, no `unsafe`, no panic.

mod access;
mod encode;
mod error;
mod fields;
mod record;
mod texts;

#[cfg(test)]
pub(crate) mod tests;

pub use access::*;
#[doc(hidden)]
pub use encode::{EncodeError, RecordBuilder};
pub use error::DecodeError;
pub use record::decode;
pub(crate) use texts::CUT_PREFIX;
