//! dkimwatch: who opened a DKIM private key, and was it the expected signer?
//!
//! One road: kernel hook → ring → [`decode`] → [`attribute`] → [`judge`] → [`print`]; [`pipeline`] wires it and
//! ARCHITECTURE.md has the map.

pub mod attribute;
pub mod away;
pub mod cli;
pub mod clock;
pub mod config;
pub mod containers;
pub mod decode;
pub mod escape;
pub mod exit;
pub mod host;
pub mod images;
pub mod judge;
pub mod kernel;
pub mod keys;
pub mod losses;
pub mod pipeline;
pub mod print;
pub mod record;
pub mod refused;
pub mod replay;
pub mod report;
pub mod summary;
pub mod watchlist;
