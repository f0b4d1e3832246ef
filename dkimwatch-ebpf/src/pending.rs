//! A deed between its beginning and its end: what it is done to, and how that was before.
//!
//! A function is looked at when it is entered, as names and attributes are then still those of before, and when it returns,
//! as only then it is known whether it did it. What is known by then is kept by thread. On a layered file system the deed to
//! the upper file is one with the deed to the file that was named, and only that one is told.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits::{NAME, PENDING_NS},
    record::{Kind, RawAttributes, RawChange, fact, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, file_watch},
};

use crate::{
    attributes, emit, itself,
    maps::PENDING,
    memory::{Ptr, copy_str, offset, pointer, u64_at},
    seen,
    watch::{self, Found, Object},
};

/// A deed that is being done.
#[repr(C)]
pub struct Pending {
    /// When it began.
    at: u64,
    /// What its function was called with: by which its end knows it.
    what: u64,
    /// What it is done to.
    inode: u64,
    /// The entry that names it, and its mount where that is known.
    entry: u64,
    mnt: u64,
    /// The other entry, of a deed that has two.
    other: u64,
    /// The folder of the entry that gets another name, which was `name`.
    folder: u64,
    file: FileId,
    dir: FileId,
    watch: FileWatch,
    before: RawAttributes,
    deed: u32,
    /// [`LAYERED`] and the like.
    shape: u32,
    is_folder: u32,
    pad: u32,
    name: [u8; NAME],
}

/// It is done on a layered file system: what the thread does to another file meanwhile is a part of it.
const LAYERED: u32 = 1;
/// Where it is done, the path is that of `name` in `folder`.
pub const WAS_NAMED: u32 = 2;
/// Where it is done, the other path is that of `name` in `folder`.
pub const OTHER_WAS_NAMED: u32 = 4;
/// Where it is done, the two entries have changed places.
pub const EXCHANGES: u32 = 8;
/// It is done through a descriptor.
pub const BY_DESCRIPTOR: u32 = 16;

/// Read-only memory: too much for the stack.
static NOTHING: Pending = Pending {
    at: 0,
    what: 0,
    inode: 0,
    entry: 0,
    mnt: 0,
    other: 0,
    folder: 0,
    file: FileId::new(0, 0),
    dir: FileId::new(0, 0),
    watch: FileWatch { tag: 0, kind: file_watch::NONE, generation: 0, pad: 0 },
    before: RawAttributes { size: 0, mode: 0, uid: 0, gid: 0, nlink: 0, flags: 0, pad: 0 },
    deed: 0,
    shape: 0,
    is_folder: 0,
    pad: 0,
    name: [0; NAME],
};

/// A deed begins.
pub struct Beginning {
    /// What its function is called with.
    pub what: Ptr,
    /// What it is.
    pub deed: Deed,
    /// The entry that names what it is done to.
    pub entry: Ptr,
    /// Its mount, where that is known, else null.
    pub mnt: Ptr,
    /// The other entry, or null.
    pub other: Ptr,
    /// The entry that will have another name, or null.
    pub renamed: Ptr,
    /// [`WAS_NAMED`] and the like.
    pub shape: u32,
}

/// Keeps it until its end.
#[inline(always)]
pub fn begin(beginning: &Beginning, object: &Object) -> Exit {
    begin_as(thread(), beginning, object)
}

/// The current thread, by which what it does is kept.
#[inline(always)]
fn thread() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_pid_tgid() }
}

/// The same for what it does beside that: a mount that is moved is taken from one place, and put in another. No process has a number
/// of 31 bits.
#[inline(always)]
fn beside() -> u64 {
    thread() | 1 << 63
}

/// Keeps what is done beside another deed until their end.
#[inline(always)]
pub fn begin_beside(beginning: &Beginning, object: &Object) -> Exit {
    begin_as(beside(), beginning, object)
}

