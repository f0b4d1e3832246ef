//! Expected opens are counted, and not told one by one: what a process was when it was told of, and whether it still is.
//!
//! Nobody is counted whom userspace has not judged: it judges a record, and makes an entry for the number of the guise in it.
//! Everything else is told in full, and whatever cannot be found out as well.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
    },
};
use dkimwatch_common::{
    identity::FileId,
    limits,
    summary::{Guise, Summary, SummaryKey, switch},
    tally::Hook,
    watch::{Tag, file_watch},
};

use crate::{
    maps::{DRAWN, GUISES, PROCESSES, SIGNERS, SUMMARIES, SWITCH},
    memory::{Ptr, apart, copy, number, offset, pointer, present, u32_at, u64_at},
    subject::{self, Subject},
    task, watch,
    watch::Found,
};

/// Read-only memory, see [`guise_drawn`].
// SAFETY: integers.
static NOBODY: Guise = unsafe { MaybeUninit::zeroed().assume_init() };

/// What is to be done about an open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It was counted: it is told in sum.
    Counted,
    /// It is told in full, with the number of the guise; 0 where none is kept.
    Told(u64),
}

/// `open_summarised`: it was counted. No guise has this number.
const COUNTED: u64 = 1;

/// Counts an open that was done, if it is one like those that were judged to be expected.
#[inline(always)]
pub fn opened(file: Ptr, found: &Found, hook: Hook) -> Open {
    if !matches!(hook, Hook::LsmFileOpen | Hook::FexitFileOpen | Hook::SysExitOpen) || !is_on() {
        return Open::Told(0);
    }
    if !matches!(found.watch.kind, file_watch::ARMED | file_watch::BORN) {
        return Open::Told(0);
    }
    let id = found.file;
    let device = u64::from(id.dev) << 32 | u64::from(id.birth);
    let watch = u64::from(found.watch.tag) << 32 | u64::from(found.watch.kind);
    let generation = u64::from(found.watch.generation);
    if guise_drawn(number(file), generation) == 0 {
        return Open::Told(0);
    }
    if guise_placed() == 0 || guise_grouped() == 0 || guise_owned() == 0 || guise_spaced() == 0 {
        if let Some((task, _)) = drawn() {
            let _ = DRAWN.remove(task as u64);
        }
        return Open::Told(0);
    }
    match open_summarised(id.ino, device, watch, generation) {
        COUNTED => Open::Counted,
        guise => Open::Told(guise),
    }
}

/// A signer maps code that is not known to be the system's: everybody is told of in full again. To be called before that is
/// told, and after: who is judged by what was known before it, has a guise of before it.
#[inline(always)]
pub fn code_mapped() {
    if let Some(code) = SWITCH.get_ptr_mut(switch::CODE) {
        add_one(code);
    }
}

/// Somebody has got hold of a process: its next open is told in full.
#[inline(always)]
pub fn reached(tgid: u32) {
    if GUISES.get_ptr(tgid).is_some() {
        let _ = GUISES.remove(tgid);
    }
}

/// A process is gone.
#[inline(always)]
pub fn ended(tgid: u32) {
    reached(tgid);
}

#[inline(always)]
fn is_on() -> bool {
    switched(switch::ON) != 0
}

#[inline(always)]
fn switched(which: u32) -> u64 {
    match SWITCH.get_ptr(which) {
        // SAFETY: an integer, which others may be writing as a whole.
        Some(value) => unsafe { core::ptr::read_volatile(value) },
        None => 0,
    }
}

