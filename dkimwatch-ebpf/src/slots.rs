//! In which slot a change is kept until its call ends: a call changes a file or two, and up to four folders.

use dkimwatch_common::identity::FileId;

use crate::{
    change::{Changed, HOLDS, Place, SLOT_FILE, SLOT_FOLDER, SLOT_OTHER_FILE, SLOT_OTHER_FOLDER, first_name, is_way},
    maps::CHANGES,
    memory::{Ptr, offset, pointer},
};

/// A slot, and the marks that a change gets in it.
#[derive(Clone, Copy)]
pub struct Slot {
    /// One of the `SLOT_*`.
    pub number: u32,
    /// [`HOLDS`], or none.
    pub marks: u32,
}

/// The slot for what a call changes; `None` for a folder of which nothing need be known.
#[inline(always)]
pub fn of(tid: u32, changed: &Changed, call: u32) -> Option<Slot> {
    if changed.folder {
        return of_folder(tid, changed, call);
    }
    let is_taken = is_taken(Place { tid, slot: SLOT_FILE }, changed, call);
    Some(Slot { number: if is_taken { SLOT_OTHER_FILE } else { SLOT_FILE }, marks: 0 })
}

/// The slot for a folder; `None` for the one that another lies in which has one. What is done to a folder is done to that one,
/// too, and a rename changes two of each: before, between or after each other, as the file system likes. So there is room for
/// both that may have been renamed. Where what this one
/// takes the place of has the mark [`HOLDS`], it has it as well.
#[inline(always)]
fn of_folder(tid: u32, changed: &Changed, call: u32) -> Option<Slot> {
    for number in [SLOT_FOLDER, SLOT_OTHER_FOLDER] {
        let mut slot = Slot { number, marks: 0 };
        let place = Place { tid, slot: number };
        match relation(place, changed, call) {
            Relation::Beside if number == SLOT_FOLDER => {}
            Relation::None | Relation::Beside => return Some(slot),
            Relation::Instead => {
                if let Some(known) = CHANGES.get_ptr(place) {
                    // SAFETY: the entry is this thread's, which runs this hook.
                    slot.marks = unsafe { (*known).marks } & HOLDS;
                }
                return Some(slot);
            }
            Relation::Above => {
                if !is_way(&changed.watch)
                    && let Some(known) = CHANGES.get_ptr_mut(place)
                {
                    // SAFETY: as above.
                    unsafe { (*known).marks |= HOLDS };
                }
                return None;
            }
        }
    }
    None
}

/// What a folder is to the one in a slot.
#[derive(Clone, Copy)]
enum Relation {
    /// There is none in it, of this call.
    None,
    /// The same, or one that lies in it.
    Instead,
    /// The one that it lies in.
    Above,
    /// Another.
    Beside,
}

#[inline(always)]
fn relation(place: Place, changed: &Changed, number: u32) -> Relation {
    let Some(known) = CHANGES.get_ptr(place) else { return Relation::None };
    // SAFETY: the entry is this thread's, which runs this hook.
    let (of, inode, entry) = unsafe { ((*known).number, (*known).inode, (*known).entry as Ptr) };
    let above = |entry: Ptr| pointer(pointer(entry, offset!(dentry_d_parent)), offset!(dentry_d_inode));
    if of != number {
        Relation::None
    } else if inode == changed.inode as u64 || above(first_name(changed.inode)) as u64 == inode {
        Relation::Instead
    } else if above(entry) == changed.inode {
        Relation::Above
    } else {
        Relation::Beside
    }
}

/// Whether another file of the same call is in the slot.
#[inline(always)]
fn is_taken(place: Place, changed: &Changed, number: u32) -> bool {
    match CHANGES.get_ptr(place) {
        // SAFETY: the entry is this thread's, which runs this hook.
        Some(known) => unsafe { (*known).number == number && (*known).inode != changed.inode as u64 },
        None => false,
    }
}

/// Whether what is put in the folder in a slot, or in the one that it lies in, can be watched.
#[inline(always)]
pub fn holds(place: Place) -> bool {
    match CHANGES.get_ptr(place) {
        // SAFETY: the entry is this thread's.
        Some(change) => unsafe { (*change).marks & HOLDS != 0 },
        None => false,
    }
}

/// Whether what is in a slot is watched for this (`file_watch`).
#[inline(always)]
pub fn is_of_kind(place: Place, kind: u32) -> bool {
    match CHANGES.get_ptr(place) {
        // SAFETY: the entry is this thread's.
        Some(change) => unsafe { (*change).watch.kind == kind },
        None => false,
    }
}

/// The folder in a slot; zeros, where there is none.
#[inline(always)]
pub fn folder(place: Place) -> FileId {
    match CHANGES.get_ptr(place) {
        // SAFETY: as above.
        Some(change) => unsafe { (*change).file },
        None => FileId::new(0, 0),
    }
}
