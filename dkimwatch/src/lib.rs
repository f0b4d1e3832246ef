//! dkimwatch: who opened a DKIM private key, and was it the expected signer?
//!
//! One road: kernel hook → ring → [`decode`] → [`attribute`] → [`judge`] → [`print`]; ARCHITECTURE.md has the map.

pub mod attribute;
pub mod config;
pub mod decode;
pub mod judge;
pub mod keys;
pub mod exit;
pub mod kernel;
