//! A name is taken, given or changed, or an inode's attributes are: the functions that every way to do so goes through
//! (system calls, io_uring, a layered file system, a file server in the kernel).

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use dkimwatch_common::{
    deed::Deed,
    tally::{Exit, Hook},
};

use crate::{
    memory::{IDMAP, Memory, Probed, Ptr, constant, offset, pointer, present, u32_at, word},
    pending::{self, BY_DESCRIPTOR, Beginning, EXCHANGES, OTHER_WAS_NAMED, WAS_NAMED},
    tally,
    watch::{self, Object},
};

/// An argument of a function that since 5.12 takes a mount's id map before it.
macro_rules! behind_idmap {
    ($ctx:expr, $index:literal) => {
        if constant(&raw const IDMAP) == 1 { word!($ctx, $index + 1) as Ptr } else { word!($ctx, $index) as Ptr }
    };
}

/// What a function returned that has so many arguments, and one more where it takes an id map.
macro_rules! result {
    ($ctx:expr, $arguments:literal) => {
        if constant(&raw const IDMAP) == 1 {
            word!($ctx, $arguments + 1) as i32
        } else {
            word!($ctx, $arguments) as i32
        }
    };
}

/// A deed to what an entry names.
#[inline(always)]
fn to(entry: Ptr, deed: Deed, shape: u32) -> Exit {
    let null = core::ptr::null();
    match watch::object(entry, false) {
        Ok(object) => pending::begin(
            &Beginning { what: entry, deed, entry, mnt: null, other: null, renamed: null, shape },
            &object,
        ),
        Err(exit) => exit,
    }
}

/// `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`; since
/// 6.19 `int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct delegated_inode *delegated_inode)`, until 6.2
/// `int vfs_unlink(struct user_namespace *mnt_userns, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`, until 5.11
/// `int vfs_unlink(struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)`.
#[fentry(function = "vfs_unlink")]
fn fentry_unlink(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Unlink, to(behind_idmap!(ctx, 1), Deed::Unlink, 0));
    0
}

/// As above.
#[fexit(function = "vfs_unlink")]
fn fexit_unlink(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 1), Hook::Unlink, result!(ctx, 3), core::ptr::null());
    tally::count(&ctx, Hook::Unlink, exit);
    0
}

/// `int vfs_rmdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry)`; since 6.19
/// `int vfs_rmdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct delegated_inode *delegated_inode)`, until 6.2
/// `int vfs_rmdir(struct user_namespace *mnt_userns, struct inode *dir, struct dentry *dentry)`, until 5.11
/// `int vfs_rmdir(struct inode *dir, struct dentry *dentry)`.
#[fentry(function = "vfs_rmdir")]
fn fentry_rmdir(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Unlink, to(behind_idmap!(ctx, 1), Deed::Unlink, 0));
    0
}

/// As above.
#[fexit(function = "vfs_rmdir")]
fn fexit_rmdir(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 1), Hook::Unlink, removed(&ctx), core::ptr::null());
    tally::count(&ctx, Hook::Unlink, exit);
    0
}

/// What `vfs_rmdir()` returned, which can break a lease since 6.19, as `vfs_unlink()` always could.
#[inline(always)]
fn removed(ctx: &FExitContext) -> i32 {
    if present(offset!(delegated_inode)) { word!(ctx, 4) as i32 } else { result!(ctx, 2) }
}

/// `int vfs_rename(struct renamedata *rd)`, 5.12 and stable kernels before.
#[fentry(function = "vfs_rename")]
fn fentry_rename(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::RenameDone, renamed(ctx.arg(0)));
    0
}

