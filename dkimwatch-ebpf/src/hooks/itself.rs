//! Something is done to the watcher itself: a signal that ends or stops it, or bpf(2) on its maps, programs and links.
//! (Who reaches its memory is seen by the hooks on memory, what is done to its files by those on files.)

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, tracepoint},
    programs::{BtfTracePointContext, FEntryContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    record::{Kind, fact, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, OWN_PROCESS, Refusal, file_watch, refusal},
};

use super::{
    data::{PROT_WRITE, is_shared},
    memory::is_caught,
    refused::user,
};
use crate::{
    call, emit, itself,
    memory::{Memory, Ptr, Typed, copy_str, number, offset, pointer, present, u32_at},
    recent,
    subject::Subject,
    syscall, tally,
    watch::Found,
};

/// `signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`: a signal on its way,
/// before the process that it is for has it. Called for every signal of the host, most of which are another's.
#[btf_tracepoint(function = "signal_generate")]
fn signal_to_itself(ctx: BtfTracePointContext) -> i32 {
    let target: Ptr = ctx.arg(2);
    // SAFETY: an integer.
    let tgid = unsafe { Typed::read::<u32>(target, offset!(task_tgid)) };
    if !itself::has_tgid(tgid) {
        return 0;
    }
    let (signal, result): (u32, u32) = (ctx.arg(0), ctx.arg(4));
    tally::count(&ctx, Hook::Signal, signalled(signal, number(ctx.arg(1)), number(target) as Ptr, result));
    0
}

#[inline(always)]
fn signalled(signal: u32, info: u64, target: Ptr, result: u32) -> Exit {
    /// signal(7), of x86-64.
    const SIGHUP: u32 = 1;
    /// Those that by default are ignored, or let a stopped process go on: CHLD, CONT, URG, WINCH.
    const HARMLESS: u64 = 1 << 17 | 1 << 18 | 1 << 23 | 1 << 28;
    /// `TRACE_SIGNAL_IGNORED`, `TRACE_SIGNAL_ALREADY_PENDING` (`include/trace/events/signal.h`).
    const IGNORED: u32 = 1;
    const PENDING: u32 = 2;
    if signal == 0 || signal > 64 || HARMLESS >> signal & 1 != 0 || result == IGNORED || result == PENDING {
        return Exit::Unrelated;
    }
    // The service reads its configuration anew: what is in that was told when it was written.
    if signal == SIGHUP && is_caught(target, signal) {
        return Exit::FilterMiss;
    }
    let subject = Subject::current();
    if !itself::is_task(target) || itself::is(subject.tgid, subject.start) || repeated(&subject, u64::from(signal)) {
        return Exit::FilterMiss;
    }
    let code = code(info);
    let parent = pointer(pointer(target, offset!(task_group_leader)), offset!(task_real_parent));
    let by_parent = u32_at(parent, offset!(task_tgid)) == subject.tgid;
    told(&subject, Deed::Signal, Hook::Signal, Some(0), |record| {
        // SAFETY: the draft is this thread's alone until it is submitted.
        unsafe {
            emit::other_task(record, target);
            (*record).signal = signal;
            (*record).signal_code = code;
            if by_parent {
                (*record).record.marks |= mark::PARENT;
            }
        }
    })
}

/// `si_code`, as the process that gets the signal would see it.
#[inline(always)]
fn code(info: u64) -> i32 {
    /// `SEND_SIG_NOINFO`, `SEND_SIG_PRIV` (`include/linux/sched/signal.h`): no address, but who made it.
    const NOINFO: u64 = 0;
    const PRIV: u64 = 1;
    /// `include/uapi/asm-generic/siginfo.h`, and the offset of `si_code` there.
    const SI_USER: i32 = 0;
    const SI_KERNEL: i32 = 0x80;
    const CODE: u32 = 8;
    match info {
        NOINFO => SI_USER,
        PRIV => SI_KERNEL,
        address => u32_at(address as Ptr, CODE) as i32,
    }
}

/// Whether this process did the same thing a moment ago: whoever does it in a loop is told of once a second.
#[inline(always)]
fn repeated(subject: &Subject, what: u64) -> bool {
    recent::repeated(&Refusal { what, whom: subject.start, kind: refusal::ITSELF, id: subject.tgid })
}

#[inline(always)]
fn told(
    subject: &Subject,
    deed: Deed,
    hook: Hook,
    outcome: Option<i32>,
    more: impl FnOnce(*mut dkimwatch_common::record::RawExtended),
) -> Exit {
    let (kind, name) = (Kind::Itself, emit::Name::None);
    let access = emit::Access { kind, deed, hook, via: emit::shared_via(), name, outcome };
    let watch = FileWatch { tag: OWN_PROCESS, kind: file_watch::NONE, generation: 0, pad: 0 };
    emit::extended_by(*subject, &access, &Found { watch, ..emit::no_file() }, more)
}

