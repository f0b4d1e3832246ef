//! Something is mounted over a key, over its folder, or over a folder that leads to it; or such a mount is taken away.
//!
//! Told is what hides a key from the host: a mount in another namespace (each sandboxed service and each container mounts
//! over half of the tree as it starts) hides it from those within, unless it is shared with the host's. Of such a one it is
//! only remembered where it has a key, see [`elsewhere`].
//!
//! One function gives every mount its place. Where a compiler has made a clone of it that cannot be hooked, what is mounted
//! in the host's namespace is told as its system call ends, and what reaches it from another one as it does so.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_current_task,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    tally::{Exit, Hook},
};

use super::{
    mounted::{self, CHANGES_A_MOUNT, MS_MOVE},
    refused::AT_FDCWD,
};
use crate::{
    call::{self, Registers},
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

/// As above: one that has a place already is moved, and leaves it.
#[fentry(function = "attach_recursive_mnt")]
fn fentry_leave_mount(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Mount, leaves(ctx.arg(0)));
    0
}

#[inline(always)]
fn leaves(mount: Ptr) -> Exit {
    // Without a place, a mount is its own parent.
    if pointer(mount, offset!(mount_mnt_parent)) == mount {
        return Exit::Unrelated;
    }
    match Place::of(mount) {
        Ok(place) => pending::begin(&place.beginning(mount, Deed::Unmount), &place.object),
        Err(exit) => exit,
    }
}

