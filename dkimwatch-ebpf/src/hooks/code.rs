//! A signer maps code: what is not known to be the system's is told, and marked in the process.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::{fentry, lsm, tracepoint},
    programs::{FEntryContext, LsmContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    exec::mark,
    identity::FileId,
    record::{Kind, Via},
    tally::{Exit, Hook},
    watch::{FileWatch, file_watch},
};

use crate::{
    emit::{self, Name},
    maps::{LIBRARIES, PROCESSES},
    memory::{Ptr, number, offset, pointer, present, u32_at, u64_at},
    process, summary, tally,
    watch::{self, Found},
};

/// `include/uapi/asm-generic/mman-common.h`.
const PROT_EXEC: u64 = 4;
const MAP_ANONYMOUS: u64 = 0x20;

/// `int security_mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)`, as the LSM
/// hook has it: `prot` is what the kernel makes of `reqprot` (`READ_IMPLIES_EXEC`).
#[lsm(hook = "mmap_file")]
fn lsm_map_code(ctx: LsmContext) -> i32 {
    let verdict: i32 = ctx.arg(4);
    if verdict == 0 {
        // A number: until 6.19 the verifier takes the file of an LSM program for one that is always there, and leaves out what
        // asks whether it is null.
        let file = number(ctx.arg(0)) as Ptr;
        tally::count(&ctx, Hook::MapCode, mapped(file, ctx.arg(2), emit::via(Via::Lsm)));
    }
    verdict
}

/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`.
#[fentry(function = "security_mmap_file")]
fn fentry_map_code(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::MapCode, mapped(ctx.arg(0), ctx.arg(1), emit::via(Via::Fentry)));
    0
}

/// `int security_file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)`: what was mapped as data becomes
/// code.
#[fentry(function = "security_file_mprotect")]
fn fentry_protect_code(ctx: FEntryContext) -> i32 {
    let prot: u64 = ctx.arg(2);
    if prot & PROT_EXEC != 0 {
        let file = pointer(ctx.arg(0), offset!(vma_file));
        tally::count(&ctx, Hook::MapCode, mapped(file, prot, emit::shared_via()));
    }
    0
}

/// `syscalls:sys_enter_mmap`: `unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags,
/// unsigned long fd, unsigned long off`.
#[tracepoint]
fn sys_enter_map_code(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::MapCode, try_sys_enter_map_code(&ctx));
    0
}

#[inline(always)]
fn try_sys_enter_map_code(ctx: &TracePointContext) -> Exit {
    /// Offsets in the event's format (`/sys/kernel/tracing/events/syscalls/sys_enter_mmap/format`).
    const PROT: usize = 32;
    const FLAGS: usize = 40;
    const FD: usize = 48;
    // SAFETY: the format has been this one since the syscall tracepoints exist.
    let Ok(prot) = (unsafe { ctx.read_at::<u64>(PROT) }) else { return Exit::Unrelated };
    if prot & PROT_EXEC == 0 || !runs_signer() {
        return Exit::Unrelated;
    }
    // SAFETY: as above.
    let (Ok(flags), Ok(fd)) = (unsafe { (ctx.read_at::<u64>(FLAGS), ctx.read_at::<u64>(FD)) }) else {
        return Exit::Unrelated;
    };
    if flags & MAP_ANONYMOUS != 0 {
        return Exit::Unrelated;
    }
    mapped(descriptor(fd as u32), prot, emit::via(Via::Tracepoint))
}

/// The current process's open file of a number, null where there is none.
#[inline(always)]
fn descriptor(fd: u32) -> Ptr {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    let table = pointer(pointer(task, offset!(task_files)), offset!(files_fdt));
    if fd >= u32_at(table, offset!(fdtable_max_fds)) {
        return core::ptr::null();
    }
    pointer(pointer(table, offset!(fdtable_fd)).wrapping_add(8 * fd as usize), 0)
}

/// Whether the current process runs a signer's program, whose code is looked at.
#[inline(always)]
fn runs_signer() -> bool {
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    match PROCESSES.get_ptr(tgid) {
        // SAFETY: a value is only copied out, and the process that it belongs to is running this hook.
        Some(image) => unsafe { (*image).marks & mark::RECORDED != 0 },
        None => false,
    }
}

#[inline(always)]
fn mapped(file: Ptr, prot: u64, via: u32) -> Exit {
    if file.is_null() || prot & PROT_EXEC == 0 {
        return Exit::Unrelated;
    }
    // SAFETY: helpers without arguments.
    let (task, tgid) = unsafe { (bpf_get_current_task() as Ptr, (bpf_get_current_pid_tgid() >> 32) as u32) };
    let Some(image) = PROCESSES.get_ptr_mut(tgid) else { return Exit::Unrelated };
    // SAFETY: the process that the entry belongs to is running this hook.
    let (marks, program) = unsafe { ((*image).marks, (*image).file) };
    // SAFETY: as above.
    if marks & mark::RECORDED == 0 || unsafe { (*image).start } != process::start(task) {
        return Exit::Unrelated;
    }
    let inode = pointer(file, offset!(file_f_inode));
    let id = watch::identity(inode);
    // Its own program. Or, within execve(2), what the next program is made of: the memory is that one's already.
    let exe = pointer(pointer(task, offset!(task_mm)), offset!(mm_exe_file));
    if id == program || watch::identity(pointer(exe, offset!(file_f_inode))) != program {
        return Exit::FilterMiss;
    }
    let ctime = offset!(inode_i_ctime);
    let ctime = if present(ctime) { u64_at(inode, ctime) } else { 0 };
    // SAFETY: a value is only compared.
    if unsafe { LIBRARIES.get(id) }.is_some_and(|known| *known == ctime) {
        return Exit::AlreadySeen;
    }
    // Before the record: should it be lost, the mark says that there was one.
    // SAFETY: as above; what another thread sets at the same time is the same.
    unsafe { (*image).marks = marks | mark::UNKNOWN_CODE };
    summary::code_mapped();
    let watch = FileWatch { tag: u32::MAX, kind: file_watch::NONE, generation: 0, pad: 0 };
    let found = Found { inode, file: id, dir: FileId::new(0, 0), watch };
    let access = emit::Access {
        kind: Kind::Library,
        deed: Deed::None,
        hook: Hook::MapCode,
        via,
        name: Name::File(file),
        outcome: None,
    };
    let exit = emit::extended(&access, &found, |_| {});
    summary::code_mapped();
    exit
}
