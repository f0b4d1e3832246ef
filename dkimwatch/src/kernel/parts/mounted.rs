//! What is mounted over what is watched.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

/// The system calls that mount, and that take a mount away.
const CALLS: &[&str] = &["sys_exit_mount", "sys_exit_move_mount", "sys_exit_umount"];

const MOUNTED: Limit = (
    "mount-over",
    "a mount over a key or its folder, as it is made (what is read there later is seen): this kernel has no way to see it",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => {
            const {
                &[Part::new(
                    programs::SYS_EXIT_MOUNT,
                    Hook::SysExitMount,
                    Attach::Tracepoints("syscalls", CALLS),
                    MOUNTED,
                )]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => &[(
            "mount-elsewhere",
            "a mount over a key that only another mount namespace than the watcher's has (sandboxed services and containers have theirs); one that was asked for by a symbolic link in its last place, or by a path that another thread changed meanwhile or that has more than 1,023 bytes, or that was asked for by a 32-bit system call; and a mount with a key that is moved elsewhere by its descriptor (as mount --move of util-linux 2.39 and later does)",
        )],
    }
}
