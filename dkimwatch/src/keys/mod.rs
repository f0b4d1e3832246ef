//! Key discovery: which DKIM keys this host has, found by asking the signers' own configuration.

mod inventory;

pub use inventory::*;
