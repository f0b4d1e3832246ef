//! A change of what is watched, on the backend that sees an inode change and not by whom it is asked to.
//!
//! The inode changes in the middle of a system call. What it was, and by what name it was known, is kept there; what became
//! of it is told when the call ends, as only then a rename has its names and the call its outcome.

use aya_ebpf::{bindings::BPF_ANY, helpers::generated::bpf_probe_read_user_str};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Kind, RawAttributes, RawChange, RawExtended, Via, fact, mark},
    tally::{Exit, Hook},
    watch::FileWatch,
};

use crate::{
    emit,
    maps::{ATTRIBUTES, CHANGES},
    memory::{Memory, Probed, Ptr, copy, copy_str, offset, pointer, present, u32_at, u64_at},
    path, seen, watch,
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
    /// [`mark`]s.
    pub marks: u32,
    /// Bytes used in `path`.
    pub path_len: u32,
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
    path: [0; limits::PATH_BYTES],
};

/// `include/linux/fs.h`: the kernel's own note that a file has no capabilities.
const S_NOSEC: u32 = 1 << 12;

/// The attributes of an inode now.
#[inline(always)]
fn attributes(inode: Ptr) -> RawAttributes {
    RawAttributes {
        size: u64_at(inode, offset!(inode_i_size)),
        // SAFETY: an integer; `umode_t` is 16 bits wide.
        mode: u32::from(unsafe { Probed::read::<u16>(inode, offset!(inode_i_mode)) }),
        uid: u32_at(inode, offset!(inode_i_uid)),
        gid: u32_at(inode, offset!(inode_i_gid)),
        nlink: u32_at(inode, offset!(inode_i_nlink)),
        flags: u32_at(inode, offset!(inode_i_flags)) & !S_NOSEC,
        pad: 0,
    }
}

/// Keeps the attributes of what is, or is about to be, watched.
#[inline(always)]
pub fn keep(file: FileId, inode: Ptr) {
    // A table that lost an entry costs a "before".
    let _ = ATTRIBUTES.insert(file, attributes(inode), u64::from(BPF_ANY));
}

/// Forgets them: the file is being written, and its size is not told.
#[inline(always)]
pub fn forget(file: FileId) {
    let _ = ATTRIBUTES.remove(file);
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
                (*known).after = attributes(changed.inode);
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
        (*change).after = attributes(changed.inode);
        if let Some(before) = ATTRIBUTES.get(changed.file) {
            (*change).before = *before;
            (*change).has_before = 1;
        }
        if changed.folder {
            (*change).marks |= mark::FOLDER;
        }
        let walked = path::walk(entry, core::ptr::null(), (&raw mut (*change).path).cast());
        (*change).path_len = walked.len;
        if walked.cut {
            (*change).marks |= mark::PATH_CUT;
        }
    }
    Some(change)
}

/// Whether the inode at a change's address is still the one that was changed.
#[inline(always)]
fn is_there(change: *const Change) -> bool {
    // SAFETY: the entry is this thread's.
    let (file, inode) = unsafe { ((*change).file, (*change).inode as Ptr) };
    let now = watch::identity(inode);
    now.ino == file.ino && now.dev == file.dev
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
    if present(unhashed) && u64_at(entry, unhashed) == 0 {
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
#[derive(Clone, Copy)]
pub struct Told {
    /// [`Kind::Tamper`], or [`Kind::Data`] for a write.
    pub kind: Kind,
    /// What was done.
    pub deed: Deed,
    /// Zero or a negative errno; `None` where the end is not seen.
    pub outcome: Option<i32>,
    /// The descriptor that was used, null where there is none.
    pub file: Ptr,
    /// The other path as it was asked for, in the kernel's memory; null where there is none.
    pub other: Ptr,
    /// A text in the caller's memory: an attribute's name, or the other path as it was asked for. Zero where there is none.
    pub text: u64,
}

/// Records a change.
#[inline(always)]
pub fn tell(change: *mut Change, told: &Told) -> Exit {
    let there = is_there(change);
    // SAFETY: the entry is this thread's.
    let (file, watch, inode, entry) =
        unsafe { ((*change).file, (*change).watch, (*change).inode as Ptr, (*change).entry as Ptr) };
    if there {
        // SAFETY: as above.
        unsafe { (*change).after = attributes(inode) };
        keep(file, inode);
    }
    let found =
        watch::Found { inode: if there { inode } else { core::ptr::null() }, file, dir: FileId::new(0, 0), watch };
    let Told { kind, deed, outcome, file: descriptor, other, text } = *told;
    let name = if descriptor.is_null() { emit::Name::None } else { emit::Name::File(descriptor) };
    let access = emit::Access { kind, deed, hook: Hook::InodeDirty, via: emit::via(Via::Tracepoint), name, outcome };
    emit::extended(&access, &found, |record| {
        // SAFETY: the draft is this thread's alone until it is submitted, and the entry is this thread's.
        unsafe {
            if descriptor.is_null() {
                path_of(record, change);
            } else if let Some(opener) = seen::opener(descriptor, &found) {
                emit::other_kept(record, &opener.process);
            }
            (*record).record.marks |= (*change).marks & mark::FOLDER;
            if !there {
                let attributes = &(*change).after;
                (*record).record.file_generation = (*change).watch.generation;
                (*record).record.file_mode = attributes.mode;
                (*record).record.file_uid = attributes.uid;
                (*record).record.file_gid = attributes.gid;
                (*record).record.file_nlink = attributes.nlink;
            }
            if (*change).has_before != 0 && kind as u16 == Kind::Tamper as u16 {
                emit::change(record, &RawChange { before: (*change).before, after: (*change).after });
            }
            if !other.is_null() {
                as_asked(record, copy_str((&raw mut (*record).second).cast(), limits::PATH_BYTES as u32, other));
                return;
            }
            second(record, deed, if there { inode } else { core::ptr::null() }, entry, text);
        }
    })
}

/// The path that the file had.
#[inline(always)]
unsafe fn path_of(record: *mut RawExtended, change: *const Change) {
    // SAFETY: see `tell`.
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
        // SAFETY: see `tell`.
        unsafe {
            (*record).second_len = written as u32 - 1;
            (*record).record.marks |= mark::AS_ASKED;
            (*record).record.known |= fact::SECOND;
        }
    }
}

/// The other name, or a text.
#[inline(always)]
unsafe fn second(record: *mut RawExtended, deed: Deed, inode: Ptr, entry: Ptr, text: u64) {
    let name = match deed {
        Deed::Rename | Deed::Exchange if !inode.is_null() => entry,
        // `d_instantiate()` puts the newest name first.
        Deed::Link if !inode.is_null() => {
            let newest = first_name(inode);
            if newest == entry { core::ptr::null() } else { newest }
        }
        _ => core::ptr::null(),
    };
    // SAFETY: see `tell`.
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
