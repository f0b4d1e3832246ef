//! Opens.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

/// The system calls that open a file.
const FAMILY: &[&str] =
    &["sys_exit_openat", "sys_exit_openat2", "sys_exit_open", "sys_exit_creat", "sys_exit_open_by_handle_at"];

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm => {
            const { &[Part::essential(programs::LSM_FILE_OPEN, Hook::LsmFileOpen, Attach::Lsm("file_open"))] }
        }
        Backend::Fentry => {
            const { &[Part::essential(programs::FEXIT_FILE_OPEN, Hook::FexitFileOpen, Attach::Fexit("security_file_open"))] }
        }
        Backend::Tracepoint => {
            const { &[Part::essential(programs::SYS_EXIT_OPEN, Hook::SysExitOpen, Attach::Tracepoints("syscalls", FAMILY))] }
        }
    }
}

const PASSED_BY: Limit = (
    "passed-by",
    "on a kernel that preempts itself, a call that comes to a hook while another task on the same CPU has been preempted in that hook's program; how many there were is told (events-lost). The lsm backend's own hooks have no such gap from 6.2 on",
);

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[PASSED_BY],
        Backend::Tracepoint => &[
            PASSED_BY,
            (
                "swapped-descriptor",
                "an open whose descriptor another thread replaces before the system call returns; where the kernel has mm_filemap_* tracepoints the data access is seen all the same",
            ),
        ],
    }
}
