//! The hooks, one file per subject. Each is a thin entry: it calls, counts the outcome, and hands on the earlier verdict.

pub mod asked;
pub mod changed;
pub mod code;
pub mod data;
pub mod descriptor;
pub mod device;
pub mod identify;
pub mod io_uring;
pub mod itself;
pub mod memory;
pub mod mounted;
pub mod mounts;
pub mod open;
pub mod placed;
pub mod process;
pub mod refused;
pub mod tamper;