/// As above: the end of that.
#[fexit(function = "attach_recursive_mnt")]
fn fexit_leave_mount(ctx: FExitContext) -> i32 {
    let outcome = outcome(&ctx);
    tally::count(&ctx, Hook::Mount, pending::end_of_mount(ctx.arg(0), Hook::Mount, Deed::Unmount, outcome));
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
    match Place::of(mount) {
        Ok(place) => place.covered(Hook::Mount),
        Err(exit) => exit,
    }
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

#[inline(always)]
fn mounted_at(path: Ptr) -> Exit {
    let mnt = pointer(path, offset!(path_mnt));
    let Some(mount) = last_on(mnt) else { return Exit::Unrelated };
    elsewhere::mounted(root_of(mount), pointer(mount, offset!(mount_mnt_mountpoint)), mnt)
}

/// As above, in the host's namespace, for kernels whose `attach_recursive_mnt` cannot be hooked.
#[fexit(function = "path_mount")]
fn fexit_host_mount(ctx: FExitContext) -> i32 {
    let flags = mounted::what(ctx.arg(3));
    if word!(ctx, 5) as i32 == 0 && flags & CHANGES_A_MOUNT == 0 && elsewhere::is_host() {
        // The registers of a 32-bit call hold something else.
        // SAFETY: a helper without arguments.
        if flags & MS_MOVE != 0 && !call::is_compat(unsafe { bpf_get_current_task() } as Ptr) {
            let source = Registers::current().first();
            tally::count(&ctx, Hook::MoveMount, mounted::tell(Hook::MoveMount, AT_FDCWD, source, Deed::Unmount));
        }
        tally::count(&ctx, Hook::MoveMount, covered_at(ctx.arg(1)));
    }
    0
}

/// The place is what was asked for, as the kernel found it: what else is mounted on the same mount meanwhile does not matter.
#[inline(always)]
fn covered_at(path: Ptr) -> Exit {
    let (entry, mnt) = (pointer(path, offset!(path_dentry)), pointer(path, offset!(path_mnt)));
    let root = match last_on(mnt) {
        Some(mount) if pointer(mount, offset!(mount_mnt_mountpoint)) == entry => root_of(mount),
        _ => core::ptr::null(),
    };
    match Place::at(entry, mnt, root) {
        Ok(place) => place.covered(Hook::MoveMount),
        Err(exit) => exit,
    }
}

/// What was mounted last on a `struct vfsmount *`, as its `struct mount *`; nothing is where something was remounted, or where
/// it was changed how a mount spreads.
#[inline(always)]
fn last_on(mnt: Ptr) -> Option<Ptr> {
    /// `list_head->prev`.
    const PREVIOUS: u32 = 8;
    let (mounts, child) = (offset!(mount_mnt_mounts), offset!(mount_mnt_child));
    if !present(mounts) || !present(child) {
        return None;
    }
    let list = mnt.wrapping_sub(offset!(mount_mnt) as usize).wrapping_add(mounts as usize);
    let last = pointer(list, PREVIOUS);
    if last == list { None } else { Some(last.wrapping_sub(child as usize)) }
}

/// The entry that is the root of a `struct mount *`.
#[inline(always)]
fn root_of(mount: Ptr) -> Ptr {
    pointer(mount, offset!(mount_mnt) + offset!(vfsmount_mnt_root))
}

/// `void mnt_set_mountpoint(struct mount *mnt, struct mountpoint *mp, struct mount *child_mnt)`: a copy of a mount gets its
/// place, as it spreads to where mounts are shared. That it is taken back, as when memory is short, is not looked at.
#[fexit(function = "mnt_set_mountpoint")]
fn fexit_spread_mount(ctx: FExitContext) -> i32 {
    if !elsewhere::is_host() {
        tally::count(&ctx, Hook::Mount, reached(ctx.arg(2)));
    }
    0
}

/// A mount made in another namespace has reached the host's.
#[inline(always)]
fn reached(mount: Ptr) -> Exit {
    let parent = pointer(mount, offset!(mount_mnt_parent));
    let entry = pointer(mount, offset!(mount_mnt_mountpoint));
    if !is_host(parent) {
        return Exit::Unrelated;
    }
    match Place::at(entry, parent.wrapping_add(offset!(mount_mnt) as usize), root_of(mount)) {
        Ok(place) => place.covered(Hook::Mount),
        Err(exit) => exit,
    }
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

/// As above, in the host's namespace, for kernels whose `attach_recursive_mnt` cannot be hooked.
#[fentry(function = "security_move_mount")]
fn fentry_host_move_mount(ctx: FEntryContext) -> i32 {
    if elsewhere::is_host() && !mounted::sets_group(Registers::current()) {
        tally::count(&ctx, Hook::MoveMount, leaves_by(ctx.arg(0)));
        tally::count(&ctx, Hook::MoveMount, moves(ctx.arg(0), ctx.arg(1)));
    }
    0
}

#[inline(always)]
fn moves(from: Ptr, to: Ptr) -> Exit {
    let root = pointer(from, offset!(path_dentry));
    let place = match Place::at(pointer(to, offset!(path_dentry)), pointer(to, offset!(path_mnt)), root) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    pending::begin(&place.beginning(MOVE, Deed::Mount), &place.object)
}

/// What is moved has a place already, if it does not come from nowhere.
#[inline(always)]
fn leaves_by(from: Ptr) -> Exit {
    let mount = pointer(from, offset!(path_mnt)).wrapping_sub(offset!(mount_mnt) as usize);
    if pointer(mount, offset!(mount_mnt_parent)) == mount {
        return Exit::Unrelated;
    }
    match Place::of(mount) {
        Ok(place) => pending::begin_beside(&place.beginning(MOVE, Deed::Unmount), &place.object),
        Err(exit) => exit,
    }
}

/// A thread's move_mount(2), of which it has one at a time.
const MOVE: Ptr = 1 as Ptr;

/// `long __x64_sys_move_mount(const struct pt_regs *regs)`.
#[fexit(function = "__x64_sys_move_mount")]
fn fexit_move_mount(ctx: FExitContext) -> i32 {
    moved(&ctx)
}

/// `long __ia32_sys_move_mount(const struct pt_regs *regs)`: the same, called as a 32-bit program does.
#[fexit(function = "__ia32_sys_move_mount")]
fn fexit_move_mount_32(ctx: FExitContext) -> i32 {
    moved(&ctx)
}

#[inline(always)]
fn moved(ctx: &FExitContext) -> i32 {
    let outcome = word!(ctx, 1) as i32;
    tally::count(ctx, Hook::MoveMount, pending::end_beside(MOVE, Hook::MoveMount, Deed::Unmount, outcome));
    tally::count(ctx, Hook::MoveMount, pending::end_of_mount(MOVE, Hook::MoveMount, Deed::Mount, outcome));
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
    pending::begin(&place.beginning(path, Deed::Unmount), &place.object)
}

/// As above.
#[fexit(function = "path_umount")]
fn fexit_path_umount(ctx: FExitContext) -> i32 {
    let outcome = word!(ctx, 2) as i32;
    tally::count(&ctx, Hook::Mount, pending::end_of_mount(ctx.arg(0), Hook::Mount, Deed::Unmount, outcome));
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
    /// Where a `struct mount *` is.
    #[inline(always)]
    fn of(mount: Ptr) -> Result<Self, Exit> {
        let parent = pointer(mount, offset!(mount_mnt_parent));
        let mnt = parent.wrapping_add(offset!(mount_mnt) as usize);
        let place = Self::at(pointer(mount, offset!(mount_mnt_mountpoint)), mnt, root_of(mount))?;
        if is_seen_by_host(parent) { Ok(place) } else { Err(Exit::FilterMiss) }
    }

    /// At an entry of a `struct vfsmount *`; `root` is the entry that is to be seen there instead, null where that is not
    /// known.
    #[inline(always)]
    fn at(entry: Ptr, mnt: Ptr, root: Ptr) -> Result<Self, Exit> {
        let object = watch::object(entry, true)?;
        // Bound over itself, it hides nothing.
        if !root.is_null() && pointer(root, offset!(dentry_d_inode)) == object.found.inode {
            return Err(Exit::FilterMiss);
        }
        Ok(Self { object, entry, mnt })
    }

    /// Tells that something was mounted there.
    #[inline(always)]
    fn covered(&self, hook: Hook) -> Exit {
        pending::mounted(hook, Deed::Mount, (self.entry, self.mnt), 0, &self.object)
    }

    /// A deed there, whose end is known by `what`.
    #[inline(always)]
    fn beginning(&self, what: Ptr, deed: Deed) -> Beginning {
        let null = core::ptr::null();
        Beginning { what, deed, entry: self.entry, mnt: self.mnt, other: null, renamed: null, shape: 0 }
    }
}

/// Whether what is mounted on a mount is so in the host's namespace.
#[inline(always)]
fn is_seen_by_host(mount: Ptr) -> bool {
    let share = offset!(mount_mnt_share);
    let mut peer = mount;
    let mut looked = 0;
    while looked < limits::PEERS {
        if is_host(peer) {
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

/// Whether a mount is one of the host's namespace.
#[inline(always)]
fn is_host(mount: Ptr) -> bool {
    let host = SETTINGS.get(limits::SETTING_MOUNTS).copied().unwrap_or(0);
    u32_at(pointer(mount, offset!(mount_mnt_ns)), offset!(mnt_ns_inum)) == host
}