#[inline(always)]
fn renamed(data: Ptr) -> Exit {
    const RENAME_EXCHANGE: u32 = 1 << 1;
    let (old_at, new_at, flags_at) = (offset!(rename_old_dentry), offset!(rename_new_dentry), offset!(rename_flags));
    if !(present(old_at) && present(new_at) && present(flags_at)) {
        return Exit::Unrelated;
    }
    let (old, new) = (pointer(data, old_at), pointer(data, new_at));
    let exchanges = u32_at(data, flags_at) & RENAME_EXCHANGE != 0;
    let inode = pointer(old, offset!(dentry_d_inode));
    let same = inode == pointer(new, offset!(dentry_d_inode));
    let (what, mnt) = (data, core::ptr::null());
    let plain = Beginning { what, deed: Deed::Rename, entry: old, mnt, other: new, renamed: old, shape: 0 };
    // What weighs more is told: each is weighed where it is found, as the verifier of 5.10 minds a look at what may not be there.
    let (mut begun, mut weight) = (Err(Exit::Unrelated), 0);
    if !same {
        begun = watch::object(new, exchanges);
        weight = weighed(&begun);
    }
    let replaced = !exchanges && stands(&begun);
    let (mut moved, mut other_weight) = (Err(Exit::Unrelated), 0);
    if !replaced {
        moved = watch::object(old, true);
        other_weight = weighed(&moved);
    }
    // What has the number of a former key can become one by the name that it gets.
    if !replaced && !stands(&begun) && !stands(&moved) {
        let placed = watch::placed_at(inode, new);
        if let Ok(object) = placed {
            let place = Beginning { deed: Deed::Place, entry: new, other: old, shape: OTHER_WAS_NAMED, ..plain };
            return pending::begin(&place, &object);
        }
    }
    // What has the new name is replaced, or gets the old one. Of two things that change places, a folder is told: what lies in it goes
    // with it. And a key rather than what lies beside keys, which may be a public record.
    let outweighs = exchanges && weight > other_weight;
    let (beginning, object) = match (begun, moved) {
        (Ok(object), _) if outweighs => {
            (Beginning { deed: Deed::Exchange, entry: new, other: old, shape: EXCHANGES, ..plain }, object)
        }
        (_, Ok(object)) if exchanges => (Beginning { deed: Deed::Exchange, shape: EXCHANGES, ..plain }, object),
        (_, Ok(object)) => (Beginning { shape: WAS_NAMED, ..plain }, object),
        (Ok(object), Err(_)) if exchanges => {
            (Beginning { deed: Deed::Exchange, entry: new, other: old, shape: EXCHANGES, ..plain }, object)
        }
        (Ok(object), Err(_)) => {
            (Beginning { deed: Deed::Replace, entry: new, other: old, shape: OTHER_WAS_NAMED, ..plain }, object)
        }
        (Err(_), Err(exit)) => return exit,
    };
    pending::begin(&beginning, &object)
}

/// Its weight, zero for nothing.
#[inline(always)]
fn weighed(object: &Result<Object, Exit>) -> u32 {
    match object {
        Ok(object) => 1 + object.weight(),
        Err(_) => 0,
    }
}

/// Whether it is watched, and surely the file that was enrolled.
#[inline(always)]
fn stands(object: &Result<Object, Exit>) -> bool {
    match object {
        Ok(object) => !object.is_another(),
        Err(_) => false,
    }
}

/// As above.
#[fexit(function = "vfs_rename")]
fn fexit_rename(ctx: FExitContext) -> i32 {
    let exit = pending::end(ctx.arg(0), Hook::RenameDone, word!(ctx, 1) as i32, core::ptr::null());
    tally::count(&ctx, Hook::RenameDone, exit);
    0
}

/// `int vfs_link(struct dentry *old_dentry, struct mnt_idmap *idmap, struct inode *dir, struct dentry *new_dentry, struct inode **delegated_inode)`;
/// since 6.19 `int vfs_link(struct dentry *old_dentry, struct mnt_idmap *idmap, struct inode *dir, struct dentry *new_dentry, struct delegated_inode *delegated_inode)`,
/// until 6.2 `int vfs_link(struct dentry *old_dentry, struct user_namespace *mnt_userns, struct inode *dir, struct dentry *new_dentry, struct inode **delegated_inode)`,
/// until 5.11 `int vfs_link(struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry, struct inode **delegated_inode)`.
#[fentry(function = "vfs_link")]
fn fentry_link(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Link, linked(ctx.arg(0), behind_idmap!(ctx, 2)));
    0
}

