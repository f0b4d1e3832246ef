//! What is mounted over what is watched.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

/// The system calls that mount, and that take a mount away.
const CALLS: &[&str] = &["sys_exit_mount", "sys_exit_move_mount", "sys_exit_umount2"];

const MOUNTED: Limit = (
    "mounted-over",
    "a mount over a key or its folder, as it is made (what is read there later is seen): this kernel has no way to see it",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => {
            const {
                &[Part::new(programs::SYS_EXIT_MOUNT, Hook::SysExitMount, Attach::Tracepoints("syscalls", CALLS), MOUNTED)]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => &[(
            "mounted-fleeting",
            "a mount over a key in another mount namespace of which no process lives any more when the path is followed, or over a folder further up there; a mount whose path was changed by another thread meanwhile, or that was asked for by a 32-bit system call",
        )],
    }
}
