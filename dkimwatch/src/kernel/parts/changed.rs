//! Changes of what is watched, by the inode that changes.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

/// The system calls that change a file or its name, each with its number in `dkimwatch-ebpf/src/call.rs`. ioctl(2) is not
/// rare, and is told without its end.
const CALLS: &[&str] = &[
    "sys_exit_unlink",
    "sys_exit_unlinkat",
    "sys_exit_rmdir",
    "sys_exit_rename",
    "sys_exit_renameat",
    "sys_exit_renameat2",
    "sys_exit_link",
    "sys_exit_linkat",
    "sys_exit_chmod",
    "sys_exit_fchmod",
    "sys_exit_fchmodat",
    "sys_exit_fchmodat2",
    "sys_exit_chown",
    "sys_exit_fchown",
    "sys_exit_lchown",
    "sys_exit_fchownat",
    "sys_exit_truncate",
    "sys_exit_ftruncate",
    "sys_exit_fallocate",
    "sys_exit_utime",
    "sys_exit_utimes",
    "sys_exit_futimesat",
    "sys_exit_utimensat",
    "sys_exit_setxattr",
    "sys_exit_lsetxattr",
    "sys_exit_fsetxattr",
    "sys_exit_removexattr",
    "sys_exit_lremovexattr",
    "sys_exit_fremovexattr",
    "sys_exit_setxattrat",
    "sys_exit_removexattrat",
    "sys_exit_file_setattr",
];

const TAMPERING: Limit = (
    "tampering",
    "a key that is deleted, renamed, replaced, linked, cut, or whose attributes are changed: this kernel has neither the tracepoints of change times (6.13) nor the arguments of a system call (5.15), or ext4 is not there",
);
const OTHER_FILE_SYSTEM: Limit = (
    "tampering-elsewhere",
    "a key on another file system than ext4 that is deleted, renamed, replaced, linked, cut, or whose attributes are changed; and extended attributes and inode flags on ext4, too: this kernel has no tracepoints of change times (6.13)",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => {
            const {
                &[
                    Part::new(programs::SYS_EXIT_CHANGE, Hook::InodeDirty, Attach::Tracepoints("syscalls", CALLS), TAMPERING),
                    Part::new(
                        programs::CTIME_SET,
                        Hook::InodeDirty,
                        Attach::BtfTracepoint("inode_set_ctime_to_ts"),
                        OTHER_FILE_SYSTEM,
                    ),
                    Part::new(
                        programs::CTIME_EXCHANGED,
                        Hook::InodeDirty,
                        Attach::BtfTracepoint("ctime_ns_xchg"),
                        OTHER_FILE_SYSTEM,
                    ),
                    Part::new(programs::EXT4_DIRTY, Hook::InodeDirty, Attach::RawTracepoint("ext4_mark_inode_dirty"), TAMPERING)
                        .instead_of(programs::CTIME_EXCHANGED),
                ]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => &[(
            "tampering-refused",
            "a change of a key that was refused, by permission bits, a security module, a flag or a read-only mount: no tracepoint has it",
        )],
    }
}