#[inline(always)]
fn linked(old: Ptr, new: Ptr) -> Exit {
    let null = core::ptr::null();
    let inode = pointer(old, offset!(dentry_d_inode));
    let link = Beginning { what: new, deed: Deed::Link, entry: old, mnt: null, other: new, renamed: null, shape: 0 };
    let place = Beginning { deed: Deed::Place, entry: new, other: old, ..link };
    // A file that had no name (`O_TMPFILE`) gets its first.
    let has_name = u32_at(inode, offset!(inode_i_nlink)) != 0;
    let known = watch::object(old, false);
    // What has the number of a former key can become one by the name that it gets.
    if !stands(&known) {
        let placed = watch::placed_at(inode, new);
        if let Ok(object) = placed {
            return pending::begin(&place, &object);
        }
    }
    match known {
        Ok(object) if has_name => pending::begin(&link, &object),
        Ok(object) => pending::begin(&place, &object),
        Err(exit) => exit,
    }
}

/// As above.
#[fexit(function = "vfs_link")]
fn fexit_link(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 2), Hook::Link, result!(ctx, 4), core::ptr::null());
    tally::count(&ctx, Hook::Link, exit);
    0
}

/// `int notify_change(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr, struct inode **delegated_inode)`; since
/// 6.19 `int notify_change(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr, struct delegated_inode *delegated_inode)`, until 6.2
/// `int notify_change(struct user_namespace *mnt_userns, struct dentry *dentry, struct iattr *attr, struct inode **delegated_inode)`, until 5.11
/// `int notify_change(struct dentry *dentry, struct iattr *attr, struct inode **delegated_inode)`: mode, owner, size, times.
#[fentry(function = "notify_change")]
fn fentry_notify_change(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::NotifyChange, changed(behind_idmap!(ctx, 0), behind_idmap!(ctx, 1)));
    0
}

#[inline(always)]
fn changed(entry: Ptr, attributes: Ptr) -> Exit {
    /// `include/linux/fs.h`.
    const ATTR_MODE: u32 = 1 << 0;
    const ATTR_UID: u32 = 1 << 1;
    const ATTR_GID: u32 = 1 << 2;
    const ATTR_SIZE: u32 = 1 << 3;
    const ATTR_ATIME: u32 = 1 << 4;
    const ATTR_MTIME: u32 = 1 << 5;
    const ATTR_FILE: u32 = 1 << 13;
    const ATTR_OPEN: u32 = 1 << 15;
    let valid = u32_at(attributes, offset!(iattr_valid));
    let deed = if valid & ATTR_MODE != 0 {
        Deed::Mode
    } else if valid & (ATTR_UID | ATTR_GID) != 0 {
        Deed::Owner
    } else if valid & ATTR_SIZE != 0 {
        // `O_TRUNC`: the open was told.
        if valid & ATTR_OPEN != 0 {
            return Exit::Unrelated;
        }
        Deed::Size
    } else if valid & (ATTR_ATIME | ATTR_MTIME) != 0 {
        Deed::Times
    } else {
        return Exit::Unrelated;
    };
    let object = match watch::object(entry, false) {
        Ok(object) => object,
        Err(exit) => return exit,
    };
    // A folder's times change with every file in it.
    if object.is_folder && deed as u32 == Deed::Times as u32 {
        return Exit::FilterMiss;
    }
    let shape = if valid & ATTR_FILE != 0 { BY_DESCRIPTOR } else { 0 };
    let null = core::ptr::null();
    pending::begin(&Beginning { what: entry, deed, entry, mnt: null, other: null, renamed: null, shape }, &object)
}

/// As above.
#[fexit(function = "notify_change")]
fn fexit_notify_change(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 0), Hook::NotifyChange, result!(ctx, 3), core::ptr::null());
    tally::count(&ctx, Hook::NotifyChange, exit);
    0
}

/// `int vfs_truncate(const struct path *path, loff_t length)`; until 6.17 at the latest
/// `long vfs_truncate(const struct path *path, loff_t length)`: truncate(2), which can be refused before `notify_change()` is
/// called. What is not has its end there.
#[fentry(function = "vfs_truncate")]
fn fentry_truncate(ctx: FEntryContext) -> i32 {
    let entry = pointer(ctx.arg(0), offset!(path_dentry));
    tally::count(&ctx, Hook::NotifyChange, to(entry, Deed::Size, 0));
    0
}

/// As above.
#[fexit(function = "vfs_truncate")]
fn fexit_truncate(ctx: FExitContext) -> i32 {
    let entry = pointer(ctx.arg(0), offset!(path_dentry));
    let exit = pending::end(entry, Hook::NotifyChange, word!(ctx, 2) as i32, core::ptr::null());
    tally::count(&ctx, Hook::NotifyChange, exit);
    0
}

