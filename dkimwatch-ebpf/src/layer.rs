//! overlayfs: the file in a layer below that a key on an overlay has its data in, and by which it can be reached around the
//! overlay.
//!
//! An overlay opens and reads that file itself, for whoever uses the key: that is one access, which is told of the overlay's.

use dkimwatch_common::{deed::Deed, identity::FileId, watch::file_watch};

use crate::{
    call::Call,
    maps::LAYERS,
    memory::{Ptr, offset, pointer, u64_at},
    pending, seen,
    subject::Subject,
    watch::{self, Found},
};

/// Whether this is an access to a layer's file that the overlay makes for one that was told.
#[inline(always)]
pub fn is_part(file: Ptr, found: &Found) -> bool {
    if found.watch.kind != file_watch::LAYER {
        return false;
    }
    match user(file, found) {
        Some(user) => pending::is_layered() || seen::has_reached(&Subject::current(), user),
        None => false,
    }
}

/// As [`is_part`], of the page cache, which has no open file: a process that was told to have reached the key reaches nothing
/// new; and a call that reads nothing has the overlay copy the file up.
#[inline(always)]
pub fn is_part_of_call(found: &Found) -> bool {
    if found.watch.kind != file_watch::LAYER {
        return false;
    }
    let subject = Subject::current();
    if let Some(user) = on_overlay(found.file)
        && seen::has_reached(&subject, user)
    {
        return true;
    }
    let call = Call::current(subject.task);
    // open, creat, openat, openat2 (`syscall_64.tbl`).
    let opens = matches!(call.number, 2 | 85 | 257 | 437);
    // A file server in the kernel is no call.
    opens || !matches!(call.deed, Deed::None | Deed::Write | Deed::Changed)
}

/// The overlay's own file of a layer's.
#[inline(always)]
pub fn on_overlay(file: FileId) -> Option<FileId> {
    // SAFETY: a value is only copied out.
    unsafe { LAYERS.get(file) }.copied()
}

/// Of an open file that an overlay made of a layer's: the overlay's file, which is what its user opened.
#[inline(always)]
pub fn user(file: Ptr, found: &Found) -> Option<FileId> {
    /// From here on it is no address but an error's number (`include/linux/err.h`).
    const ERRORS: u64 = 0_u64.wrapping_sub(4095);
    // Until 6.6 it has the path of the overlay's (`open_with_fake_path()`, `backing_file_open()`).
    let named = pointer(pointer(file, offset!(file_dentry)), offset!(dentry_d_inode));
    if named != found.inode {
        return Some(watch::identity(named));
    }
    // Later, and when it copies a file up, it opens by a mount of its own, in no namespace (`clone_private_mount()`,
    // `MNT_NS_INTERNAL`).
    let mount = pointer(file, offset!(file_mnt)).wrapping_sub(offset!(mount_mnt) as usize);
    if u64_at(mount, offset!(mount_mnt_ns)) < ERRORS {
        return None;
    }
    on_overlay(found.file)
}
