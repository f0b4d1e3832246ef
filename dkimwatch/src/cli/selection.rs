//! `--config` and `--key`: which keys, for every command that works on them.

use std::path::{Path, PathBuf};

use crate::{
    config::{self, Loaded, Settings},
    containers::{self, Keyed},
    escape,
    host::Host,
    keys::{self, Inventory, is_glob},
};

/// Which keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Watch this file, folder or glob as well (may be given several times)
    #[arg(long, value_name = "PATH")]
    pub key: Vec<PathBuf>,
}

impl Selection {
    /// The configuration, with the keys named on the command line.
    ///
    /// # Errors
    /// What is wrong with either, in a sentence.
    pub(super) fn load(&self, host: &Host) -> Result<Loaded, String> {
        let mut loaded = config::load(self.config.as_deref(), host).map_err(|error| error.to_string())?;
        for key in &self.key {
            let path = std::path::absolute(key).map_err(|error| format!("--key {}: {error}", escape::path(key)))?;
            loaded.settings.keys.paths.push(path);
        }
        Ok(loaded)
    }

    /// The first `--key` that can neither be watched nor awaited: neither it nor its folder is there.
    pub(super) fn hopeless(&self) -> Option<String> {
        let is_hopeless = |path: &&PathBuf| {
            let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::exists));
            !is_glob(path) && !path.exists() && folder != Some(true)
        };
        let path = escape::path(self.key.iter().find(is_hopeless)?);
        Some(format!("--key {path}: neither the file nor its folder exists; create it, or correct the path"))
    }
}
/// The keys of a host and of root's containers on it; adds the signers that are expected in those.
pub(super) fn discover_all(settings: &mut Settings, host: &Host) -> Inventory {
    let mut inventory = keys::discover(settings, host);
    if settings.keys.discover {
        let keyed = containers::look(host, &settings.containers).keyed;
        add(&mut inventory, &keyed);
        let signers: Vec<_> = keyed.iter().flat_map(|one| config::in_container(one, &settings.signers)).collect();
        settings.signers.extend(signers);
    }
    inventory
}

/// Adds the keys of ordinary users' containers. The watch does not wait for their homes: it learns of them while it runs.
pub(super) fn add_users(inventory: &mut Inventory, settings: &Settings, host: &Host) {
    if settings.keys.discover {
        add(inventory, &containers::look_at_users(host, &settings.containers).keyed);
    }
}

fn add(inventory: &mut Inventory, keyed: &[Keyed]) {
    let mut left = containers::MOST_KEYS.saturating_sub(inventory.keys.iter().filter(|key| key.contained).count());
    for key in keyed.iter().flat_map(keys::of_container) {
        if left == 0 {
            tracing::error!(most = containers::MOST_KEYS, "containers have more keys than are watched");
            return;
        }
        if !inventory.keys.iter().any(|known| known.path == key.path) {
            inventory.keys.push(key);
            left -= 1;
        }
    }
}
