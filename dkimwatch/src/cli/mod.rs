//! The commands.

pub mod config;
pub mod keys;
