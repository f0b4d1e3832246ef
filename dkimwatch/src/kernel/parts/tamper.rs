//! Deeds that change a key, its name, or what lies at its path.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const NAMES: Limit = (
    "tamper-names",
    "a key that is deleted, renamed, replaced by a rename or linked: this kernel has no vfs_unlink(), vfs_rename() with struct renamedata (5.12) or vfs_link() that could be hooked",
);
const FOLDER: Limit = (
    "tamper-folder-removed",
    "a folder of keys that is removed, once nothing is left in it: this kernel's compiler has split vfs_rmdir(), and system calls go past the part that could be hooked",
);
const ATTRIBUTES: Limit = (
    "tamper-attributes",
    "a key's mode, owner, size or time stamps that are changed: this kernel has no notify_change() that could be hooked",
);
const XATTR: Limit = (
    "tamper-xattr",
    "an extended attribute of a key that is set or removed: this kernel has no vfs_setxattr() or vfs_removexattr() that could be hooked",
);
const ACL: Limit = (
    "tamper-acl",
    "an access list of a key that is set or removed: vfs_set_acl() or vfs_remove_acl() could not be hooked",
);
const FLAGS: Limit = (
    "inode-flags",
    "a key that is made immutable or append-only, or no longer so (chattr): this kernel has no vfs_fileattr_set() (5.13), each of its file systems does it by itself",
);
const MOUNTS: Limit = (
    "mount-over",
    "a mount over a key or over a folder that leads to it, or its end: this kernel has neither attach_recursive_mnt() nor path_mount(), security_move_mount() and mnt_set_mountpoint() that could be hooked, or no path_umount()",
);
const LEFT: Limit = (
    "mount-moved",
    "a mount with a key that is moved elsewhere by mount(2) with MS_MOVE, where that is a 32-bit call or another thread changed its path meanwhile: this kernel has no attach_recursive_mnt() that could be hooked",
);
const MOVED: Limit = (
    "mount-over-32-bit",
    "a mount that is moved over a key or over a folder that leads to it by a 32-bit system call (move_mount): this kernel has no attach_recursive_mnt() or __ia32_sys_move_mount() that could be hooked",
);
const ELSEWHERE: Limit = (
    "mount-elsewhere",
    "a mount over a key in another mount namespace than the host's, which hides it only from the services or the container in that namespace: each of them mounts over much of the tree as it starts",
);
const EARLY: Limit = (
    "tamper-early-refusal",
    "an attempt to change a key that is refused before it comes to the file: by a folder above it, a read-only mount, a lack of the right to mount, or to make a hard link",
);
const TRUNCATION: Limit = (
    "tamper-truncation",
    "an attempt to truncate a key by its path that is refused: this kernel has no vfs_truncate() that could be hooked",
);

macro_rules! pair {
    ($hook:ident, $function:literal, $entry:ident, $exit:ident, $limit:expr) => {
        [
            // First the end: one without a beginning says nothing, and a beginning without an end stays.
            Part::new(programs::$exit, Hook::$hook, Attach::Fexit($function), $limit),
            Part::new(programs::$entry, Hook::$hook, Attach::Fentry($function), $limit),
        ]
    };
}

const PAIRS: &[[Part; 2]] = &[
    pair!(Unlink, "vfs_unlink", FENTRY_UNLINK, FEXIT_UNLINK, NAMES),
    [
        Part::where_whole(programs::FEXIT_RMDIR, Hook::Unlink, Attach::Fexit("vfs_rmdir"), FOLDER),
        Part::where_whole(programs::FENTRY_RMDIR, Hook::Unlink, Attach::Fentry("vfs_rmdir"), FOLDER),
    ],
    pair!(RenameDone, "vfs_rename", FENTRY_RENAME, FEXIT_RENAME, NAMES),
    pair!(Link, "vfs_link", FENTRY_LINK, FEXIT_LINK, NAMES),
    pair!(NotifyChange, "notify_change", FENTRY_NOTIFY_CHANGE, FEXIT_NOTIFY_CHANGE, ATTRIBUTES),
    pair!(NotifyChange, "vfs_truncate", FENTRY_TRUNCATE, FEXIT_TRUNCATE, TRUNCATION),
    pair!(Xattr, "vfs_setxattr", FENTRY_SETXATTR, FEXIT_SETXATTR, XATTR),
    pair!(Xattr, "vfs_removexattr", FENTRY_REMOVEXATTR, FEXIT_REMOVEXATTR, XATTR),
    [
        Part::where_present(programs::FEXIT_SET_ACL, Hook::Acl, Attach::Fexit("vfs_set_acl"), ACL),
        Part::where_present(programs::FENTRY_SET_ACL, Hook::Acl, Attach::Fentry("vfs_set_acl"), ACL),
    ],
    [
        Part::where_present(programs::FEXIT_REMOVE_ACL, Hook::Acl, Attach::Fexit("vfs_remove_acl"), ACL),
        Part::where_present(programs::FENTRY_REMOVE_ACL, Hook::Acl, Attach::Fentry("vfs_remove_acl"), ACL),
    ],
    pair!(FileAttr, "vfs_fileattr_set", FENTRY_FILEATTR_SET, FEXIT_FILEATTR_SET, FLAGS),
    pair!(Mount, "path_umount", FENTRY_PATH_UMOUNT, FEXIT_PATH_UMOUNT, MOUNTS),
];

macro_rules! otherwise {
    ($new:ident $name:ident, $hook:ident, $attach:ident $function:literal, $limit:expr) => {
        Part::$new(programs::$name, Hook::$hook, Attach::$attach($function), $limit)
            .instead_of(programs::FEXIT_ATTACH_MOUNT)
    };
}

const ATTACHED: &[Part] = &[
    // Where a compiler has made a clone of it, all the others together see the same.
    Part::bare(programs::FEXIT_ATTACH_MOUNT, Hook::Mount, Attach::Fexit("attach_recursive_mnt")),
    Part::new(programs::FEXIT_LEAVE_MOUNT, Hook::Mount, Attach::Fexit("attach_recursive_mnt"), LEFT),
    Part::new(programs::FENTRY_LEAVE_MOUNT, Hook::Mount, Attach::Fentry("attach_recursive_mnt"), LEFT),
    otherwise!(new FEXIT_HOST_MOUNT, MoveMount, Fexit "path_mount", MOUNTS),
    // First the ends, as above.
    otherwise!(new FEXIT_MOVE_MOUNT, MoveMount, Fexit "__x64_sys_move_mount", MOUNTS),
    otherwise!(where_present FEXIT_MOVE_MOUNT_32, MoveMount, Fexit "__ia32_sys_move_mount", MOVED),
    otherwise!(new FENTRY_HOST_MOVE_MOUNT, MoveMount, Fentry "security_move_mount", MOUNTS),
    otherwise!(new FEXIT_SPREAD_MOUNT, Mount, Fexit "mnt_set_mountpoint", MOUNTS),
];

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => PAIRS.as_flattened(),
        Backend::Tracepoint => &[],
    }
}

pub(super) const fn mounts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => ATTACHED,
        Backend::Tracepoint => &[],
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[ELSEWHERE, EARLY],
        Backend::Tracepoint => &[],
    }
}
