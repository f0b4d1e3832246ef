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

/// What is unseen without a way to see an inode change.
const NAMES: Limit = (
    "tamper-names",
    "a key that is deleted, renamed, replaced, linked, or put in place, and a folder above it that is renamed: where this kernel has no tracepoints of change times (6.13) only on ext4, where that is loaded when the watch starts, and not of a link that leads to one",
);
const ATTRIBUTES: Limit = (
    "tamper-attributes",
    "a key that is cut, or whose mode, owner or time stamps are changed: where this kernel has no tracepoints of change times (6.13) only on ext4, where that is loaded when the watch starts",
);
const XATTR: Limit = (
    "tamper-xattr",
    "a key whose extended attributes are changed: this kernel has no tracepoints of change times (6.13)",
);
const ACL: Limit =
    ("tamper-acl", "a key whose access control list is changed: this kernel has no tracepoints of change times (6.13)");
const FLAGS: Limit = (
    "inode-flags",
    "a key whose inode flags (immutable, append-only) are changed: this kernel has no tracepoints of change times (6.13)",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => {
            const {
                const HOOK: Hook = Hook::InodeDirty;
                &[
                    Part::new(programs::SYS_EXIT_CHANGE, HOOK, Attach::Tracepoints("syscalls", CALLS), NAMES)
                        .and(&[ATTRIBUTES, XATTR, ACL, FLAGS]),
                    Part::new(programs::CTIME_SET, HOOK, Attach::BtfTracepoint("inode_set_ctime_to_ts"), NAMES)
                        .and(&[ATTRIBUTES, XATTR, ACL, FLAGS]),
                    Part::new(programs::CTIME_EXCHANGED, HOOK, Attach::BtfTracepoint("ctime_ns_xchg"), NAMES)
                        .and(&[ATTRIBUTES, XATTR, ACL, FLAGS]),
                    Part::new(programs::CTIME_KEPT, HOOK, Attach::BtfTracepoint("ctime_xchg_skip"), NAMES)
                        .and(&[ATTRIBUTES, XATTR, ACL, FLAGS]),
                    Part::new(programs::EXT4_DIRTY, HOOK, Attach::RawTracepoint("ext4_mark_inode_dirty"), NAMES)
                        .and(&[ATTRIBUTES])
                        .instead_of(programs::CTIME_EXCHANGED),
                ]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => &[
            (
                "tamper-kind",
                "what was done to a key through io_uring or by a 32-bit system call is told by its effect, without the other name, and that a folder was renamed (the key's own or one above) only where it is still away 20 milliseconds later; a change that was refused there is not told, and elsewhere only where the path as it was asked for leads to the key a moment later; a file that is put where there was none (a new key) by a path that has more than 511 bytes, or that another thread changed meanwhile; what is done to the names of keys on file systems that keep no change times themselves (FUSE and those of the network)",
            ),
            (
                "layer-tampering",
                "a change to a key on an overlay that is made around it, in a layer below: what the overlay itself does there looks the same; and a key that somebody's own overlay of that layer copies up, as it is opened there for writing",
            ),
            (
                "tamper-early-refusal",
                "a refused attempt to give a key's name to another file, and one by a path that another thread changed meanwhile",
            ),
        ],
    }
}
