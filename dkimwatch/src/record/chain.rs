//! Each entry's hash covers the one before it, so that none can be altered, left out or moved without the next one telling.

use sha2::{Digest as _, Sha256};

use super::entry::Entry;

/// SHA-256 over an entry and the hash before it.
pub(super) type Hash = [u8; 32];

/// The hash that a segment begins with, from the bytes of its header.
pub(super) fn of_header(header: &[u8]) -> Hash {
    Sha256::new().chain_update(b"dkimwatch journal segment\0").chain_update(header).finalize().into()
}

/// The hash of an entry behind `before`.
pub(super) fn of_entry(before: &Hash, entry: &Entry) -> Hash {
    Sha256::new()
        .chain_update(b"dkimwatch journal entry\0")
        .chain_update(before)
        .chain_update(entry.head())
        .chain_update(&entry.event)
        .chain_update(&entry.record)
        .finalize()
        .into()
}