/// A global function, see [`crate::draft`]: begins to draw the guise of the current process, in a place of the thread's own, since the
/// stack has no room for it. Zero where it is not to be compared.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guise_drawn(file: u64, generation: u64) -> u64 {
    let subject = Subject::current();
    if !is_plain(file as Ptr, generation as u32) || !is_itself(subject.task) {
        return 0;
    }
    let thread = subject.task as u64;
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be on the stack, see above")]
    let made = DRAWN.insert(thread, &NOBODY, u64::from(BPF_NOEXIST));
    if made.is_err() {
        // An interrupt in the midst of it, or no room.
        return 0;
    }
    let Some(guise) = DRAWN.get_ptr_mut(thread) else { return 0 };
    // SAFETY: values are only copied out, and the process that they belong to is running this hook; the guise is this thread's.
    unsafe {
        if let Some(image) = PROCESSES.get_ptr(subject.tgid)
            && (*image).start == subject.start
            && SIGNERS.get((*image).file).is_some()
        {
            (*guise).marks = (*image).marks;
            (*guise).executed = (*image).executed;
            (*guise).start = subject.start;
            (*guise).exec = task::exec_id(subject.task);
            (*guise).policy = switched(switch::POLICY);
            (*guise).code = switched(switch::CODE);
            return 1;
        }
    }
    let _ = DRAWN.remove(thread);
    0
}

/// The task that runs this, and the guise that is drawn of it.
#[inline(always)]
fn drawn() -> Option<(Ptr, *mut Guise)> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    DRAWN.get_ptr_mut(task).map(|guise| (task as Ptr, guise))
}

/// A global function, as the stack has no room for all at once: adds what the process executes, and by which names. A forebear may
/// be what tells a container.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guise_placed() -> u64 {
    let Some((task, guise)) = drawn() else { return 0 };
    let exe = pointer(pointer(task, offset!(task_mm)), offset!(mm_exe_file));
    let parent = pointer(pointer(task, offset!(task_group_leader)), offset!(task_real_parent)) as u64;
    // SAFETY: the guise is this thread's.
    unsafe {
        (*guise).claimed = watch::identity(pointer(exe, offset!(file_f_inode)));
        (*guise).place = mixed(place(pointer(exe, offset!(file_dentry))), parent);
    }
    u64::from(!exe.is_null())
}

/// As above: adds the control group.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guise_grouped() -> u64 {
    let Some((task, guise)) = drawn() else { return 0 };
    let (cgroup, names) = control_group(pointer(task, offset!(task_cgroups)));
    // SAFETY: the guise is this thread's.
    unsafe { ((*guise).cgroup, (*guise).cgroup_names) = (cgroup, names) };
    u64::from(cgroup != 0)
}

/// As above: adds the ids, from where they are to where they go.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guise_owned() -> u64 {
    let Some((task, guise)) = drawn() else { return 0 };
    let cred = pointer(task, offset!(task_real_cred));
    // SAFETY: the guise is this thread's, and each field has as many bytes.
    unsafe {
        let creds = &raw mut (*guise).creds;
        let id = |to: *mut u32, at: u32| copy(to.cast(), 4, cred.wrapping_add(at as usize));
        let read = id(&raw mut (*creds).uid, offset!(cred_uid))
            & id(&raw mut (*creds).euid, offset!(cred_euid))
            & id(&raw mut (*creds).suid, offset!(cred_suid))
            & id(&raw mut (*creds).fsuid, offset!(cred_fsuid))
            & id(&raw mut (*creds).gid, offset!(cred_gid))
            & id(&raw mut (*creds).egid, offset!(cred_egid))
            & id(&raw mut (*creds).sgid, offset!(cred_sgid))
            & id(&raw mut (*creds).fsgid, offset!(cred_fsgid));
        let held = (&raw mut (*creds).cap_effective).cast();
        u64::from(read & copy(held, 8, cred.wrapping_add(offset!(cred_cap_effective) as usize)))
    }
}

/// As above: adds the namespaces.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn guise_spaced() -> u64 {
    let Some((task, guise)) = drawn() else { return 0 };
    let (cred, nsproxy) = (pointer(task, offset!(task_real_cred)), pointer(task, offset!(task_nsproxy)));
    if nsproxy.is_null() {
        return 0;
    }
    // SAFETY: the guise is this thread's.
    unsafe { subject::namespaces(&raw mut (*guise).namespaces, cred, nsproxy) };
    1
}

