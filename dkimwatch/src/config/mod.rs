//! The configuration: as typed (`schema`) → validated (`validate`) → as meant ([`Settings`]).
//!
//! [`load`] is the way in. What it returns is complete and consistent; what could not be so is a [`ConfigError`] that
//! names the file, the key, the value and the remedy.

mod amounts;
mod error;
mod journal;
mod load;
mod profiles;
mod schema;
mod settings;
mod trust;
mod validate;

pub use amounts::{duration, size};
pub use error::{ConfigError, Fault, Place};
pub use journal::{FOLDER, JournalSettings, Recording};
pub use load::{DEFAULT_PATH, Loaded, load};
pub use profiles::{in_container, profiles};
pub use settings::*;
