//! What each process executed, taken when it did so.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::bpf_ktime_get_boot_ns,
};
use dkimwatch_common::{
    exec::{ExecImage, mark, source},
    filter,
    identity::FileId,
    limits::EXEC_PATH,
    tally::Exit,
    watch::signer,
};

use crate::{
    change, environment, holders,
    maps::{PROCESSES, SCRIPTS, SIGNERS},
    memory::{Memory, Probed, Ptr, copy_str, offset, pointer, present, u32_at, u64_at},
    pending, summary, watch,
};

/// An image of nothing.
const NONE: ExecImage = ExecImage {
    start: 0,
    executed: 0,
    file: FileId::new(0, 0),
    ctime: 0,
    uid: 0,
    gid: 0,
    mode: 0,
    nlink: 0,
    mnt_ns: 0,
    source: source::NONE,
    path_len: 0,
    marks: 0,
    path: [0; EXEC_PATH],
};

/// `task->start_boottime` of the process that a task belongs to.
#[inline(always)]
pub fn start(task: Ptr) -> u64 {
    u64_at(pointer(task, offset!(task_group_leader)), offset!(task_start))
}

/// The image of a file, without a path.
#[inline(always)]
pub fn image(task: Ptr, file: Ptr, how: u32) -> ExecImage {
    let mut image = NONE;
    let inode = pointer(file, offset!(file_f_inode));
    image.start = start(task);
    image.file = watch::identity(inode);
    let ctime = offset!(inode_i_ctime);
    if present(ctime) {
        image.ctime = u64_at(inode, ctime);
    }
    image.uid = u32_at(inode, offset!(inode_i_uid));
    image.gid = u32_at(inode, offset!(inode_i_gid));
    // SAFETY: an integer; `umode_t` is 16 bits wide.
    image.mode = u32::from(unsafe { Probed::read::<u16>(inode, offset!(inode_i_mode)) });
    image.nlink = u32_at(inode, offset!(inode_i_nlink));
    image.mnt_ns = mount_namespace(task);
    image.source = how;
    image
}

/// The mount namespace of a task, zero while it exits.
#[inline(always)]
pub fn mount_namespace(task: Ptr) -> u32 {
    let nsproxy = pointer(task, offset!(task_nsproxy));
    u32_at(pointer(nsproxy, offset!(nsproxy_mnt)), offset!(mnt_ns_inum))
}

/// A process executed a file.
#[inline(always)]
pub fn executed(task: Ptr, bprm: Ptr) -> Exit {
    let mut image = image(task, pointer(bprm, offset!(bprm_file)), source::EXEC);
    let path = pointer(bprm, offset!(bprm_filename));
    // SAFETY: the array has `EXEC_PATH` bytes.
    let written = unsafe { copy_str(image.path.as_mut_ptr(), EXEC_PATH as u32, path) };
    if written > 0 {
        image.path_len = written as u32 - 1;
    }
    // SAFETY: a helper without arguments.
    image.executed = unsafe { bpf_ktime_get_boot_ns() };
    let signer = runs_signer(&image);
    holders::executed(task, image.start, signer);
    image.marks = entered_before(u32_at(task, offset!(task_tgid)), image.start);
    if signer {
        image.marks |= mark::RECORDED;
    }
    kept(PROCESSES.insert(u32_at(task, offset!(task_tgid)), image, u64::from(BPF_ANY)))
}

/// [`mark::ENTERED`], where a process had it when it executed.
#[inline(always)]
fn entered_before(tgid: u32, start: u64) -> u32 {
    match PROCESSES.get_ptr(tgid) {
        // SAFETY: a value is only copied out, and the process that it belongs to executes.
        Some(before) if unsafe { (*before).start } == start => unsafe { (*before).marks & mark::ENTERED },
        _ => 0,
    }
}

/// A process executed a file, and was recorded: what of its environment matters is added, where it runs a signer's program.
#[inline(always)]
pub fn executed_with(task: Ptr) -> Exit {
    let Some(image) = PROCESSES.get_ptr_mut(u32_at(task, offset!(task_tgid))) else { return Exit::Unrelated };
    // SAFETY: the process that the entry belongs to executes, and has no other thread any more.
    unsafe {
        if (*image).marks & mark::RECORDED != 0 && (*image).start == start(task) {
            (*image).marks |= environment::marks(task);
        }
    }
    Exit::Unrelated
}

/// Whether it is an expected signer's program, to the best of the tables: for an interpreter, with a signer's script.
#[inline(always)]
fn runs_signer(image: &ExecImage) -> bool {
    // SAFETY: a value is only compared.
    match unsafe { SIGNERS.get(image.file) } {
        Some(kind) if *kind == signer::INTERPRETER => {
            let hash = filter::name_hash(|word| path_word(image, word));
            // SAFETY: as above.
            unsafe { SCRIPTS.get(hash) }.is_some()
        }
        Some(_) => true,
        None => false,
    }
}

