//! The watcher itself: which process it is, and what is its own.
//!
//! What others do to it is told, and never what it does. It cannot be told its numbers from user space, which may see others
//! than the kernel does: they are noted where the watcher reads an iterator, in its own context.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    watch::{Tag, is_own},
};

use crate::{
    maps::{FILES, ITSELF, OWN},
    memory::{Ptr, offset, pointer, present, u32_at},
    process,
    subject::Subject,
    watch::{self, Object},
};

/// The watcher's process is the current one: it is noted, unless one was before. (Anybody who may run our programs could run
/// this one, too.)
#[inline(always)]
pub fn note() {
    let Some(itself) = ITSELF.get_ptr_mut(0) else { return };
    let subject = Subject::current();
    // SAFETY: the entry is there for good; it is written once, by the watcher.
    unsafe {
        if (*itself).tgid == 0 {
            (*itself).start = subject.start;
            (*itself).tgid = subject.tgid;
        }
    }
}

/// An open file of the watcher's, which is the current process: a map, a program or a link is noted as its own.
#[inline(always)]
pub fn note_file(file: Ptr) {
    /// The first seven bytes of what the kernel calls their files (`bpf_map_new_fd()` and its like).
    const NAMES: [[u8; 8]; 3] = [*b"bpf-map\0", *b"bpf-pro\0", *b"bpf_lin\0"];
    let at = offset!(file_private_data);
    let Some(itself) = ITSELF.get_ptr_mut(0) else { return };
    // SAFETY: a helper without arguments; a plain load.
    let is_current = unsafe { (*itself).tgid == (bpf_get_current_pid_tgid() >> 32) as u32 };
    if !present(at) || !is_current {
        return;
    }
    let name = watch::short_name(pointer(file, offset!(file_dentry)));
    if name != u64::from_le_bytes(NAMES[0])
        && name != u64::from_le_bytes(NAMES[1])
        && name != u64::from_le_bytes(NAMES[2])
    {
        return;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let _ = OWN.insert(pointer(file, at) as u64, now, u64::from(BPF_ANY));
    // SAFETY: a plain store, by the watcher.
    unsafe { (*itself).noted = now };
}

/// The map, program or link of the watcher's that an open file is of; null where it is none. What was not noted again with the
/// others is closed, and its address may be another's by now.
#[inline(always)]
pub fn own_object(file: Ptr) -> Ptr {
    /// One round of noting takes less, in nanoseconds, and two are further apart.
    const ROUND: u64 = 1_000_000_000;
    let at = offset!(file_private_data);
    if file.is_null() || !present(at) {
        return core::ptr::null();
    }
    let object = pointer(file, at);
    // SAFETY: values are only copied out.
    let (noted, last) = unsafe {
        match (OWN.get(object as u64), ITSELF.get(0)) {
            (Some(noted), Some(itself)) => (*noted, itself.noted),
            _ => return core::ptr::null(),
        }
    };
    if noted + ROUND < last { core::ptr::null() } else { object }
}

/// Whether it is the watcher's process id; whose process has it, its start says.
#[inline(always)]
pub fn has_tgid(tgid: u32) -> bool {
    match ITSELF.get(0) {
        Some(itself) => itself.tgid == tgid,
        None => false,
    }
}

/// Whether a process is the watcher.
#[inline(always)]
pub fn is(tgid: u32, start: u64) -> bool {
    match ITSELF.get(0) {
        Some(itself) => itself.tgid == tgid && itself.start == start,
        None => false,
    }
}

/// Whether a task is one of the watcher's.
#[inline(always)]
pub fn is_task(task: Ptr) -> bool {
    let tgid = u32_at(task, offset!(task_tgid));
    has_tgid(tgid) && is(tgid, process::start(task))
}

/// The watcher deletes a file of its own: it is watched no longer. Segments of a journal come and go for as long as it runs.
#[inline(always)]
pub fn forget_deleted(deed: Deed, object: &Object) {
    let is_last = u32_at(object.found.inode, offset!(inode_i_nlink)) == 1;
    if deed as u32 == Deed::Unlink as u32 && is_last && !object.is_folder {
        let _ = FILES.remove(object.found.file);
    }
}

/// As [`forget_deleted`], of one that is deleted already.
#[inline(always)]
pub fn forget_gone(file: FileId, inode: Ptr) {
    if u32_at(inode, offset!(inode_i_nlink)) == 0 {
        let _ = FILES.remove(file);
    }
}

/// Whether what is tagged so is the watcher's own, and the current process the watcher: it may do with it what it likes.
#[inline(always)]
pub fn does_to_its_own(tag: Tag) -> bool {
    if !is_own(tag) {
        return false;
    }
    let subject = Subject::current();
    is(subject.tgid, subject.start)
}
