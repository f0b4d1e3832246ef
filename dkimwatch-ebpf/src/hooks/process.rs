//! Processes come, execute and go: the table of what each one executed.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use dkimwatch_common::tally::Hook;

use crate::{memory::Ptr, process, tally};

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::Process, process::executed(ctx.arg(0), ctx.arg(2)));
    0
}

/// As above, and after that one. A program of its own: the verifier follows every way out of the look at an environment to the
/// program's end, and walked the two together in 800,000 instructions.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_environment(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::Process, process::executed_with(ctx.arg(0)));
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: before the child runs.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::Process, process::forked(ctx.arg(0), ctx.arg(1)));
    0
}

/// `sched_process_exit(struct task_struct *p)`; since 6.16 with a second argument, `bool group_dead`.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::Process, process::exited(ctx.arg(0)));
    0
}

/// `iter/task`: `struct bpf_iter__task { meta, task }`. Run after the hooks above are attached, and
/// again when a signer's program has become known.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn iter_processes(ctx: *mut core::ffi::c_void) -> i32 {
    // SAFETY: the context's second word is the task, null after the last one (`kernel/bpf/task_iter.c`).
    let task = unsafe { *ctx.cast::<Ptr>().add(1) };
    if !task.is_null() {
        // Without a context of aya's there is no log; a full table shows at the access, where the image's source says so.
        let _ = process::found(task);
    }
    0
}
