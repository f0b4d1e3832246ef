//! The system call that the current task is in, and its end.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
    programs::TracePointContext,
};
use dkimwatch_common::deed::Deed;

use crate::{
    call,
    memory::{Memory, Ptr, TASK_REGS, Typed, constant, offset, pointer, present, u32_at, u64_at},
};

/// What a program on `syscalls:sys_exit_*` is told.
#[derive(Clone, Copy)]
pub struct Ended {
    /// The system call's number (`syscall_64.tbl`).
    pub number: u32,
    /// What it returns: a negative errno where it failed.
    pub result: i64,
}

/// Offsets of `__syscall_nr` and `ret` in the event's format (`/sys/kernel/tracing/events/syscalls/sys_exit_openat/format`).
const NR: usize = 8;
const RET: usize = 16;

/// How the system call ended whose end this is.
#[inline(always)]
pub fn ended(ctx: &TracePointContext) -> Option<Ended> {
    // SAFETY: the format has been this one since the syscall tracepoints exist.
    let (number, result) = unsafe { (ctx.read_at::<i32>(NR).ok()?, ctx.read_at::<i64>(RET).ok()?) };
    Some(Ended { number: number as u32, result })
}

/// The current task's registers of user space; null where they cannot be found.
#[inline(always)]
pub fn registers() -> Ptr {
    if constant(&raw const TASK_REGS) == 1 {
        // SAFETY: the helper takes the task that it is handed.
        return unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as Ptr;
    }
    /// x86-64: four pages, with `struct pt_regs` (21 words) at the end. Kernels that pad it have the helper.
    const STACK: usize = 4 * 4096;
    const REGISTERS: usize = 21 * 8;
    let at = offset!(task_stack);
    if !present(at) {
        return core::ptr::null();
    }
    // SAFETY: a helper without arguments.
    pointer(unsafe { bpf_get_current_task() } as Ptr, at).wrapping_add(STACK - REGISTERS)
}

/// A register that the current task entered the kernel with, by its place in `struct pt_regs`.
#[inline(always)]
pub fn register(at: u32) -> u64 {
    if constant(&raw const TASK_REGS) == 1 {
        // SAFETY: as above; an integer.
        return unsafe { Typed::read(bpf_task_pt_regs(bpf_get_current_task_btf()) as Ptr, at) };
    }
    u64_at(registers(), at)
}

/// The current process's open file of a number, null where there is none; as `call::file`, for the hot path of every read.
#[inline(always)]
pub fn open_file(descriptor: u32) -> Ptr {
    if constant(&raw const TASK_REGS) == 0 {
        // SAFETY: a helper without arguments.
        return call::file(unsafe { bpf_get_current_task() } as Ptr, i64::from(descriptor));
    }
    // SAFETY: pointers and an integer; a task that ends a system call has its files, and they their table.
    let (slots, slot) = unsafe {
        let files: Ptr = Typed::read(bpf_get_current_task_btf() as Ptr, offset!(task_files));
        let table: Ptr = Typed::read(files, offset!(files_fdt));
        (Typed::read::<u32>(table, offset!(fdtable_max_fds)), Typed::read::<Ptr>(table, offset!(fdtable_fd)))
    };
    if descriptor >= slots {
        return core::ptr::null();
    }
    pointer(slot.wrapping_add(8 * descriptor as usize), 0)
}

/// By which way the current task reaches another one's memory, now that the kernel asks whether it may
/// (`PTRACE_MODE_ATTACH`). `None`: by none that leads to the memory. `/proc/PID/stack`, `syscall` and `personality` ask the
/// same, when they are read; `timerslack_ns` when it is written.
#[inline(always)]
pub fn road_to_memory() -> Option<Deed> {
    const PF_IO_WORKER: u32 = 0x10;
    const TS_COMPAT: u32 = 2;
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    // A worker of io_uring is in no system call. It can open `/proc/PID/mem`, and nothing else of these.
    if u32_at(task, offset!(task_flags)) & PF_IO_WORKER != 0 {
        return Some(Deed::ProcMem);
    }
    let (status, number) = (offset!(task_status), offset!(regs_orig_ax));
    let registers = registers();
    // The numbers of 32-bit system calls are others.
    if !present(status) || !present(number) || registers.is_null() || u32_at(task, status) & TS_COMPAT != 0 {
        return Some(Deed::Attach);
    }
    // The numbers of x86-64 (`syscall_64.tbl`).
    match u64_at(registers, number) {
        101 => Some(Deed::Ptrace),
        310 | 311 => Some(Deed::VmRead),
        438 => Some(Deed::TakeDescriptor),
        // open, creat, openat, openat2.
        2 | 85 | 257 | 437 => Some(Deed::ProcMem),
        // read, write, pread64, readv, sendfile, splice, preadv, preadv2, process_madvise (until 5.12).
        0 | 1 | 17 | 19 | 40 | 275 | 295 | 327 | 440 => None,
        _ => Some(Deed::Attach),
    }
}
