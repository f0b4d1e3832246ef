//! What engines answer at their sockets, where the configuration names these: of containers that their files do not tell enough of.
//! Promise: asked after the disk and never instead of it, only about containers of root's; a time, a size and an owner are asked of a
//! socket, and what it answers is text.

mod containerd;
mod cri;
mod docker;
mod fault;
mod grpc;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

pub use fault::SocketFault;

use super::{Details, Labels, NotFound};
use crate::host::Host;
use socket::Socket;

/// How long one socket is waited for. A look may ask two of them, and has ten seconds in all.
const PATIENCE: Duration = Duration::from_secs(4);

/// The longest answer that is taken, bytes. A container's takes some kilobytes.
const LONGEST: usize = 4 << 20;

/// Sockets of engines, as far as the configuration names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Docker's.
    pub docker: Option<PathBuf>,
    /// Podman's, which speaks as Docker does.
    pub podman: Option<PathBuf>,
    /// containerd's own.
    pub containerd: Option<PathBuf>,
    /// A runtime's for Kubernetes (CRI): of containerd, it is the same one; of CRI-O, its only one.
    pub cri: Option<PathBuf>,
}

/// What is spoken at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Docker,
    Containerd,
    Cri,
}

impl Sockets {
    /// Those that may know a runtime's containers: key, path and speech, in the order in which they are asked.
    fn of(&self, runtime: &str) -> Vec<(&'static str, &Path, Speech)> {
        let docker = ("docker", &self.docker, Speech::Docker);
        let podman = ("podman", &self.podman, Speech::Docker);
        let containerd = ("containerd", &self.containerd, Speech::Containerd);
        let cri = ("cri", &self.cri, Speech::Cri);
        let known = match runtime {
            "docker" => vec![docker],
            "podman" => vec![podman],
            "containerd" => vec![containerd, cri],
            "cri-o" => vec![cri],
            // The kubelet's cgroup does not say which it is, but all of them speak CRI.
            "kubernetes" => vec![cri, containerd],
            _ => Vec::new(),
        };
        known.into_iter().filter_map(|(key, path, speech)| Some((key, path.as_deref()?, speech))).collect()
    }

    /// Whether there is one to ask about a runtime's containers.
    pub(super) fn know(&self, runtime: &str) -> bool {
        !self.of(runtime).is_empty()
    }

    /// Asks about a container until one of them knows it. Blocks for as long as a socket is waited for.
    pub(super) fn find(&self, host: &Host, runtime: &str, id: &str, labels: &Labels) -> Result<Details, NotFound> {
        let mut failed = None;
        for (key, path, speech) in self.of(runtime) {
            match ask(host, path, speech, id, labels) {
                Ok(details) => return Ok(details),
                Err(fault) => {
                    tracing::debug!(key, %fault, "a socket has no details of a container");
                    // One that does not answer tells more than one that does not know.
                    if failed.as_ref().is_none_or(|(_, _, earlier)| *earlier == SocketFault::NoSuchContainer) {
                        failed = Some((key, path, fault));
                    }
                }
            }
        }
        let (key, path, fault) = failed.ok_or(NotFound::Nowhere("the runtime"))?;
        Err(NotFound::Socket { key, path: path.to_owned(), fault })
    }
}

fn ask(host: &Host, path: &Path, speech: Speech, id: &str, labels: &Labels) -> Result<Details, SocketFault> {
    let socket = Socket::open(&host.inside(path))?;
    match speech {
        Speech::Docker => within_time(docker::find(&socket, id, labels)),
        Speech::Containerd => within_time(containerd::find(&socket, id, labels)),
        Speech::Cri => within_time(cri::find(&socket, id, labels)),
    }
}

/// Runs to its end on this thread what waits for a socket.
fn within_time(asking: impl Future<Output = Result<Details, SocketFault>>) -> Result<Details, SocketFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SocketFault::Unreachable(error.to_string()))?;
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, asking).await.unwrap_or(Err(SocketFault::TooLate(PATIENCE))) })
}
