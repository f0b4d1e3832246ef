//! A change of what is watched, on the backend that sees an inode change and not by whom it is asked to.
//!
//! The inode changes in the middle of a system call. What it was, and by what name it was known, is kept there; what became
//! of it is told when the call ends, as only then a rename has its names and the call its outcome.

use aya_ebpf::{bindings::BPF_ANY, helpers::generated::bpf_probe_read_user_str};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Kind, RawAttributes, RawExtended, Via, fact, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, file_watch},
};

use crate::{
    attributes,
    draft::{self, Draft, Ring},
    emit,
    maps::{ATTRIBUTES, CHANGES},
    memory::{Ptr, copy, copy_str, offset, pointer, present, u32_at, u64_at},
    path, seen,
    subject::Subject,
    watch::{self, Found},
};

/// The thread that changes something, and which of its changes this is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Place {
    /// `task->pid`.
    pub tid: u32,
    /// One of the `SLOT_*`.
    pub slot: u32,
}

/// The first file that the call changes.
pub const SLOT_FILE: u32 = 0;
/// The second: a rename that replaces changes two.
pub const SLOT_OTHER_FILE: u32 = 1;
/// A folder.
pub const SLOT_FOLDER: u32 = 2;
/// Another: what is done to a folder is done to the one that it lies in, too, and before or after.
pub const SLOT_OTHER_FOLDER: u32 = 3;
/// A change that is told at once.
pub const SLOT_NOW: u32 = 4;

/// Among a change's marks: what is put in the folder, or in the one that it lies in, can be watched. No record's mark.
pub const HOLDS: u32 = 1 << 31;

/// A change that has begun.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Change {
    /// What is changed.
    pub file: FileId,
    /// Why it is watched.
    pub watch: FileWatch,
    /// `struct inode *`; it may be gone by the end.
    pub inode: u64,
    /// `struct dentry *`: its first name as the change began.
    pub entry: u64,
    /// Its `d_name.hash_len` then, in which the kernel has mixed the folder's address.
    pub name: u64,
    /// The attributes before, where they had been kept.
    pub before: RawAttributes,
    /// The attributes after, as far as they were known.
    pub after: RawAttributes,
    /// Whether `before` is known.
    pub has_before: u32,
    /// The system call.
    pub number: u32,
    /// [`mark`]s, and [`HOLDS`].
    pub marks: u32,
    /// Bytes used in `path`.
    pub path_len: u32,
    /// What it is told as.
    pub told: Told,
    /// Its path in its file system, as the change began.
    pub path: [u8; limits::PATH_BYTES],
}

const NO_ATTRIBUTES: RawAttributes = RawAttributes { size: 0, mode: 0, uid: 0, gid: 0, nlink: 0, flags: 0, pad: 0 };

/// What a change begins as. In read-only memory, as the stack has no room for one.
static NOTHING: Change = Change {
    file: FileId::new(0, 0),
    watch: FileWatch { tag: 0, kind: 0, generation: 0, pad: 0 },
    inode: 0,
    entry: 0,
    name: 0,
    before: NO_ATTRIBUTES,
    after: NO_ATTRIBUTES,
    has_before: 0,
    number: 0,
    marks: 0,
    path_len: 0,
    told: Told { file: 0, other: 0, text: 0, kind: 0, deed: 0, outcome: 0, marks: 0 },
    path: [0; limits::PATH_BYTES],
};

/// Keeps the attributes of what is, or is about to be, watched.
#[inline(always)]
pub fn keep(file: FileId, inode: Ptr) {
    let mut now = NO_ATTRIBUTES;
    // SAFETY: a local value. A table that lost an entry costs a "before".
    unsafe { attributes::write(&raw mut now, inode) };
    let _ = ATTRIBUTES.insert(file, now, u64::from(BPF_ANY));
}

/// Forgets them: the file is being written, and its size is not told.
#[inline(always)]
pub fn forget(file: FileId) {
    let _ = ATTRIBUTES.remove(file);
}

/// Whether a thread's call, this one or one whose end was not seen, has changed something: the other slots are taken after these.
#[inline(always)]
pub fn has_begun(tid: u32) -> bool {
    // One after the other: of two pointers the compiler asks at once whether both are null, which the verifier refuses.
    CHANGES.get_ptr(Place { tid, slot: SLOT_FILE }).is_some()
        || CHANGES.get_ptr(Place { tid, slot: SLOT_FOLDER }).is_some()
}

/// Forgets what a thread changed by a call whose end was not seen.
#[inline(always)]
pub fn forget_thread(tid: u32) {
    if has_begun(tid) {
        forget_call(tid);
    }
}

