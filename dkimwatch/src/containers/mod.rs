//! What is known of a container beside its id: its name, image, pod, mounts and users, from what its runtime keeps on disk, and from
//! its socket where one is named.
//! Promise: an alert waits for none of it but a moment ([`Enricher`]); what lies in a container is never trusted.

mod all;
mod bundle;
mod details;
mod docker;
mod enricher;
mod json;
mod keys;
mod labels;
mod lxc;
mod nspawn;
mod podman;
mod root;
mod scout;
mod sockets;

use std::path::{Path, PathBuf};

pub use all::{Keyed, Looked, look, look_at_users};
pub use details::{Details, Enrichment, Image, Mount};
pub use enricher::{Enricher, Name};
pub use keys::ContainerKey;
pub use labels::{LABELS, Labels};
pub use root::Root;
pub use scout::Scout;
pub use sockets::{SocketFault, Sockets};

use crate::{
    attribute::{Container, is_alive},
    host::Host,
};

/// Keys of containers that are watched together, those of the start included: a container with many folders of keys must neither
/// fill the kernel side's tables nor keep the watch from starting.
pub const MOST_KEYS: usize = 1_024;

/// Containers of one store that are looked at.
const MOST: usize = 4_096;

/// Where containers are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Folders of Docker (`data-root`), stores of Podman (`graphroot`) and of LXC (`lxc.lxcpath`) beside those that are known.
    pub folders: Vec<PathBuf>,
    /// Ordinary users whose containers are looked at for keys.
    pub users: Vec<String>,
    /// Which labels are kept.
    pub labels: Labels,
    /// Sockets that are asked about containers that the disk does not tell enough of.
    pub sockets: Sockets,
}

/// Why nothing was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No folder of its runtime has it: name the folder in `containers.stores`, or the socket in `containers.sockets`.
    #[error(
        "no folder of {0}'s that is known here has this container: if it keeps its data elsewhere, name that in containers.stores, \
         or its socket in containers.sockets"
    )]
    Nowhere(&'static str),
    /// A file of the runtime's that should say more.
    #[error("{path} {why}", path = crate::escape::path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, behind its name.
        why: String,
    },
    /// A socket that was asked behind the disk.
    #[error("the socket {path} (containers.sockets.{key}) {fault}", path = crate::escape::path(path))]
    Socket {
        /// Its key in the configuration.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong, and what to do.
        fault: SocketFault,
    },
    /// No answer in time; a disk that hangs.
    #[error("no answer within {0:?}")]
    TooLate(std::time::Duration),
}

/// A process in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// Its number.
    pub pid: u32,
    /// When it started, nanoseconds since boot.
    pub start_ns: u64,
}

impl Within {
    /// Its root, while it lives.
    fn root(self) -> Option<Root> {
        let root = Root::of_process(self.pid)?;
        // Asked behind it: a pid that was reused meanwhile is another process's.
        is_alive(self.pid, self.start_ns).then_some(root)
    }
}

/// Looks for a container's details. May block for as long as a disk does, and for as long as its sockets are waited for.
///
/// # Errors
/// There are none, see [`NotFound`].
pub fn find(host: &Host, stores: &Stores, container: &Container, within: Within) -> Result<Details, NotFound> {
    let on_disk = on_disk(host, stores, container);
    let tells_enough =
        on_disk.as_ref().is_ok_and(|found| found.image.as_ref().is_some_and(|image| image.name.is_some()));
    if tells_enough || container.forgeable || !stores.sockets.know(container.runtime) {
        return on_disk.map(|found| with_users(host, found, container, within));
    }
    // Before the socket is asked: the process may have ended by the time it answers.
    let found = with_users(host, on_disk.as_ref().cloned().unwrap_or_default(), container, within);
    match (stores.sockets.find(host, container.runtime, &container.id, &stores.labels), on_disk) {
        (Ok(told), _) => Ok(with_users(host, found.completed_by(told), container, within)),
        (Err(error), Ok(_)) => {
            tracing::warn!(container = container.id, %error, "a container is told by its runtime's files alone");
            Ok(found)
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// What the runtime's own files say.
fn on_disk(host: &Host, stores: &Stores, container: &Container) -> Result<Details, NotFound> {
    let (id, folders, labels) = (container.id.as_str(), stores.folders.as_slice(), &stores.labels);
    let found = if container.forgeable {
        // A user's own, or another container's: what that one says of itself is as good as its name.
        users_own(&host.without_links(), container, labels)?
    } else {
        match container.runtime {
            "docker" => docker::find(host, folders, id, labels)?,
            "podman" | "cri-o" => podman::find(host, folders, id, labels)?,
            "containerd" => bundle::of_containerd(host, id, labels)?,
            // The kubelet's cgroup does not say which it is.
            "kubernetes" => match bundle::of_containerd(host, id, labels)? {
                None => match podman::find(host, folders, id, labels)? {
                    None => docker::find(host, folders, id, labels)?,
                    found => found,
                },
                found => found,
            },
            "runc" | "crun" => bundle::of_runtime(host, id, labels)?,
            // Their ids are the names that they were given; there is no image.
            runtime => {
                let found = if runtime == "lxc" { lxc::find(host, folders, id)? } else { nspawn::find(host, id)? };
                Some(found.unwrap_or_else(|| Details { name: Some(container.id.clone()), ..Details::default() }))
            }
        }
    };
    found.ok_or(NotFound::Nowhere(container.runtime))
}

/// These details with the names of the users within, as far as a root can be had.
fn with_users(host: &Host, mut found: Details, container: &Container, within: Within) -> Details {
    name_users(&mut found, host, if container.forgeable { Seen::FromWithin } else { Seen::FromHost }, Some(within));
    found
}

/// Whose view of a container's root is asked first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The host's, where an engine of root's mounted it.
    FromHost,
    /// Its own process's: a user says where his is mounted.
    FromWithin,
}

/// Adds the names that its own tables give to its users and groups.
fn name_users(found: &mut Details, host: &Host, seen: Seen, within: Option<Within>) {
    // Where the store lies behind a link, as on many a host; what is behind it is opened by no link.
    found.root = found.root.take().filter(|root| root.is_absolute());
    let merged = found.root.as_ref().and_then(|root| host.inside(root).canonicalize().ok());
    let first = merged.as_deref().and_then(Root::at).filter(|_| seen == Seen::FromHost);
    let root = first.or_else(|| within?.root()).or_else(|| merged.as_deref().and_then(Root::at));
    if let Some(root) = root {
        (found.users, found.groups) = root.names();
    }
}

/// A container of a user's own engine, by the folder that its monitor's command line names.
fn users_own(host: &Host, container: &Container, labels: &Labels) -> Result<Option<Details>, NotFound> {
    let Some(bundle) = container.bundle.as_deref() else { return Ok(None) };
    // STORE/DRIVER-containers/ID/userdata.
    let store = bundle.ancestors().nth(3).unwrap_or(Path::new("/"));
    match podman::in_store(host, store, &container.id, labels)? {
        Some(found) => Ok(Some(found)),
        None => bundle::read_at(host, bundle, labels),
    }
}
