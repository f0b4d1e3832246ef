//! Key discovery: which DKIM keys this host has, found by asking the signers' own configuration.
//!
//! Promise: no key is opened. A file is known as a key by configuration and name, and only its attributes are asked for.
//! One exception cannot be avoided and is noted where it occurs: a table that holds keys *inline* must be read to find
//! that out; what is read of the key is dropped at once.
//!
//! Every source is hostile until read: each parser takes any bytes, follows a bounded number of includes, and turns what
//! it cannot use into a [`Note`].

mod amavis;
mod conf;
mod dkimpy;
mod exim;
mod findings;
mod folders;
mod inventory;
mod opendkim;
mod opensmtpd;
mod options;
pub(crate) mod paths;
mod pattern;
mod rspamd;
mod shape;
mod table;
mod template;
mod units;

use crate::{config::Settings, containers::Keyed, host::Host};
use findings::Findings;

pub(crate) use findings::{Identity, dns_name};
pub(crate) use folders::{WELL_KNOWN, is_in_key_folder};
pub use inventory::*;
pub use pattern::{Glob, is_glob};
pub(crate) use shape::guess;
pub(crate) use table::rows as table_rows;

/// The keys of `host`: what its signers' configuration says, what lies in the well-known folders, and `keys.paths`.
///
/// Blocking, and bounded: the signers' tools are given some seconds each.
#[must_use]
pub fn discover(settings: &Settings, host: &Host) -> Inventory {
    let mut findings = Findings::new(host);
    if settings.keys.discover {
        opendkim::discover(host, &mut findings);
        rspamd::discover(host, &mut findings);
        exim::discover(host, &mut findings);
        opensmtpd::discover(host, &mut findings);
        dkimpy::discover(host, &mut findings);
        amavis::discover(host, &mut findings);
        folders::discover(host, &mut findings);
    }
    paths::discover(&settings.keys.paths, host, &mut findings);
    findings.into_inventory()
}

/// The keys of a container, in its order.
pub fn of_container(container: &Keyed) -> impl Iterator<Item = Key> {
    container.keys.iter().map(|key| {
        let guessed = shape::guess(&key.inner);
        Key {
            path: key.path.clone(),
            domain: guessed.domain,
            selector: guessed.selector,
            signer: key.signer.map(str::to_owned),
            contained: true,
            root: key.root.clone(),
            found_in: format!("{} ({})", container.called(), crate::escape::path(&key.inner)),
        }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
