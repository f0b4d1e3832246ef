//! The mount namespace that is the host's.

use std::os::unix::fs::MetadataExt as _;

/// The mount namespace of this process: its inode number, as `ns.inum`. The one of process 1 where it can be read: this
/// process may be in a mount namespace of its own.
pub fn host_mount_namespace() -> u32 {
    ["/proc/1/ns/mnt", "/proc/self/ns/mnt"]
        .iter()
        .find_map(|path| std::fs::metadata(path).ok())
        .and_then(|metadata| u32::try_from(metadata.ino()).ok())
        .unwrap_or(0)
}
