//! Something is mounted over a key, over its folder, or over a folder that leads to it; or such a mount is taken away.
//!
//! Told is what hides a key from the host: a mount in another namespace (each sandboxed service and each container mounts
//! over half of the tree as it starts) hides it from those within, unless it is shared with the host's. Of such a one it is
//! only remembered where it has a key, see [`elsewhere`].

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    tally::{Exit, Hook},
};

use crate::{
    elsewhere,
    maps::SETTINGS,
    memory::{Ptr, offset, pointer, present, u32_at, word},
    pending::{self, Beginning},
    tally,
    watch::{self, Object},
};

/// `int attach_recursive_mnt(struct mount *source_mnt, const struct pinned_mountpoint *dest)`; until 6.17
/// `int attach_recursive_mnt(struct mount *source_mnt, struct mount *top_mnt, struct mountpoint *dest_mp, enum mnt_tree_flags_t flags)`, until 6.5
/// `int attach_recursive_mnt(struct mount *source_mnt, struct mount *dest_mnt, struct mountpoint *dest_mp, bool moving)`: every mount
/// that is made, bound or moved, by whichever system call, gets its place.
#[fexit(function = "attach_recursive_mnt")]
fn fexit_attach_mount(ctx: FExitContext) -> i32 {
    if outcome(&ctx) == 0 {
        tally::count(&ctx, Hook::Mount, attached(ctx.arg(0)));
    }
    0
}

/// What it returned, by either form.
#[inline(always)]
fn outcome(ctx: &FExitContext) -> i32 {
    if present(offset!(pinned_mp)) { word!(ctx, 2) as i32 } else { word!(ctx, 4) as i32 }
}

/// `mount` is where it was put, as the function has set it.
#[inline(always)]
fn attached(mount: Ptr) -> Exit {
    let place = match Place::of(mount) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    pending::mounted(Hook::Mount, Deed::Mount, (place.entry, place.mnt), 0, &place.object)
}

/// `int path_mount(const char *dev_name, const struct path *path, const char *type_page, unsigned long flags, void *data_page)`;
/// until 6.17 `int path_mount(const char *dev_name, struct path *path, const char *type_page, unsigned long flags, void *data_page)`:
/// mount(2), done at `path`.
#[fexit(function = "path_mount")]
fn fexit_path_mount(ctx: FExitContext) -> i32 {
    if word!(ctx, 5) as i32 == 0 {
        tally::count(&ctx, Hook::MoveMount, mounted_at(ctx.arg(1)));
    }
    0
}

/// What was mounted at a path is what was mounted on that path's mount last.
#[inline(always)]
fn mounted_at(path: Ptr) -> Exit {
    /// `list_head->prev`.
    const PREVIOUS: u32 = 8;
    let (mounts, child) = (offset!(mount_mnt_mounts), offset!(mount_mnt_child));
    if !present(mounts) || !present(child) {
        return Exit::Unrelated;
    }
    let mnt = pointer(path, offset!(path_mnt));
    let list = mnt.wrapping_sub(offset!(mount_mnt) as usize).wrapping_add(mounts as usize);
    let last = pointer(list, PREVIOUS);
    // A remount, or a change of how it spreads: nothing is on it.
    if last == list {
        return Exit::Unrelated;
    }
    let mount = last.wrapping_sub(child as usize);
    let root = pointer(mount, offset!(mount_mnt) + offset!(vfsmount_mnt_root));
    elsewhere::mounted(root, pointer(mount, offset!(mount_mnt_mountpoint)), mnt)
}

/// `int security_move_mount(const struct path *from_path, const struct path *to_path)`: move_mount(2), which can be refused yet.
#[fentry(function = "security_move_mount")]
fn fentry_move_mount(ctx: FEntryContext) -> i32 {
    let (from, to): (Ptr, Ptr) = (ctx.arg(0), ctx.arg(1));
    let root = pointer(from, offset!(path_dentry));
    let exit = elsewhere::mounted(root, pointer(to, offset!(path_dentry)), pointer(to, offset!(path_mnt)));
    tally::count(&ctx, Hook::MoveMount, exit);
    0
}

/// `int path_umount(const struct path *path, int flags)`; until 6.17 `int path_umount(struct path *path, int flags)`.
#[fentry(function = "path_umount")]
fn fentry_path_umount(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Mount, detached(ctx.arg(0)));
    0
}

#[inline(always)]
fn detached(path: Ptr) -> Exit {
    let mnt = pointer(path, offset!(path_mnt));
    // Not a mount, but something on it: refused.
    if pointer(path, offset!(path_dentry)) != pointer(mnt, offset!(vfsmount_mnt_root)) {
        return Exit::Unrelated;
    }
    let place = match Place::of(mnt.wrapping_sub(offset!(mount_mnt) as usize)) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    let (deed, null) = (Deed::Unmount, core::ptr::null());
    let (entry, mnt) = (place.entry, place.mnt);
    pending::begin(&Beginning { what: path, deed, entry, mnt, other: null, renamed: null, shape: 0 }, &place.object)
}

/// As above.
#[fexit(function = "path_umount")]
fn fexit_path_umount(ctx: FExitContext) -> i32 {
    let outcome = word!(ctx, 2) as i32;
    tally::count(&ctx, Hook::Mount, pending::end_of_mount(ctx.arg(0), Hook::Mount, outcome));
    0
}

/// Where a mount is that hides something from the host.
struct Place {
    /// What it hides.
    object: Object,
    /// The entry that it is mounted on, and that one's `struct vfsmount *`.
    entry: Ptr,
    mnt: Ptr,
}

impl Place {
    #[inline(always)]
    fn of(mount: Ptr) -> Result<Self, Exit> {
        let entry = pointer(mount, offset!(mount_mnt_mountpoint));
        let object = watch::object(entry, true)?;
        let root = pointer(mount, offset!(mount_mnt) + offset!(vfsmount_mnt_root));
        // Bound over itself, it hides nothing.
        if pointer(root, offset!(dentry_d_inode)) == object.found.inode {
            return Err(Exit::FilterMiss);
        }
        let parent = pointer(mount, offset!(mount_mnt_parent));
        if !is_seen_by_host(parent) {
            return Err(Exit::FilterMiss);
        }
        Ok(Self { object, entry, mnt: parent.wrapping_add(offset!(mount_mnt) as usize) })
    }
}

/// Whether what is mounted on a mount is so in the host's namespace.
#[inline(always)]
fn is_seen_by_host(mount: Ptr) -> bool {
    let host = SETTINGS.get(limits::SETTING_MOUNTS).copied().unwrap_or(0);
    let share = offset!(mount_mnt_share);
    let mut peer = mount;
    let mut looked = 0;
    while looked < limits::PEERS {
        if u32_at(pointer(peer, offset!(mount_mnt_ns)), offset!(mnt_ns_inum)) == host {
            return true;
        }
        // `mnt_share` is a ring of the mounts that share with each other; alone, a mount is its own neighbour.
        peer = pointer(peer, share).wrapping_sub(share as usize);
        if peer == mount {
            return false;
        }
        looked += 1;
    }
    false
}
