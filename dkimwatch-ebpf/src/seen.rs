//! Who has reached which file's data already, and who opened its descriptors.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::RawAncestor,
    tally::Exit,
    watch::{Holder, Opener, SeenBy, file_watch, is_own, seen},
};

use crate::{
    emit, holders, itself, layer,
    maps::{OPENERS, SEEN},
    memory::{Ptr, copy, number, offset, pointer, u32_at},
    subject::{self, Subject},
    task,
    watch::Found,
};

/// `file->f_mode` (`include/linux/fs.h`).
const FMODE_READ: u32 = 0x1;
const FMODE_WRITE: u32 = 0x2;

/// Whether a descriptor is for writing.
#[inline(always)]
pub fn writable(file: Ptr) -> bool {
    u32_at(file, offset!(file_f_mode)) & FMODE_WRITE != 0
}

/// A watched file was opened, and the opener is remembered for whoever gets the descriptor from it. Where the open was told,
/// what the opener may do with the descriptor is no news from now on.
#[inline(always)]
pub fn opened(file: Ptr, found: &Found, is_told: bool) {
    if matches!(found.watch.kind, file_watch::CANARY | file_watch::BACKING) {
        return;
    }
    let (id, subject) = (found.file, Subject::current());
    // In what is the watcher's own there is no key.
    if !is_own(found.watch.tag) {
        holders::reached(&subject, found);
    }
    let mode = u32_at(file, offset!(file_f_mode));
    // A table that lost an entry costs one event too many, never one too few.
    if is_told && mode & FMODE_READ != 0 {
        let _ = is_news(&by(subject, id, seen::READ));
    }
    if is_told && mode & FMODE_WRITE != 0 {
        let _ = is_news(&by(subject, id, seen::WRITE));
    }
    let leader = pointer(subject.task, offset!(task_group_leader));
    let mut opener = Opener {
        file: id,
        process: RawAncestor {
            start: subject.start,
            exe: subject::executed(subject.tgid, subject.start),
            pid: subject.tgid,
            uid: u32_at(pointer(subject.task, offset!(task_real_cred)), offset!(cred_uid)),
            comm: [0; limits::COMM],
        },
    };
    // SAFETY: the array has `COMM` bytes.
    unsafe {
        copy(opener.process.comm.as_mut_ptr(), limits::COMM as u32, leader.wrapping_add(offset!(task_comm) as usize));
    }
    let _ = OPENERS.insert(file as u64, opener, u64::from(BPF_ANY));
}

/// Records that data of a watched file was reached, unless that is known of this process. `file` finds the open file, null
/// where there is none to be found; it is asked only when there is something to tell.
#[inline(always)]
pub fn data(access: &emit::Access, found: &Found, file: impl FnOnce() -> Ptr) -> Exit {
    if found.watch.kind == file_watch::CANARY {
        // The canary proves the open hook, and nothing else must answer for it.
        return Exit::FilterMiss;
    }
    let writes = access.deed as u32 == Deed::Write as u32;
    if is_own(found.watch.tag) && (!writes || itself::does_to_its_own(found.watch.tag)) {
        return Exit::FilterMiss;
    }
    let subject = Subject::current();
    let how = if access.deed as u32 == Deed::Write as u32 { seen::WRITE } else { seen::READ };
    let who = by(subject, found.file, how);
    if !is_news(&who) {
        return Exit::AlreadySeen;
    }
    if found.watch.kind == file_watch::LAYER
        && let Some(user) = layer::on_overlay(found.file)
    {
        // By the overlay it is the same key.
        let _ = is_news(&by(subject, user, how));
    }
    if !is_own(found.watch.tag) {
        holders::reached(&subject, found);
    }
    let file = file();
    if subject.is_kernel_thread() && opener(file, found.file).is_some() {
        // It works for whoever opened it (a loop device), who was told.
        return Exit::AlreadySeen;
    }
    let access = emit::Access { name: emit::Name::File(file), ..*access };
    let exit = emit::extended_by(subject, &access, found, |record| {
        if let Some(opener) = opener(file, found.file) {
            // SAFETY: the draft is this thread's.
            unsafe { emit::other_kept(record, &opener.process) };
        }
    });
    if exit as u32 == Exit::RingFull as u32 {
        // Not told after all: the next access is news again.
        let _ = SEEN.remove(who);
    }
    exit
}