/// Forgets what a thread's call changed.
#[inline(always)]
pub fn forget_call(tid: u32) {
    for slot in [SLOT_FILE, SLOT_OTHER_FILE, SLOT_FOLDER, SLOT_OTHER_FOLDER] {
        let _ = CHANGES.remove(Place { tid, slot });
    }
}

/// The first name of an inode that is known, null where there is none: an inode that is just being read from its disk, which
/// sets its times as a change does.
#[inline(always)]
pub fn first_name(inode: Ptr) -> Ptr {
    let alias = pointer(inode, offset!(inode_i_dentry));
    if alias.is_null() { alias } else { alias.wrapping_sub(offset!(dentry_alias) as usize) }
}

/// What is changed, as the hook on the inode found it.
#[derive(Clone, Copy)]
pub struct Changed {
    /// The inode.
    pub inode: Ptr,
    /// Its identity.
    pub file: FileId,
    /// Why it is watched.
    pub watch: FileWatch,
    /// It is a folder.
    pub folder: bool,
}

/// Begins a change, or goes on with it: `None` where there is no room. Another one of the same thread, whose end was never
/// seen, is over.
#[inline(always)]
pub fn begin(place: Place, changed: &Changed, number: u32) -> Option<*mut Change> {
    if let Some(known) = CHANGES.get_ptr_mut(place) {
        // SAFETY: the entry is this thread's, which runs this hook.
        unsafe {
            if (*known).file.ino == changed.file.ino
                && (*known).file.dev == changed.file.dev
                && (*known).number == number
                && (*known).inode == changed.inode as u64
            {
                attributes::write(&raw mut (*known).after, changed.inode);
                return Some(known);
            }
        }
    }
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "by value it would be on the stack first, which it fills"
    )]
    let made = CHANGES.insert(place, &NOTHING, u64::from(BPF_ANY));
    made.ok()?;
    let change = CHANGES.get_ptr_mut(place)?;
    let entry = first_name(changed.inode);
    // SAFETY: as above.
    unsafe {
        (*change).file = changed.file;
        (*change).watch = changed.watch;
        (*change).inode = changed.inode as u64;
        (*change).entry = entry as u64;
        (*change).name = u64_at(entry, offset!(dentry_hash_len));
        (*change).number = number;
        attributes::write(&raw mut (*change).after, changed.inode);
        // Those of a folder above are as old as the last look.
        if !is_way(&changed.watch)
            && let Some(before) = ATTRIBUTES.get(changed.file)
        {
            (*change).before = *before;
            (*change).has_before = 1;
        }
        if changed.folder {
            (*change).marks |= mark::FOLDER;
            if !is_way(&changed.watch) {
                (*change).marks |= HOLDS;
            }
        }
    }
    change_path(u64::from(place.tid), u64::from(place.slot));
    Some(change)
}

/// A global function, see [`crate::draft`]: writes the path that a change's entry has.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn change_path(tid: u64, slot: u64) -> u64 {
    let Some(change) = CHANGES.get_ptr_mut(Place { tid: tid as u32, slot: slot as u32 }) else { return 0 };
    // SAFETY: the entry is this thread's.
    unsafe {
        let walked = path::walk((*change).entry as Ptr, core::ptr::null(), (&raw mut (*change).path).cast());
        (*change).path_len = walked.len;
        if walked.cut {
            (*change).marks |= mark::PATH_CUT;
        }
    }
    1
}

/// Whether it is a folder above what is watched, and not watched itself.
#[inline(always)]
pub fn is_way(watch: *const FileWatch) -> bool {
    // SAFETY: the caller's, or in an entry that is this thread's.
    unsafe { (*watch).kind == file_watch::NONE }
}

/// Whether the inode at a change's address is still the one that was changed.
#[inline(always)]
fn is_there(change: *const Change) -> bool {
    // SAFETY: the entry is this thread's.
    let (file, inode) = unsafe { ((*change).file, (*change).inode as Ptr) };
    let now = watch::identity(inode);
    now.ino == file.ino && now.dev == file.dev
}

/// Whether what is changed seems to be another file than the one that was enrolled: its inode number was used again.
#[inline(always)]
pub fn is_another(change: *const Change) -> bool {
    // SAFETY: the entry is this thread's.
    unsafe {
        let folder = (*change).marks & mark::FOLDER != 0;
        !folder && is_there(change) && (*change).watch.generation != watch::generation((*change).inode as Ptr)
    }
}

