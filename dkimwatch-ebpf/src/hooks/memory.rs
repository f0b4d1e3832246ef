//! A process reached the memory of another one that holds a key.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_current_task,
    macros::{btf_tracepoint, fexit, tracepoint},
    programs::{BtfTracePointContext, FExitContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    record::{Kind, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, Holder, Refusal, file_watch, is_own, refusal, seen as how},
};

use super::open;
use crate::{
    emit, holders,
    memory::{Ptr, offset, pointer, present, u32_at, u64_at},
    recent, seen,
    subject::Subject,
    summary, syscall, tally, task,
    watch::Found,
};

const EPERM: i32 = -1;
const EACCES: i32 = -13;

/// `int __ptrace_may_access(struct task_struct *task, unsigned int mode)`: whether the current process may look into another
/// one, for ptrace(2), `/proc/PID/mem`, `process_vm_readv(2)` and `pidfd_getfd(2)`; with what permission bits, capabilities
/// and security modules said, of which the LSM hook would know the last part only. `ps` and its like ask for less.
#[fexit(function = "__ptrace_may_access")]
fn fexit_ptrace_access(ctx: FExitContext) -> i32 {
    const PTRACE_MODE_ATTACH: u32 = 2;
    let mode: u32 = ctx.arg(1);
    if mode & PTRACE_MODE_ATTACH == 0 {
        return 0;
    }
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(2) } as i32;
    tally::count(&ctx, Hook::PtraceAccess, asked(ctx.arg(0), outcome));
    0
}

#[inline(always)]
fn asked(target: Ptr, outcome: i32) -> Exit {
    let Some(holder) = holders::of(target) else { return Exit::Unrelated };
    match syscall::road_to_memory() {
        Some(deed) => told(&Subject::current(), target, &holder, deed, Hook::PtraceAccess, outcome),
        None => Exit::FilterMiss,
    }
}

/// `int security_ptrace_traceme(struct task_struct *parent)`: `PTRACE_TRACEME`, a process hands itself to its parent.
#[fexit(function = "security_ptrace_traceme")]
fn fexit_traceme(ctx: FExitContext) -> i32 {
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(1) } as i32;
    if outcome == 0 {
        tally::count(&ctx, Hook::PtraceAccess, handed_over(ctx.arg(0), Hook::PtraceAccess));
    }
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: who traces a process already when it executes a
/// signer's program has the memory of that, and asks nobody any more. After the process table's own programs there.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_traced(ctx: BtfTracePointContext) -> i32 {
    let task: Ptr = ctx.arg(0);
    if u32_at(task, offset!(task_ptrace)) != 0 {
        let tracer = pointer(task, offset!(task_parent));
        tally::count(&ctx, Hook::Process, handed_over(tracer, Hook::Process));
    }
    0
}

/// The current process's memory is its tracer's.
#[inline(always)]
fn handed_over(tracer: Ptr, hook: Hook) -> Exit {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    let Some(holder) = holders::of(task) else { return Exit::Unrelated };
    told(&Subject::of(tracer), task, &holder, Deed::Ptrace, hook, 0)
}

/// `syscalls:sys_exit_{ptrace,process_vm_readv,process_vm_writev,pidfd_getfd}`: `long ret`.
#[tracepoint]
fn sys_exit_memory(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitMemory, try_sys_exit_memory(&ctx));
    0
}

#[inline(always)]
fn try_sys_exit_memory(ctx: &TracePointContext) -> Exit {
    const PTRACE_TRACEME: u64 = 0;
    const PTRACE_ATTACH: u64 = 16;
    const PTRACE_SEIZE: u64 = 0x4206;
    let Some(syscall::Ended { number, result }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let result = result as i32;
    if result < 0 && result != EPERM && result != EACCES {
        return Exit::Unrelated;
    }
    let registers = syscall::registers();
    let (first, second) = (u64_at(registers, offset!(regs_di)), u64_at(registers, offset!(regs_si)));
    // The numbers of x86-64 (`syscall_64.tbl`).
    let (target, deed) = match number {
        101 if first == PTRACE_ATTACH || first == PTRACE_SEIZE => (task::by_number(second as u32), Deed::Ptrace),
        101 if first == PTRACE_TRACEME && result == 0 => {
            // SAFETY: a helper without arguments.
            let task = unsafe { bpf_get_current_task() } as Ptr;
            return handed_over(pointer(task, offset!(task_parent)), Hook::SysExitMemory);
        }
        // Nothing was read or written.
        310 | 311 if result == 0 => return Exit::Unrelated,
        310 | 311 => (task::by_number(first as u32), Deed::VmRead),
        438 => (task::of_pidfd(open::descriptor(first as usize)), Deed::TakeDescriptor),
        _ => return Exit::Unrelated,
    };
    if target.is_null() {
        return Exit::Unrelated;
    }
    let Some(holder) = holders::of(target) else { return Exit::Unrelated };
    let outcome = if result < 0 { result } else { 0 };
    told(&Subject::current(), target, &holder, deed, Hook::SysExitMemory, outcome)
}

/// `/proc/PID/mem` was opened, on the backend that sees opens as system calls end; `pid` is the file's `struct pid`.
#[inline(always)]
pub fn opened(pid: Ptr, hook: Hook) -> Exit {
    let target = task::of_pid(pid);
    if target.is_null() {
        return Exit::Unrelated;
    }
    let Some(holder) = holders::of(target) else { return Exit::Unrelated };
    told(&Subject::current(), target, &holder, Deed::ProcMem, hook, 0)
}

/// `signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`: a signal was
/// sent, by the current process or, for its own faults, by the kernel.
#[btf_tracepoint(function = "signal_generate")]
fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    /// `TRACE_SIGNAL_DELIVERED` (`include/trace/events/signal.h`): it was not ignored, and not pending already.
    const DELIVERED: i32 = 0;
    /// `SIG_KERNEL_COREDUMP_MASK` (`include/linux/signal.h`): QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ, SYS.
    const DUMPS: u64 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 24 | 1 << 25 | 1 << 31;
    let (signal, result): (u32, i32) = (ctx.arg(0), ctx.arg(4));
    if signal > 31 || DUMPS >> signal & 1 == 0 || result != DELIVERED {
        return 0;
    }
    tally::count(&ctx, Hook::Signal, signalled(ctx.arg(2), signal));
    0
}