/// Whether that this process writes to a file through a descriptor is news, which it then no longer is.
#[inline(always)]
pub fn writes(file: FileId) -> bool {
    is_news(&by(Subject::current(), file, seen::WRITE))
}

/// Who opened a file by which a watched one is reached, where that is known.
#[inline(always)]
pub fn opener(file: Ptr, id: FileId) -> Option<&'static Opener> {
    // SAFETY: a value is only copied out; an address that is used again meanwhile is another file's by its identity.
    unsafe { OPENERS.get(file as u64) }.filter(|opener| opener.file.ino == id.ino && opener.file.dev == id.dev)
}

/// The open file of the current process by which an inode's data can be read; null where it has none, or has it beyond
/// [`limits::DESCRIPTORS`].
#[inline(always)]
pub fn descriptor(inode: Ptr) -> Ptr {
    open_file_of(number(inode)) as Ptr
}

/// A global function, see `watch::name_hash_at`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn open_file_of(inode: u64) -> u64 {
    let inode = inode as Ptr;
    let task = Subject::current().task;
    let table = pointer(pointer(task, offset!(task_files)), offset!(files_fdt));
    let slots = u32_at(table, offset!(fdtable_max_fds)) as usize;
    let files = pointer(table, offset!(fdtable_fd));
    let mut fd = 0;
    while fd < limits::DESCRIPTORS {
        if fd >= slots {
            break;
        }
        let file = pointer(files.wrapping_add(8 * fd), 0);
        if !file.is_null()
            && pointer(file, offset!(file_f_inode)) == inode
            && u32_at(file, offset!(file_f_mode)) & FMODE_READ != 0
        {
            return file as u64;
        }
        fd += 1;
    }
    0
}

/// Whether it is known of a process that it has read a file's data.
#[inline(always)]
pub fn has_read(subject: &Subject, file: FileId) -> bool {
    // SAFETY: a value is not even read.
    unsafe { SEEN.get(by(*subject, file, seen::READ)) }.is_some()
}

/// Whether it is known of a process that it has reached a file's data in any way, or opened it.
#[inline(always)]
pub fn has_reached(subject: &Subject, file: FileId) -> bool {
    // SAFETY: a value is not even read.
    has_read(subject, file) || unsafe { SEEN.get(by(*subject, file, seen::WRITE)) }.is_some()
}

/// Whether this process reaches the file's data by writing for the first time; what its own open had allowed is no news.
#[inline(always)]
pub fn first_write(subject: Subject, file: FileId) -> bool {
    is_news(&by(subject, file, seen::WRITE))
}

#[inline(always)]
fn by(subject: Subject, file: FileId, how: u32) -> SeenBy {
    SeenBy { file, start: subject.start, exec: task::exec_id(subject.task), tgid: subject.tgid, how }
}

/// Another process's memory was reached, in this manner ([`seen`]).
#[inline(always)]
pub fn pair(subject: &Subject, target: &Holder, tgid: u32, how: u32) -> SeenBy {
    let whose = FileId { ino: target.start, dev: tgid, birth: target.exec as u32 };
    by(*subject, whose, how)
}

/// What was no news after all.
#[inline(always)]
pub fn forget(who: &SeenBy) {
    let _ = SEEN.remove(who);
}

/// Whether this is the first time, which it then was: of two threads at once, one is told so.
#[inline(always)]
pub fn is_news(who: &SeenBy) -> bool {
    const EEXIST: i32 = -17;
    // Looked up first: an insertion into a table of the least recently used takes a place before it looks.
    // SAFETY: a value is not even read.
    if unsafe { SEEN.get(who) }.is_some() {
        return false;
    }
    !matches!(SEEN.insert(who, 1, u64::from(BPF_NOEXIST)), Err(EEXIST))
}
