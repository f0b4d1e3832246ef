//! Every container that the runtimes' folders know of, running or not.

use std::path::{Path, PathBuf};

use super::{Details, MOST, Seen, Stores, bundle, docker, keys, keys::ContainerKey, lxc, name_users, nspawn, podman};
use crate::host::{Host, LONGEST_TABLE, path_of};

/// A container that has keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Its runtime.
    pub runtime: &'static str,
    /// Its id.
    pub id: String,
    /// An ordinary user's: by his uid. `None`: root's.
    pub owner: Option<u32>,
    /// What is known of it.
    pub details: Details,
    /// Its keys.
    pub keys: Vec<ContainerKey>,
}

impl Keyed {
    /// The container, for people.
    #[must_use]
    pub fn called(&self) -> String {
        let name = self.details.name.as_deref().unwrap_or(&self.id);
        format!("{} container {}", self.runtime, crate::escape::word(name.as_bytes()))
    }
}

/// What a look at all containers gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The containers in which there are keys.
    pub keyed: Vec<Keyed>,
    /// Folders in which something happens when a container comes.
    pub folders: Vec<PathBuf>,
    /// Folders of containers that are on their way: their configuration is still to come, or to be written to its end.
    pub unfinished: Vec<PathBuf>,
}

impl Looked {
    /// What a store of Podman's has. Listed first: what comes meanwhile counts as new among the folders.
    fn take_store(&mut self, host: &Host, stores: &Stores, store: &Path, owner: Option<u32>) {
        let known = podman::all(host, store, &stores.labels);
        self.folders.extend(podman::folders(host, store));
        self.unfinished.extend(podman::unfinished(host, store, &known));
        self.take(host, "podman", owner, known);
    }

    fn take(&mut self, host: &Host, runtime: &'static str, owner: Option<u32>, all: Vec<(String, Details)>) {
        for (id, mut details) in all.into_iter().take(MOST) {
            let keys = keys::of(&details, owner);
            if !keys.is_empty() {
                if owner.is_none() {
                    name_users(&mut details, host, Seen::FromHost, None);
                }
                self.keyed.push(Keyed { runtime, id, owner, details, keys });
            }
        }
    }
}

/// Looks at all containers of root's.
#[must_use]
pub fn look(host: &Host, stores: &Stores) -> Looked {
    let mut looked = Looked::default();
    let known = docker::all(host, &stores.folders, &stores.labels);
    looked.folders.extend(docker::folders(host, &stores.folders));
    looked.unfinished.extend(docker::unfinished(host, &stores.folders, &known));
    looked.take(host, "docker", None, known);
    for store in podman::roots(host, &stores.folders) {
        looked.take_store(host, stores, &store, None);
    }
    looked.take(host, "containerd", None, bundle::all_of_containerd(host, &stores.labels));
    looked.folders.extend(lxc::folders(host));
    looked.take(host, "lxc", None, lxc::all(host, &stores.folders));
    looked.folders.extend(nspawn::folders(host));
    looked.take(host, "systemd-nspawn", None, nspawn::all(host));
    looked.folders.truncate(MOST);
    looked.unfinished.truncate(MOST);
    looked
}

/// Looks at the containers of those users whom the configuration names. May block for as long as the slowest of their homes
/// does, which may lie on a network.
///
/// Only of those: whoever may say which files are keys can have any file of his watched, and any number of them.
#[must_use]
pub fn look_at_users(host: &Host, stores: &Stores) -> Looked {
    let mut looked = Looked::default();
    let host = &host.without_links();
    for (uid, home) in homes(host, &stores.users) {
        let store = home.join(".local/share/containers/storage");
        if host.is_own_folder(&store) {
            looked.take_store(host, stores, &store, Some(uid));
        }
    }
    looked.folders.truncate(MOST);
    looked.unfinished.truncate(MOST);
    looked
}

/// The homes of these users, by `/etc/passwd`.
fn homes(host: &Host, users: &[String]) -> Vec<(u32, PathBuf)> {
    let passwd = host.read(Path::new("/etc/passwd"), LONGEST_TABLE).unwrap_or_default();
    let home = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = str::from_utf8(fields.next()?).ok()?;
        let uid = str::from_utf8(fields.nth(1)?).ok()?.parse().ok().filter(|uid| *uid != 0)?;
        users.iter().any(|user| user == name).then_some(())?;
        let home = path_of(fields.nth(2)?);
        (home.is_absolute() && home != Path::new("/")).then_some((uid, home))
    };
    passwd.split(|byte| *byte == b'\n').filter_map(home).collect()
}
