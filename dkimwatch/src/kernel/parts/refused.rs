//! Opens that were refused.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

/// The system calls that open a file by its path.
const BY_PATH: &[&str] = &["sys_exit_openat", "sys_exit_openat2", "sys_exit_open", "sys_exit_creat"];

const REFUSED: Limit = (
    "refused-open",
    "an open that permission bits, or a security module that is asked first, refuse: this kernel has no way to see it",
);
const FLEETING: Limit = (
    "refused-fleeting",
    "an open that is refused in another mount namespace, of which no process lives any more when the path is followed; lsm and fentry see it all the same where the key itself refuses, a folder above it, or one above a place that it was mounted at in that namespace itself",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => {
            const {
                &[
                    Part::new(programs::FEXIT_PATH_OPENAT, Hook::OpenRefused, Attach::Fexit("path_openat"), REFUSED),
                    Part::new(programs::FEXIT_PATH_MOUNT, Hook::MoveMount, Attach::Fexit("path_mount"), FLEETING),
                    Part::new(
                        programs::FENTRY_MOVE_MOUNT,
                        Hook::MoveMount,
                        Attach::Fentry("security_move_mount"),
                        FLEETING,
                    ),
                ]
            }
        }
        Backend::Tracepoint => {
            const {
                &[Part::new(
                    programs::SYS_EXIT_REFUSED,
                    Hook::SysExitRefused,
                    Attach::Tracepoints("syscalls", BY_PATH),
                    REFUSED,
                )]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[FLEETING],
        Backend::Tracepoint => &[
            FLEETING,
            (
                "refused-io-uring",
                "an open that was refused through io_uring, by a 32-bit system call or by a file handle: no tracepoint has its path; nor is one that was asked for by a path of more than 1,022 bytes understood",
            ),
        ],
    }
}
