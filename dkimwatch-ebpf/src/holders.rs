//! Which processes have a key in memory.
//!
//! A process has one from the moment it opens or reads it, and with it everybody that is forked from it; until it executes
//! another program. A signer's program has one whatever we saw: somebody can get hold of its memory before it reads the
//! key, and one that is older than the watch has read it already.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use dkimwatch_common::{
    identity::FileId,
    watch::{Holder, OWN_PROCESS, Tag, file_watch, signer},
};

use crate::{
    itself,
    maps::{HOLDERS, PROCESSES, SIGNERS},
    memory::{Ptr, offset, pointer, u32_at},
    process,
    subject::Subject,
    task,
    watch::{self, Found},
};

/// The current process has reached a key.
#[inline(always)]
pub fn reached(subject: &Subject, found: &Found) {
    let holder = Holder {
        file: found.file,
        start: subject.start,
        exec: task::exec_id(subject.task),
        tag: found.watch.tag,
        kind: found.watch.kind,
    };
    let _ = HOLDERS.insert(subject.tgid, holder, u64::from(BPF_ANY));
}

/// A process has executed a program, and its former memory is gone.
#[inline(always)]
pub fn executed(task: Ptr, start: u64, signer: bool) {
    let tgid = u32_at(task, offset!(task_tgid));
    if signer {
        let _ = HOLDERS.insert(tgid, unread(task, start), u64::from(BPF_ANY));
    } else if HOLDERS.get_ptr(tgid).is_some() {
        let _ = HOLDERS.remove(tgid);
    }
}

/// A process older than the watch runs a signer's program.
#[inline(always)]
pub fn older(task: Ptr, tgid: u32, start: u64) {
    let _ = HOLDERS.insert(tgid, unread(task, start), u64::from(BPF_NOEXIST));
}

#[inline(always)]
fn unread(task: Ptr, start: u64) -> Holder {
    let (file, exec) = (FileId::new(0, 0), task::exec_id(task));
    Holder { file, start, exec, tag: Tag::MAX, kind: file_watch::NONE }
}

/// A process forked: its memory was copied, or is shared.
#[inline(always)]
pub fn forked(parent: Ptr, parent_tgid: u32, child: Ptr, child_tgid: u32) {
    if let Some(holder) = valid(parent, parent_tgid) {
        let _ = HOLDERS.insert(child_tgid, Holder { start: process::start(child), ..holder }, u64::from(BPF_ANY));
    }
}

/// A process is gone.
#[inline(always)]
pub fn ended(tgid: u32) {
    if HOLDERS.get_ptr(tgid).is_some() {
        let _ = HOLDERS.remove(tgid);
    }
}

/// What the process of a task has in memory; `None` where that is no key. The watcher has none, and is guarded as if it had.
#[inline(always)]
pub fn of(task: Ptr) -> Option<Holder> {
    if itself::is_task(task) {
        return Some(Holder { tag: OWN_PROCESS, ..unread(task, process::start(task)) });
    }
    let tgid = u32_at(task, offset!(task_tgid));
    match valid(task, tgid) {
        None => unrecorded(task, tgid),
        holder => holder,
    }
}

/// A process that runs a signer's program, and is not in the table: it is in the midst of execve(2), which lets others at the new memory
/// before it is told of; or it was forgotten. An interpreter alone says nothing, but in that moment.
#[inline(always)]
fn unrecorded(task: Ptr, tgid: u32) -> Option<Holder> {
    let leader = pointer(task, offset!(task_group_leader));
    let program = pointer(pointer(task, offset!(task_mm)), offset!(mm_exe_file));
    if program.is_null() {
        return None;
    }
    let file = watch::identity(pointer(program, offset!(file_f_inode)));
    // SAFETY: a value is only copied out.
    let kind = *unsafe { SIGNERS.get(file) }?;
    // SAFETY: as above.
    if kind == signer::INTERPRETER && unsafe { PROCESSES.get(tgid) }.is_some_and(|image| image.file == file) {
        return None;
    }
    Some(unread(leader, process::start(leader)))
}

#[inline(always)]
fn valid(task: Ptr, tgid: u32) -> Option<Holder> {
    // SAFETY: a value is only copied out, and compared with the process that it is to belong to.
    let holder = *unsafe { HOLDERS.get(tgid) }?;
    // The memory is the process's: any of its threads knows which program it is of.
    let leader = pointer(task, offset!(task_group_leader));
    let same = holder.start == process::start(leader) && holder.exec == task::exec_id(leader);
    if same { Some(holder) } else { None }
}
