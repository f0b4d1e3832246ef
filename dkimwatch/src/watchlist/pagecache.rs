//! Whether a file's data is read through the page cache, whose tracepoints see it.

use super::look::Look;

/// File systems whose reads all go through it, or through iomap's direct path, which is seen as well
/// (`include/uapi/linux/magic.h`): ext2 and its kin, XFS, btrfs, F2FS. Others are not known to: tmpfs does not, nor a file system
/// in user space as it likes, and of an overlay only the layers' files do.
const READ_THROUGH: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// Whether it is; where that cannot be found out, it is not.
pub(super) fn is_read_through(found: Option<&Look>, system: Option<u64>) -> bool {
    let known = system.is_some_and(|kind| READ_THROUGH.contains(&kind));
    // Memory that is a disk is read where it is.
    known && found.is_some_and(|found| !found.is_direct())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::watchlist::look::file_system;

    #[test]
    fn what_is_in_memory_alone_is_not() {
        let memory = memfd_create("in-memory", MemfdFlags::CLOEXEC).expect("a file");
        assert!(!is_read_through(Look::at(&memory).ok().as_ref(), file_system(&memory)));
        let process = std::fs::File::open("/proc/self/status").expect("a file");
        assert!(!is_read_through(Look::at(&process).ok().as_ref(), file_system(&process)));
    }
}