/// A global function: what becomes of an open by a process whose guise was drawn: [`COUNTED`], or the number of the guise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn open_summarised(ino: u64, device: u64, watch: u64, generation: u64) -> u64 {
    // SAFETY: helpers without arguments.
    let (thread, tgid) = unsafe { (bpf_get_current_task(), (bpf_get_current_pid_tgid() >> 32) as u32) };
    let Some(guise) = DRAWN.get_ptr_mut(thread) else { return 0 };
    let known = same_as_before(tgid, guise);
    let number = match known {
        0 => kept(tgid, guise),
        number => number,
    };
    let _ = DRAWN.remove(thread);
    if known == 0 {
        return number;
    }
    let file = FileId { ino, dev: (device >> 32) as u32, birth: device as u32 };
    let Some(summary) = SUMMARIES.get_ptr_mut(SummaryKey { file, guise: known, tgid, pad: 0 }) else { return known };
    // SAFETY: userspace writes these before the entry is there, and nobody after.
    let judged = unsafe { ((*summary).tag, (*summary).kind, (*summary).generation) };
    if judged != ((watch >> 32) as Tag, watch as u32, generation as u32) {
        return known;
    }
    count(summary);
    COUNTED
}

/// Whether the file was opened for reading, and for nothing else, and is the one that was enrolled.
#[inline(always)]
fn is_plain(file: Ptr, generation: u32) -> bool {
    /// `file->f_mode` (`include/linux/fs.h`).
    const FMODE_READ: u32 = 0x1;
    const NOT_PLAIN: u32 = 0x2 | 0x10_0000;
    /// Flags that change nothing about what is done to the file (`include/uapi/asm-generic/fcntl.h`): `O_NOCTTY`, `O_NONBLOCK`,
    /// `O_LARGEFILE`, `O_NOFOLLOW`, `O_CLOEXEC`.
    const PLAIN_FLAGS: u32 = 0o400 | 0o4000 | 0o10_0000 | 0o40_0000 | 0o200_0000;
    let mode = u32_at(file, offset!(file_f_mode));
    let flags = u32_at(file, offset!(file_f_flags));
    mode & FMODE_READ != 0
        && mode & NOT_PLAIN == 0
        && flags & !PLAIN_FLAGS == 0
        && watch::generation(pointer(file, offset!(file_f_inode))) == generation
}

/// Whether a task does what it does for itself: no thread of the kernel's, no worker of io_uring, and nobody traces it.
#[inline(always)]
fn is_itself(task: Ptr) -> bool {
    /// `include/linux/sched.h`.
    const PF_KTHREAD: u32 = 0x0020_0000;
    const PF_IO_WORKER: u32 = 0x0000_0010;
    u32_at(task, offset!(task_flags)) & (PF_KTHREAD | PF_IO_WORKER) == 0 && u32_at(task, offset!(task_ptrace)) == 0
}

/// The control group's id, and a hash of its names where they can change: those of the unified hierarchy cannot.
#[inline(always)]
fn control_group(set: Ptr) -> (u64, u64) {
    let mut node = subject::cgroup_node(set);
    let id = u64_at(node, offset!(kernfs_id));
    let unified = pointer(pointer(set, offset!(css_set_dfl_cgrp)), offset!(cgroup_kn));
    let mut names = 0;
    if node == unified {
        return (id, names);
    }
    let mut level = 0;
    while level < limits::CGROUP_DEPTH {
        level += 1;
        // A rename gives a group another string, elsewhere.
        names = mixed(names, pointer(node, offset!(kernfs_name)) as u64);
        node = pointer(node, offset!(kernfs_parent));
        if node.is_null() {
            break;
        }
    }
    (id, names)
}