/// Eight bytes of the path, zero behind its end.
#[inline(always)]
fn path_word(image: &ExecImage, word: u32) -> u64 {
    let at = 8 * word as usize;
    if at + 8 > EXEC_PATH {
        return 0;
    }
    // SAFETY: within the array, see above; read unaligned.
    unsafe { core::ptr::read_unaligned(image.path.as_ptr().add(at).cast::<u64>()) }
}

/// A process forked: the child runs what its parent executed.
#[inline(always)]
pub fn forked(parent: Ptr, child: Ptr) -> Exit {
    let child_tgid = u32_at(child, offset!(task_tgid));
    let parent_tgid = u32_at(parent, offset!(task_tgid));
    if child_tgid == parent_tgid {
        return Exit::Unrelated;
    }
    holders::forked(parent, parent_tgid, child, child_tgid);
    // SAFETY: a value is only copied out; the parent is alive and does not execute while it forks.
    let Some(image) = (unsafe { PROCESSES.get(parent_tgid) }) else { return Exit::FilterMiss };
    let mut image = *image;
    image.start = start(child);
    // Most are in the host's own pid namespace, which nobody can enter from outside.
    let pid = Pid::of(child);
    let level = pid.level();
    if level > 0 && level > Pid::of(parent).level() {
        // The first one in a pid namespace makes it.
        image.marks = if pid.number(level) == 1 { image.marks & !mark::ENTERED } else { image.marks | mark::ENTERED };
    }
    kept(PROCESSES.insert(child_tgid, image, u64::from(BPF_ANY)))
}

/// A task's `struct pid *`.
struct Pid(Ptr);

impl Pid {
    /// Null where the kernel does not say.
    #[inline(always)]
    fn of(task: Ptr) -> Self {
        let at = offset!(task_thread_pid);
        Self(if present(at) { pointer(task, at) } else { core::ptr::null() })
    }

    /// How many pid namespaces are around its own.
    #[inline(always)]
    fn level(&self) -> u32 {
        let at = offset!(pid_level);
        if present(at) { u32_at(self.0, at) } else { 0 }
    }

    /// Its number in the namespace of a level.
    #[inline(always)]
    fn number(&self, level: u32) -> u32 {
        let (numbers, number) = (offset!(pid_numbers), offset!(upid_nr));
        if !present(numbers) || !present(number) {
            return 0;
        }
        u32_at(self.0.wrapping_add(numbers as usize).wrapping_add(level as usize * UPID), number)
    }
}

/// Bytes of `struct upid`: a number and its namespace.
pub const UPID: usize = 16;

/// A thread ended, which is the current one: forget the process with its last one.
#[inline(always)]
pub fn exited(task: Ptr) -> Exit {
    pending::forget();
    change::forget_thread(u32_at(task, offset!(task_pid)));
    // `do_exit()` counts the thread off before it tells.
    if u32_at(pointer(task, offset!(task_signal)), offset!(signal_live)) == 0 {
        let tgid = u32_at(task, offset!(task_tgid));
        let _ = PROCESSES.remove(tgid);
        holders::ended(tgid);
        summary::ended(tgid);
    }
    Exit::Unrelated
}

/// A process older than the watch.
#[inline(always)]
pub fn found(task: Ptr) -> Exit {
    if pointer(task, offset!(task_group_leader)) != task {
        return Exit::Unrelated;
    }
    let mm = pointer(task, offset!(task_mm));
    let file = pointer(mm, offset!(mm_exe_file));
    if mm.is_null() || file.is_null() {
        return Exit::Unrelated;
    }
    let image = image(task, file, source::OLDER_THAN_WATCH);
    let tgid = u32_at(task, offset!(task_tgid));
    // What it has read is not known: whatever runs a signer's program is taken for a signer. The first time that this is
    // run, none is known yet.
    let known_from = match PROCESSES.get_ptr(tgid) {
        // SAFETY: a value is only copied out.
        Some(known) => unsafe { (*known).source },
        None => source::NONE,
    };
    // SAFETY: the entry is only asked for.
    if known_from == source::OLDER_THAN_WATCH && unsafe { SIGNERS.get(image.file) }.is_some() {
        holders::older(task, tgid, image.start);
    }
    // What the exec hook has written meanwhile is better.
    kept(PROCESSES.insert(tgid, image, u64::from(BPF_NOEXIST)))
}

#[inline(always)]
fn kept(result: Result<(), i32>) -> Exit {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) | Err(EEXIST) => Exit::Unrelated,
        Err(_) => Exit::TableFull,
    }
}
