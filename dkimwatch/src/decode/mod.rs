//! Ring bytes → [`Access`]. Promise: total on any bytes, no `unsafe`, no panic.

mod access;
mod encode;
mod error;
mod fields;
mod id_map;
mod record;
mod texts;

#[cfg(test)]
pub(crate) mod tests;

pub use access::*;
#[doc(hidden)]
pub use encode::{EncodeError, RecordBuilder};
pub use error::DecodeError;
pub use id_map::{IdMap, IdMaps, IdRange};
pub use record::decode;
pub(crate) use texts::CUT_PREFIX;

use std::mem::offset_of;

use dkimwatch_common::{record::RawRecord, watch::file_watch};

/// Whether a record is the canary's, which proves a backend live and is no access.
#[must_use]
pub fn is_canary(bytes: &[u8]) -> bool {
    let at = offset_of!(RawRecord, watch_kind);
    bytes.get(at..at + 4).and_then(|kind| kind.try_into().ok()).map(u32::from_le_bytes) == Some(file_watch::CANARY)
}