#[inline(always)]
fn begin_as(thread: u64, beginning: &Beginning, object: &Object) -> Exit {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if is_layered() {
        return Exit::AlreadySeen;
    }
    if itself::does_to_its_own(object.found.watch.tag) {
        itself::forget_deleted(beginning.deed, object);
        return Exit::FilterMiss;
    }
    if PENDING.insert(thread, &NOTHING, u64::from(BPF_ANY)).is_err() {
        return Exit::TableFull;
    }
    let Some(pending) = PENDING.get_ptr_mut(thread) else { return Exit::TableFull };
    let found = &object.found;
    // SAFETY: the entry was made for this thread, which is here.
    unsafe {
        (*pending).at = now;
        (*pending).what = beginning.what as u64;
        (*pending).inode = found.inode as u64;
        (*pending).entry = beginning.entry as u64;
        (*pending).mnt = beginning.mnt as u64;
        (*pending).other = beginning.other as u64;
        (*pending).file = found.file;
        (*pending).dir = found.dir;
        (*pending).watch = found.watch;
        (*pending).deed = beginning.deed as u32;
        (*pending).shape = beginning.shape | layered(found.inode);
        (*pending).is_folder = u32::from(object.is_folder);
        attributes::write(&raw mut (*pending).before, found.inode);
        if !beginning.renamed.is_null() {
            (*pending).folder = pointer(beginning.renamed, offset!(dentry_d_parent)) as u64;
            let name = pointer(beginning.renamed, offset!(dentry_name));
            copy_str((&raw mut (*pending).name).cast(), NAME as u32, name);
        }
    }
    // Counted at its end.
    Exit::Unrelated
}

#[inline(always)]
fn layered(inode: Ptr) -> u32 {
    /// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
    const OVERLAY: u64 = 0x794c_7630;
    if u64_at(pointer(inode, offset!(inode_i_sb)), offset!(super_s_magic)) == OVERLAY { LAYERED } else { 0 }
}

/// Forgets what this thread did, whose end was not seen: it ends itself.
#[inline(always)]
pub fn forget() {
    for thread in [thread(), beside()] {
        if PENDING.get_ptr(thread).is_some() {
            let _ = PENDING.remove(thread);
        }
    }
}

/// Whether this thread does a deed to a key on a layered file system.
#[inline(always)]
pub fn is_layered() -> bool {
    // SAFETY: helpers without arguments.
    let (thread, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_boot_ns()) };
    let Some(pending) = PENDING.get_ptr(thread) else { return false };
    // SAFETY: an entry of this thread's own.
    let (at, shape) = unsafe { ((*pending).at, (*pending).shape) };
    shape & LAYERED != 0 && now.wrapping_sub(at) < PENDING_NS
}

/// The deed of this thread that a function ends which was called with `what` is told, with what it came to. `attribute` is
/// the name of one, null where there is none.
#[inline(always)]
pub fn end(what: Ptr, hook: Hook, outcome: i32, attribute: Ptr) -> Exit {
    // SAFETY: a helper without arguments.
    let thread = unsafe { bpf_get_current_pid_tgid() };
    let Some(pending) = PENDING.get_ptr_mut(thread) else { return Exit::Unrelated };
    // SAFETY: an entry of this thread's own.
    if unsafe { (*pending).what } != what as u64 {
        return Exit::Unrelated;
    }
    // SAFETY: as above; it is removed after that.
    let exit = unsafe { ended(pending, hook, outcome, attribute) };
    let _ = PENDING.remove(thread);
    exit
}

/// `EPERM`, `EACCES`, `EROFS`: somebody may not. Any other error says that something could not be done, or that it is tried
/// once more (`EWOULDBLOCK`, where a lease is broken first).
#[inline(always)]
const fn is_refusal(outcome: i32) -> bool {
    matches!(outcome, -1 | -13 | -30)
}

