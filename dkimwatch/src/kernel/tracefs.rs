//! tracefs, which syscall tracepoints are attached through.

use std::path::Path;

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::KernelError;

const TRACING: &str = "/sys/kernel/tracing";

/// Whether tracefs is there.
pub(super) fn mounted() -> bool {
    [TRACING, "/sys/kernel/debug/tracing"].iter().any(|folder| Path::new(folder).join("events").is_dir())
}

/// Mounts tracefs where it is missing, in a mount namespace of our own, so that the host's mounts stay as they are.
/// To be called before any thread is started: the namespace is this thread's and its children's.
///
/// # Errors
/// When the namespace or the mount is refused.
pub(super) fn mount_privately() -> Result<(), KernelError> {
    if mounted() {
        return Ok(());
    }
    let attempt = || {
        // SAFETY: a mount namespace of its own; no descriptor table or memory is shared or split.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        // What the host mounts later still arrives here; what we mount does not reach the host.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        mount("tracefs", TRACING, "tracefs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
    };
    attempt().map_err(|errno: rustix::io::Errno| KernelError::Tracefs(errno.into()))
}