/// What a command of bpf(2) does to what it is given, and where in its attributes that is (`include/uapi/linux/bpf.h`);
/// [`Deed::None`]: nothing that matters. Who lists, looks up or gets a descriptor alters nothing.
#[inline(always)]
const fn deed(command: u32) -> (Deed, u32) {
    match command {
        // BPF_MAP_UPDATE_ELEM, _DELETE_ELEM, _LOOKUP_AND_DELETE_ELEM.
        2 | 3 | 21 => (Deed::MapChange, 0),
        // BPF_MAP_LOOKUP_AND_DELETE_BATCH, _UPDATE_BATCH, _DELETE_BATCH.
        25..=27 => (Deed::MapChange, 36),
        // BPF_MAP_FREEZE.
        22 => (Deed::MapFreeze, 0),
        // BPF_PROG_TEST_RUN.
        10 => (Deed::ProgramRun, 0),
        // BPF_LINK_UPDATE.
        29 => (Deed::LinkUpdate, 0),
        // BPF_LINK_DETACH.
        34 => (Deed::LinkDetach, 0),
        _ => (Deed::None, 0),
    }
}

/// `int security_bpf(int cmd, union bpf_attr *attr, unsigned int size, bool kernel)`; until 6.15 at the latest
/// `int security_bpf(int cmd, union bpf_attr *attr, unsigned int size)`: bpf(2) begins, with attributes that nobody changes
/// any more. Whether it succeeds is not known yet.
#[fentry(function = "security_bpf")]
fn fentry_bpf(ctx: FEntryContext) -> i32 {
    let command: u32 = ctx.arg(0);
    let (deed, at) = deed(command);
    if deed as u32 == Deed::None as u32 {
        return 0;
    }
    let descriptor = u32_at(number(ctx.arg(1)) as Ptr, at);
    tally::count(&ctx, Hook::Bpf, altered(deed, descriptor, Hook::Bpf, None));
    0
}

/// `syscalls:sys_exit_bpf`: `long ret`. The attributes are read from the caller's memory, which it can change meanwhile.
#[tracepoint]
fn sys_exit_bpf(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitBpf, try_sys_exit_bpf(&ctx));
    0
}

#[inline(always)]
fn try_sys_exit_bpf(ctx: &TracePointContext) -> Exit {
    let (deed, at) = deed(syscall::register(offset!(regs_di)) as u32);
    if deed as u32 == Deed::None as u32 {
        return Exit::Unrelated;
    }
    let Some(syscall::Ended { result, .. }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let descriptor = user::<u32>(syscall::register(offset!(regs_si)) + u64::from(at));
    altered(deed, descriptor, Hook::SysExitBpf, Some((result as i32).min(0)))
}

/// The current process does something to what it has by a descriptor: is that the watcher's?
#[inline(always)]
fn altered(deed: Deed, descriptor: u32, hook: Hook, outcome: Option<i32>) -> Exit {
    let subject = Subject::current();
    // The watcher itself does so all the time.
    if itself::is(subject.tgid, subject.start) {
        return Exit::Unrelated;
    }
    by(&subject, call::file(subject.task, i64::from(descriptor)), deed, hook, outcome)
}

#[inline(always)]
fn by(subject: &Subject, file: Ptr, deed: Deed, hook: Hook, outcome: Option<i32>) -> Exit {
    let object = itself::own_object(file);
    if object.is_null() {
        return Exit::Unrelated;
    }
    if repeated(subject, object as u64 ^ deed as u64) {
        return Exit::AlreadySeen;
    }
    let is_map = matches!(deed, Deed::MapChange | Deed::MapFreeze | Deed::MapMapped);
    told(subject, deed, hook, outcome, |record| {
        let at = offset!(bpf_map_name);
        if is_map && present(at) {
            // SAFETY: the draft is this thread's alone until it is submitted; a name has 16 bytes (`BPF_OBJ_NAME_LEN`).
            unsafe {
                let to = (&raw mut (*record).second).cast();
                let written = copy_str(to, limits::COMM as u32, object.wrapping_add(at as usize));
                if written > 0 {
                    (*record).second_len = written as u32 - 1;
                    (*record).record.known |= fact::SECOND;
                }
            }
        }
    })
}

/// Whether a mapping can be written, and the file with it.
#[inline(always)]
const fn alters(prot: u64, flags: u64) -> bool {
    prot & PROT_WRITE != 0 && is_shared(flags)
}

/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`: of a ring, the page is mapped that says
/// how far it was read (`ringbuf_map_mmap_kern()`); whoever writes that takes records from it. `file` is null for a mapping of none.
#[fentry(function = "security_mmap_file")]
fn fentry_own_mapped(ctx: FEntryContext) -> i32 {
    let (file, prot, flags): (Ptr, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if !file.is_null() && alters(prot, flags) {
        tally::count(&ctx, Hook::OwnMapped, mapped(number(file) as Ptr, None));
    }
    0
}

/// `syscalls:sys_exit_mmap`: `long ret` is an address.
#[tracepoint]
fn sys_exit_own_mapped(ctx: TracePointContext) -> u32 {
    if alters(syscall::register(offset!(regs_dx)), syscall::register(offset!(regs_r10)))
        && let Some(syscall::Ended { result, .. }) = syscall::ended(&ctx)
    {
        let outcome = if (-4095..0).contains(&result) { result as i32 } else { 0 };
        let file = syscall::open_file(syscall::register(offset!(regs_r8)) as u32);
        tally::count(&ctx, Hook::OwnMapped, mapped(file, Some(outcome)));
    }
    0
}

#[inline(always)]
fn mapped(file: Ptr, outcome: Option<i32>) -> Exit {
    let subject = Subject::current();
    if itself::is(subject.tgid, subject.start) {
        return Exit::Unrelated;
    }
    by(&subject, file, Deed::MapMapped, Hook::OwnMapped, outcome)
}
