//! Devices through which a key can be reached around its file system.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const RAW: Limit = (
    "raw-device",
    "a block device that holds a key, opened to be read around its file system: the hook for it did not attach",
);
const MEMORY: Limit = (
    "memory-device",
    "/dev/mem, /dev/kmem and /proc/kcore: this kernel has none of them, or the hook for one did not attach",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => {
            const {
                &[
                    Part::new(programs::FEXIT_BLKDEV_OPEN, Hook::DeviceOpen, Attach::Fexit("blkdev_open"), RAW),
                    Part::new(programs::FEXIT_OPEN_PORT, Hook::DeviceOpen, Attach::Fexit("open_port"), MEMORY),
                    Part::new(programs::FEXIT_OPEN_KCORE, Hook::DeviceOpen, Attach::Fexit("open_kcore"), MEMORY),
                ]
            }
        }
        // The program on opens sees devices as well.
        Backend::Tracepoint => &[],
    }
}

const PASSTHROUGH: Limit = (
    "device-passthrough",
    "a disk that is read by its own commands (SCSI generic, NVMe passthrough), from the other end of a network, or by what serves it (ublk, a virtual machine's host); a block device that permission bits keep shut; and a key on btrfs that root reads out of the file system's own trees (BTRFS_IOC_TREE_SEARCH, btrfs send)",
);
const FLEETING: Limit = (
    "fleeting-device",
    "a block device that is made of one with a key (device mapper, loop), opened, and gone within milliseconds, before it is looked at; or mounted from a second device over the same blocks, which nobody opens",
);

pub(super) const fn unseen(_backend: Backend) -> &'static [Limit] {
    &[PASSTHROUGH, FLEETING]
}
