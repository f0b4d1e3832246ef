//! dkimwatch: who opened a DKIM private key, and was it the expected signer?
//!
//! One road: kernel hook → ring → [`decode`] → [`attribute`] → [`judge`] → [`mod@print`]; ARCHITECTURE.md has the map.

pub mod attribute;
pub mod cli;
pub mod config;
pub mod decode;
pub mod escape;
pub mod exit;
pub mod judge;
pub mod keys;
pub mod print;
pub mod replay;