#[inline(always)]
unsafe fn ended(pending: *mut Pending, hook: Hook, outcome: i32, attribute: Ptr) -> Exit {
    let done = outcome == 0;
    if !done && !is_refusal(outcome) {
        return Exit::FilterMiss;
    }
    // SAFETY: the caller vouches for the entry.
    unsafe {
        let inode = (*pending).inode as Ptr;
        let (deed, shape) = ((*pending).deed, (*pending).shape);
        if done && (*pending).is_folder != 0 && (deed == Deed::Unlink as u32 || deed == Deed::Replace as u32) {
            watch::forget_folder((*pending).file);
        }
        let mut change = RawChange { before: (*pending).before, after: (*pending).before };
        attributes::write(&raw mut change.after, inode);
        let (before, after) = (change.before, change.after);
        let same = before.mode == after.mode && before.uid == after.uid && before.gid == after.gid;
        // What was so before was not changed.
        if done && same && (deed == Deed::Mode as u32 || deed == Deed::Owner as u32) {
            return Exit::FilterMiss;
        }
        let found = Found { inode, file: (*pending).file, dir: (*pending).dir, watch: (*pending).watch };
        // One who opened the file for writing was told of as such.
        if done && deed == Deed::Size as u32 && shape & BY_DESCRIPTOR != 0 && !seen::writes(found.file) {
            return Exit::AlreadySeen;
        }
        let folder = (*pending).folder as Ptr;
        let name: Ptr = (&raw const (*pending).name).cast();
        let (mut entry, mut other) = ((*pending).entry as Ptr, (*pending).other as Ptr);
        if done && shape & EXCHANGES != 0 {
            (entry, other) = (other, entry);
        }
        // Where in the name it begins: at its start, or, of a path without it, at the NUL that is always last.
        let (mut named, mut other_named) = (NAME - 1, NAME - 1);
        if done && shape & WAS_NAMED != 0 {
            (named, entry) = (0, folder);
        }
        if done && shape & OTHER_WAS_NAMED != 0 {
            (other_named, other) = (0, folder);
        }
        let (named, other_named) = (name.add(named & (NAME - 1)), name.add(other_named & (NAME - 1)));
        let name = emit::Name::Below(named, entry);
        // The number of a deed, as `Deed` has it: it was one.
        let kind = Kind::Tamper;
        let access =
            emit::Access { kind, deed: Deed::None, hook, via: emit::shared_via(), name, outcome: Some(outcome) };
        let is_folder = (*pending).is_folder != 0;
        emit::deed(&access, &found, |extended| {
            (*extended).record.deed = deed;
            if is_folder {
                (*extended).record.marks |= mark::FOLDER;
            }
            if !attribute.is_null() {
                let to = (&raw mut (*extended).second).cast();
                let written = copy_str(to, NAME as u32, attribute);
                if written > 0 {
                    (*extended).second_len = written as u32 - 1;
                    (*extended).record.known |= fact::SECOND;
                }
            } else if !other.is_null() {
                emit::second_below(extended, other_named, other);
            }
            if done && tells_change(deed) {
                emit::change(extended, &change);
            }
        })
    }
}

/// Whether what it changed are attributes.
#[inline(always)]
const fn tells_change(deed: u32) -> bool {
    deed >= Deed::Mode as u32 && deed <= Deed::Flags as u32
}

/// As [`end`], for a deed whose entry has a mount: it is told by its full path.
#[inline(always)]
pub fn end_of_mount(what: Ptr, hook: Hook, deed: Deed, outcome: i32) -> Exit {
    end_of_mount_as(thread(), what, hook, deed, outcome)
}

/// The same for what was done beside another deed.
#[inline(always)]
pub fn end_beside(what: Ptr, hook: Hook, deed: Deed, outcome: i32) -> Exit {
    end_of_mount_as(beside(), what, hook, deed, outcome)
}

#[inline(always)]
fn end_of_mount_as(thread: u64, what: Ptr, hook: Hook, deed: Deed, outcome: i32) -> Exit {
    let Some(pending) = PENDING.get_ptr_mut(thread) else { return Exit::Unrelated };
    // SAFETY: an entry of this thread's own.
    let (kept, entry, mnt) = unsafe { ((*pending).what, (*pending).entry, (*pending).mnt) };
    if kept != what as u64 {
        return Exit::Unrelated;
    }
    let exit = if outcome == 0 || is_refusal(outcome) {
        // SAFETY: as above.
        let (found, is_folder) = unsafe {
            let (file, dir, watch) = ((*pending).file, (*pending).dir, (*pending).watch);
            (Found { inode: (*pending).inode as Ptr, file, dir, watch }, (*pending).is_folder != 0)
        };
        mounted(hook, deed, (entry as Ptr, mnt as Ptr), outcome, &Object { found, is_folder })
    } else {
        Exit::FilterMiss
    };
    let _ = PENDING.remove(thread);
    exit
}

/// Records a mount over something, or its end.
#[inline(always)]
pub fn mounted(hook: Hook, deed: Deed, (entry, mnt): (Ptr, Ptr), outcome: i32, object: &Object) -> Exit {
    let (kind, via, name) = (Kind::Tamper, emit::shared_via(), emit::Name::Path(entry, mnt));
    let access = emit::Access { kind, deed, hook, via, name, outcome: Some(outcome) };
    emit::deed(&access, &object.found, |extended| {
        if object.is_folder {
            // SAFETY: the draft is this thread's alone until it is submitted.
            unsafe { (*extended).record.marks |= mark::FOLDER };
        }
    })
}