/// An access list as an extended attribute, or another attribute, of which a folder may have what it likes.
#[inline(always)]
fn attribute(entry: Ptr, name: Ptr) -> Exit {
    // SAFETY: integers.
    let word = unsafe { (Probed::read::<u64>(name, 0), Probed::read::<u64>(name, 8)) };
    let is_acl = word == (u64::from_le_bytes(*b"system.p"), u64::from_le_bytes(*b"osix_acl"));
    let object = match watch::object(entry, false) {
        Ok(object) => object,
        Err(exit) => return exit,
    };
    if object.is_folder && !is_acl {
        return Exit::FilterMiss;
    }
    let deed = if is_acl { Deed::Acl } else { Deed::Xattr };
    let null = core::ptr::null();
    pending::begin(&Beginning { what: entry, deed, entry, mnt: null, other: null, renamed: null, shape: 0 }, &object)
}

/// `int vfs_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`; until 6.2
/// `int vfs_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`,
/// until 5.11 `int vfs_setxattr(struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`.
#[fentry(function = "vfs_setxattr")]
fn fentry_setxattr(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Xattr, attribute(behind_idmap!(ctx, 0), behind_idmap!(ctx, 1)));
    0
}

/// As above.
#[fexit(function = "vfs_setxattr")]
fn fexit_setxattr(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 0), Hook::Xattr, result!(ctx, 5), behind_idmap!(ctx, 1));
    tally::count(&ctx, Hook::Xattr, exit);
    0
}

/// `int vfs_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)`; until 6.2
/// `int vfs_removexattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name)`, until 5.11
/// `int vfs_removexattr(struct dentry *dentry, const char *name)`.
#[fentry(function = "vfs_removexattr")]
fn fentry_removexattr(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Xattr, attribute(behind_idmap!(ctx, 0), behind_idmap!(ctx, 1)));
    0
}

/// As above.
#[fexit(function = "vfs_removexattr")]
fn fexit_removexattr(ctx: FExitContext) -> i32 {
    let exit = pending::end(behind_idmap!(ctx, 0), Hook::Xattr, result!(ctx, 2), behind_idmap!(ctx, 1));
    tally::count(&ctx, Hook::Xattr, exit);
    0
}

/// `int vfs_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name, struct posix_acl *kacl)`, 6.2 and later;
/// before, access lists were extended attributes like others.
#[fentry(function = "vfs_set_acl")]
fn fentry_set_acl(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Acl, to(ctx.arg(1), Deed::Acl, 0));
    0
}

/// As above.
#[fexit(function = "vfs_set_acl")]
fn fexit_set_acl(ctx: FExitContext) -> i32 {
    tally::count(&ctx, Hook::Acl, pending::end(ctx.arg(1), Hook::Acl, word!(ctx, 4) as i32, ctx.arg(2)));
    0
}

/// `int vfs_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)`, 6.2 and later.
#[fentry(function = "vfs_remove_acl")]
fn fentry_remove_acl(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Acl, to(ctx.arg(1), Deed::Acl, 0));
    0
}

/// As above.
#[fexit(function = "vfs_remove_acl")]
fn fexit_remove_acl(ctx: FExitContext) -> i32 {
    tally::count(&ctx, Hook::Acl, pending::end(ctx.arg(1), Hook::Acl, word!(ctx, 3) as i32, ctx.arg(2)));
    0
}

/// `int vfs_fileattr_set(struct mnt_idmap *idmap, struct dentry *dentry, struct file_kattr *fa)`, 5.13 and later; until 6.17
/// `int vfs_fileattr_set(struct mnt_idmap *idmap, struct dentry *dentry, struct fileattr *fa)`, until 6.2
/// `int vfs_fileattr_set(struct user_namespace *mnt_userns, struct dentry *dentry, struct fileattr *fa)`.
#[fentry(function = "vfs_fileattr_set")]
fn fentry_fileattr_set(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::FileAttr, to(ctx.arg(1), Deed::Flags, 0));
    0
}

/// As above.
#[fexit(function = "vfs_fileattr_set")]
fn fexit_fileattr_set(ctx: FExitContext) -> i32 {
    let exit = pending::end(ctx.arg(1), Hook::FileAttr, word!(ctx, 3) as i32, core::ptr::null());
    tally::count(&ctx, Hook::FileAttr, exit);
    0
}
