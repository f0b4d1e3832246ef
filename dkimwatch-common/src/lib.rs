//! The contract between the kernel side and the user side: records, identities, offsets, counters, limits and names.
//!
//! Everything here is `no_std`, fixed in width and explicit in padding, because both sides must read the same bytes: the
//! kernel side compiles it for `bpfel-unknown-none`, the user side for the host. There is no logic here, except the one
//! hash ([`filter`]) that both sides must compute alike.
#![no_std]

pub mod deed;
pub mod exec;
pub mod filter;
pub mod identity;
pub mod limits;
pub mod names;
pub mod offsets;
pub mod record;
pub mod summary;
pub mod tally;
pub mod watch;
