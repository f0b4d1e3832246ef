//! Empty programs: the floor that the benchmark measures the hooks against.

use aya_ebpf::{
    macros::{fexit, lsm, tracepoint},
    programs::{FExitContext, LsmContext, TracePointContext},
};

/// What any LSM program costs here.
#[lsm(hook = "file_open")]
fn empty_lsm_file_open(ctx: LsmContext) -> i32 {
    ctx.arg(1)
}

/// What any fexit program costs here.
#[fexit(function = "security_file_open")]
fn empty_fexit_file_open(_ctx: FExitContext) -> i32 {
    0
}

/// What any program on the syscall's way out costs here.
#[tracepoint]
fn empty_sys_exit_open(_ctx: TracePointContext) -> u32 {
    0
}