/// A hash of an entry and the folders above it in its file system, each by its address and its name's hash, which has the
/// kernel's own secret: renamed or unlinked, it is another one.
#[inline(always)]
fn place(entry: Ptr) -> u64 {
    /// Folders that are looked at: a signer's program is three or four deep.
    const LEVELS: u32 = 8;
    let pprev = offset!(dentry_hash_pprev);
    let hashed = !present(pprev) || !pointer(entry, pprev).is_null();
    let mut hash = u64::from(hashed);
    let mut entry = entry;
    let mut level = 0;
    while level < LEVELS {
        level += 1;
        hash = mixed(mixed(hash, entry as u64), u64_at(entry, offset!(dentry_hash_len)));
        let parent = pointer(entry, offset!(dentry_d_parent));
        if parent == entry || parent.is_null() {
            break;
        }
        entry = parent;
    }
    hash
}

/// A step of a hash over kernel addresses, which nobody who is compared knows.
#[inline(always)]
fn mixed(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

/// The number of the process's guise, where that is still the same; else 0.
///
/// All but the number is compared first, and the number read last. The kernel gives an entry that was replaced to the next
/// one that is made, and writes that from its beginning, the number, to its end: while the number is still there, nothing of
/// the entry is another one's.
#[inline(always)]
fn same_as_before(tgid: u32, guise: *const Guise) -> u64 {
    const WORDS: usize = size_of::<Guise>() / 8;
    let Some(known) = GUISES.get_ptr(tgid) else { return 0 };
    let (known, now): (*const u64, *const u64) = (known.cast(), guise.cast());
    let mut other = 0;
    let mut at = 1;
    while at < WORDS {
        // SAFETY: within both, which are words and half words without implicit padding.
        let differs = unsafe { core::ptr::read_volatile(known.add(at)) ^ core::ptr::read_volatile(now.add(at)) };
        // Word by word: else all of them are read first, onto the stack.
        other = apart(other | differs);
        at += 1;
    }
    if other != 0 {
        return 0;
    }
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(known) }
}

/// Keeps a guise under a number of its own; 0 where there is no room for it.
#[inline(always)]
fn kept(tgid: u32, guise: *mut Guise) -> u64 {
    /// Bits of the number that are the CPU's. Two programs on one CPU do not read the same nanosecond.
    const CPU: u32 = 10;
    // SAFETY: helpers without arguments; the guise is this thread's.
    unsafe {
        let number = bpf_ktime_get_boot_ns() << CPU | u64::from(bpf_get_smp_processor_id() & ((1 << CPU) - 1));
        (*guise).number = number;
        // By reference: it has no room on the stack.
        let guise = &*guise;
        match GUISES.insert(tgid, guise, u64::from(BPF_ANY)) {
            Ok(()) => number,
            Err(_) => 0,
        }
    }
}

/// Counts. The times first, and then the number: whoever reads the number before the times has times of all that it counts.
#[inline(always)]
fn count(summary: *mut Summary) {
    let span = switched(switch::SPAN);
    // SAFETY: the entry is there for as long as this program runs; words, which others may write at the same time.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        if core::ptr::read_volatile(&raw const (*summary).span) != span {
            core::ptr::write_volatile(&raw mut (*summary).first, now);
            core::ptr::write_volatile(&raw mut (*summary).span, span);
        }
        core::ptr::write_volatile(&raw mut (*summary).last, now);
        add_one(&raw mut (*summary).count);
    }
}

/// Adds one, whoever else does so. In assembly, as the compiler's own asks for the former value, which the kernel gives since
/// 5.12 only.
#[inline(always)]
fn add_one(to: *mut u64) {
    // SAFETY: an atomic addition to a word that the caller has.
    unsafe { core::arch::asm!("lock *(u64 *)({to} + 0) += {one}", to = in(reg) to, one = in(reg) 1_u64) };
}
