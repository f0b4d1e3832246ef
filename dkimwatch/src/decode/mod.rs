//! Ring bytes → [`Access`]. Promise: total on any bytes, no `unsafe`, no panic.

mod access;

pub use access::*;