/// What a rename did with a file or folder.
#[inline(always)]
pub fn renamed(change: *const Change) -> Deed {
    // SAFETY: the entry is this thread's.
    let (entry, name, folder) =
        unsafe { ((*change).entry as Ptr, (*change).name, (*change).marks & mark::FOLDER != 0) };
    let unhashed = offset!(dentry_hash_pprev);
    if is_there(change) {
        // SAFETY: as above.
        let (links, known, before) = unsafe {
            (u32_at((*change).inode as Ptr, offset!(inode_i_nlink)), (*change).has_before, (*change).before.nlink)
        };
        if links == 0 || (known != 0 && links < before && !folder) {
            return Deed::Replace;
        }
    } else {
        return Deed::Replace;
    }
    // The root of a file system is in no table of names.
    let is_root = pointer(entry, offset!(dentry_d_parent)) == entry;
    if !is_root && present(unhashed) && u64_at(entry, unhashed) == 0 {
        return Deed::Replace;
    }
    if u64_at(entry, offset!(dentry_hash_len)) != name {
        return Deed::Rename;
    }
    // A folder whose name stands is the one that something was renamed in. A file may have been known by another name.
    if folder { Deed::None } else { Deed::Rename }
}

/// Whether a file has one name fewer than before, as far as that is known.
#[inline(always)]
pub fn lost_a_name(change: *const Change) -> bool {
    // SAFETY: the entry is this thread's.
    unsafe { (*change).has_before != 0 && (*change).after.nlink < (*change).before.nlink }
}

/// Whether attributes are known to be others than before.
#[inline(always)]
pub fn changes_attributes(change: *const Change) -> bool {
    // SAFETY: the entry is this thread's.
    unsafe {
        let (before, after) = (&raw const (*change).before, &raw const (*change).after);
        let differ = (*before).size ^ (*after).size
            | u64::from((*before).mode ^ (*after).mode)
            | u64::from((*before).uid ^ (*after).uid)
            | u64::from((*before).gid ^ (*after).gid)
            | u64::from((*before).nlink ^ (*after).nlink)
            | u64::from((*before).flags ^ (*after).flags);
        (*change).has_before != 0 && differ != 0
    }
}

/// Whether a folder was removed, and not something in it.
#[inline(always)]
pub fn removed(change: *const Change) -> bool {
    /// `S_DEAD` (`include/linux/fs.h`).
    const S_DEAD: u32 = 1 << 4;
    // SAFETY: the entry is this thread's.
    let inode = unsafe { (*change).inode as Ptr };
    !is_there(change)
        || u32_at(inode, offset!(inode_i_nlink)) == 0
        || u32_at(inode, offset!(inode_i_flags)) & S_DEAD != 0
}

/// What a change is told as.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Told {
    /// The descriptor that was used (`struct file *`), zero where there is none.
    pub file: u64,
    /// The other path as it was asked for, in the kernel's memory; zero where there is none.
    pub other: u64,
    /// A text in the caller's memory: an attribute's name, or the other path as it was asked for. Zero where there is none.
    pub text: u64,
    /// [`Kind::Tamper`], or [`Kind::Data`] for a write.
    pub kind: u32,
    /// What was done: a [`Deed`].
    pub deed: u32,
    /// Zero or a negative errno.
    pub outcome: i32,
    /// [`mark`]s.
    pub marks: u32,
}

/// Records the change at a place.
#[inline(always)]
pub fn tell(place: Place, change: *mut Change, told: &Told) -> Exit {
    // SAFETY: the entry is this thread's.
    unsafe { (*change).told = *told };
    let (tid, slot) = (u64::from(place.tid), u64::from(place.slot));
    let subject = Subject::current();
    let ring = Ring::of(&subject);
    // One after the other, as together they have more than the stack has room for.
    if change_draft(tid, slot, ring as u64) == 0 {
        return Exit::RingFull;
    }
    change_names(tid, slot);
    draft::submit(&subject, ring)
}