#[inline(always)]
fn signalled(target: Ptr, signal: u32) -> Exit {
    const SIGTRAP: u32 = 5;
    /// `RLIMIT_CORE`, and `struct rlimit` (`include/uapi/asm-generic/resource.h`).
    const CORE: usize = 4 * 16;
    let Some(holder) = holders::of(target) else { return Exit::Unrelated };
    // The watcher: every signal that ends it is told of.
    if is_own(holder.tag) {
        return Exit::Unrelated;
    }
    // A debugger's steps.
    if signal == SIGTRAP && u32_at(target, offset!(task_ptrace)) != 0 {
        return Exit::FilterMiss;
    }
    if is_caught(target, signal) || !may_be_dumped(target) {
        return Exit::FilterMiss;
    }
    let subject = Subject::current();
    let own = subject.tgid == u32_at(target, offset!(task_tgid));
    let deed = if own { Deed::CoreDump } else { Deed::CoreSignal };
    let limits = offset!(signal_rlim);
    let limit = pointer(target, offset!(task_signal)).wrapping_add(CORE);
    let limited = present(limits) && u64_at(limit, limits) == 0;
    submitted(&subject, target, &holder, deed, Hook::Signal, 0, limited)
}

/// Whether the process handles the signal itself.
#[inline(always)]
pub(super) fn is_caught(target: Ptr, signal: u32) -> bool {
    /// `struct k_sigaction` of 64-bit machines, which begins with the handler.
    const ACTION: usize = 32;
    let (sighand, action) = (offset!(task_sighand), offset!(sighand_action));
    if !present(sighand) || !present(action) {
        return false;
    }
    let at = pointer(target, sighand).wrapping_add(ACTION * (signal as usize - 1));
    u64_at(at, action) != 0
}

/// Whether the kernel would write its memory down at all: not that of a process which changed its user, unless
/// `fs.suid_dumpable` says so (`PR_SET_DUMPABLE`).
#[inline(always)]
fn may_be_dumped(target: Ptr) -> bool {
    /// `MMF_DUMPABLE_MASK` (`include/linux/mm_types.h`).
    const MASK: u32 = 3;
    let (state, dumpable, flags) = (offset!(task_exec_state), offset!(exec_state_dumpable), offset!(mm_flags));
    if present(state) && present(dumpable) {
        return u32_at(pointer(target, state), dumpable) & MASK != 0;
    }
    !present(flags) || u32_at(pointer(target, offset!(task_mm)), flags) & MASK != 0
}

/// Tells of memory that was reached, unless that is known of this pair: one tracer reads word by word. What was refused is
/// told once a moment.
#[inline(always)]
fn told(subject: &Subject, target: Ptr, holder: &Holder, deed: Deed, hook: Hook, outcome: i32) -> Exit {
    let tgid = u32_at(target, offset!(task_tgid));
    // Its own memory is everybody's own.
    if tgid == subject.tgid {
        return Exit::Unrelated;
    }
    if outcome != 0 {
        let refused = Refusal { what: holder.start, whom: subject.start, kind: refusal::MEMORY, id: subject.tgid };
        if recent::repeated(&refused) {
            return Exit::AlreadySeen;
        }
        let access = access(deed, hook, outcome);
        return emit::attempt(&access, &key(holder), |record| {
            // SAFETY: the draft is this thread's alone until it is submitted.
            unsafe { emit::other_task(record, target) };
        });
    }
    summary::reached(tgid);
    let way = if deed as u32 == Deed::TakeDescriptor as u32 { how::DESCRIPTOR } else { how::MEMORY };
    let pair = seen::pair(subject, holder, tgid, way);
    if !seen::is_news(&pair) {
        return Exit::AlreadySeen;
    }
    let exit = submitted(subject, target, holder, deed, hook, 0, false);
    if exit as u32 == Exit::RingFull as u32 {
        // Not told after all: the next time is news again.
        seen::forget(&pair);
    }
    exit
}

#[inline(always)]
fn submitted(
    subject: &Subject,
    target: Ptr,
    holder: &Holder,
    deed: Deed,
    hook: Hook,
    outcome: i32,
    limited: bool,
) -> Exit {
    emit::extended_by(*subject, &access(deed, hook, outcome), &key(holder), |record| {
        // SAFETY: the draft is this thread's alone until it is submitted.
        unsafe {
            emit::other_task(record, target);
            if limited {
                (*record).record.marks |= mark::CORE_LIMITED;
            }
        }
    })
}

#[inline(always)]
fn access(deed: Deed, hook: Hook, outcome: i32) -> emit::Access {
    let (kind, name) = (Kind::Memory, emit::Name::None);
    emit::Access { kind, deed, hook, via: emit::shared_via(), name, outcome: Some(outcome) }
}

/// The key that the memory holds, as far as it is known.
#[inline(always)]
fn key(holder: &Holder) -> Found {
    let kind = if holder.kind == file_watch::NONE { file_watch::ARMED } else { holder.kind };
    let watch = FileWatch { tag: holder.tag, kind, generation: 0, pad: 0 };
    Found { file: holder.file, watch, ..emit::no_file() }
}
