//! The configuration: as typed ([`schema`](self)) → validated → as meant ([`Settings`]).

mod settings;

pub use settings::*;