/// A global function, see [`crate::draft`]: begins the draft that tells of a change. Zero where there is no room for one.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn change_draft(tid: u64, slot: u64, ring: u64) -> u64 {
    let Some(change) = CHANGES.get_ptr_mut(Place { tid: tid as u32, slot: slot as u32 }) else { return 0 };
    let there = is_there(change);
    // SAFETY: the entry is this thread's.
    unsafe {
        let file = (*change).file;
        let inode = if there { (*change).inode as Ptr } else { core::ptr::null() };
        if there {
            attributes::write(&raw mut (*change).after, inode);
            // A table that lost an entry costs a "before".
            if !is_way(&raw const (*change).watch) {
                let _ = ATTRIBUTES.insert(file, (*change).after, u64::from(BPF_ANY));
            }
        }
        let found = Found { inode, file, dir: FileId::new(0, 0), watch: (*change).watch };
        let (kind, deed, hook, via) = (Kind::Tamper, Deed::None, Hook::InodeDirty, emit::via(Via::Tracepoint));
        let access = emit::Access { kind, deed, hook, via, name: emit::Name::None, outcome: None };
        let ring = if ring == Ring::Signers as u64 { Ring::Signers } else { Ring::Strangers };
        let Some(draft) = emit::drafted(ring, size_of::<RawExtended>(), &access, &found) else { return 0 };
        let extended = draft.record;
        let record = &raw mut (*extended).record;
        let told = &raw const (*change).told;
        (*record).header.kind = (*told).kind as u16;
        (*record).deed = (*told).deed;
        (*record).outcome = (*told).outcome;
        (*record).known |= fact::OUTCOME;
        (*record).marks |= (*change).marks & mark::FOLDER | (*told).marks;
        if !there {
            let attributes = &raw const (*change).after;
            (*record).file_generation = (*change).watch.generation;
            (*record).file_mode = (*attributes).mode;
            (*record).file_uid = (*attributes).uid;
            (*record).file_gid = (*attributes).gid;
            (*record).file_nlink = (*attributes).nlink;
        }
        if (*change).has_before != 0 && (*told).kind == Kind::Tamper as u32 {
            const SIZE: u32 = size_of::<RawAttributes>() as u32;
            let to = &raw mut (*extended).change;
            copy((&raw mut (*to).before).cast(), SIZE, (&raw const (*change).before).cast());
            copy((&raw mut (*to).after).cast(), SIZE, (&raw const (*change).after).cast());
            (*record).known |= fact::CHANGE;
        }
    }
    1
}

/// A global function, see [`crate::draft`]: adds the names by which the file was, and is, known.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn change_names(tid: u64, slot: u64) -> u64 {
    let Some(change) = CHANGES.get_ptr_mut(Place { tid: tid as u32, slot: slot as u32 }) else { return 0 };
    let Some(draft) = Draft::begun() else { return 0 };
    let extended = draft.record;
    // SAFETY: the draft and the entry are this thread's.
    unsafe {
        let told = &raw const (*change).told;
        let descriptor = (*told).file as Ptr;
        if descriptor.is_null() {
            path_of(extended, change);
        } else {
            emit::named(&raw mut (*extended).record, emit::Name::File(descriptor));
            if let Some(opener) = seen::opener(descriptor, (*change).file) {
                emit::other_kept(extended, &opener.process);
            }
        }
        let other = (*told).other as Ptr;
        // Told in the midst of it, its entry has the old name still.
        if other.is_null() && slot as u32 != SLOT_NOW {
            let inode = if is_there(change) { (*change).inode as Ptr } else { core::ptr::null() };
            second(extended, (*told).deed, inode, (*change).entry as Ptr, (*told).text);
        } else if !other.is_null() {
            as_asked(extended, copy_str((&raw mut (*extended).second).cast(), limits::PATH_BYTES as u32, other));
        }
    }
    1
}

/// The path that the file had.
#[inline(always)]
unsafe fn path_of(record: *mut RawExtended, change: *const Change) {
    // SAFETY: see `change_names`.
    unsafe {
        let record = &raw mut (*record).record;
        let to = (&raw mut (*record).path).cast();
        if !copy(to, limits::PATH_BYTES as u32, (&raw const (*change).path).cast()) {
            return;
        }
        (*record).path_len = (*change).path_len;
        (*record).marks |= mark::PATH_IN_FS | ((*change).marks & mark::PATH_CUT);
        (*record).known |= fact::PATH;
    }
}

/// A text was copied, of this length with its NUL.
#[inline(always)]
unsafe fn as_asked(record: *mut RawExtended, written: i64) {
    if written > 0 {
        // SAFETY: see `change_names`.
        unsafe {
            (*record).second_len = written as u32 - 1;
            (*record).record.marks |= mark::AS_ASKED;
            (*record).record.known |= fact::SECOND;
        }
    }
}

/// The other name, or a text.
#[inline(always)]
unsafe fn second(record: *mut RawExtended, deed: u32, inode: Ptr, entry: Ptr, text: u64) {
    let mut name: Ptr = core::ptr::null();
    if !inode.is_null() {
        if deed == Deed::Rename as u32 || deed == Deed::Exchange as u32 {
            name = entry;
        } else if deed == Deed::Link as u32 {
            // `d_instantiate()` puts the newest name first.
            let newest = first_name(inode);
            name = if newest == entry { core::ptr::null() } else { newest };
        }
    }
    // SAFETY: see `change_names`.
    unsafe {
        if !name.is_null() {
            emit::second_below(record, core::ptr::null(), name);
        } else if text != 0 {
            let to = (&raw mut (*record).second).cast();
            let written = bpf_probe_read_user_str(to, limits::PATH_BYTES as u32, text as *const _);
            as_asked(record, written);
        }
    }
}
