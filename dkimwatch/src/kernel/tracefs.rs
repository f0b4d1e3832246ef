//! tracefs, which syscall tracepoints are attached through.

use std::path::Path;

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::KernelError;

const TRACING: &str = "/sys/kernel/tracing";

/// Whether tracefs is there.
fn mounted() -> bool {
    [TRACING, "/sys/kernel/debug/tracing"].iter().any(|folder| Path::new(folder).join("events").is_dir())
}

/// Runs what needs tracefs. Where it is missing, on a thread with a mount namespace of its own, where it is mounted: the
/// host's mounts stay as they are, and this process stays among them, so that it learns of those to come.
///
/// # Errors
/// When the namespace or the mount is refused.
pub(super) fn within<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
    if mounted() {
        return Ok(body());
    }
    let alone = std::thread::scope(|scope| {
        scope.spawn(|| mount_privately().map(|()| body())).join().map_err(|_| std::io::ErrorKind::Other.into())
    });
    alone.and_then(|done| done.map_err(Into::into)).map_err(KernelError::Tracefs)
}

/// In a mount namespace of this thread's own, which ends with it.
fn mount_privately() -> rustix::io::Result<()> {
    // SAFETY: no descriptor table or memory is shared or split; the thread's view of the file system is its own after this.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What we mount does not reach the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    mount("tracefs", TRACING, "tracefs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
}
