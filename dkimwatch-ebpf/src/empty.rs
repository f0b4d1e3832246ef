//! Empty programs, one of each kind: the floor that the benchmark measures the hooks against. An object of their own, without
//! maps, so that it can be loaded once for each hook.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit, lsm, raw_tracepoint, tracepoint},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, LsmContext, RawTracePointContext, TracePointContext,
    },
};

/// At an LSM hook. Where a program before it refuses, it is not called.
#[lsm(hook = "file_open")]
fn empty_lsm(_ctx: LsmContext) -> i32 {
    0
}

/// At a function's beginning.
#[fentry(function = "security_file_open")]
fn empty_fentry(_ctx: FEntryContext) -> i32 {
    0
}

/// At a function's end.
#[fexit(function = "security_file_open")]
fn empty_fexit(_ctx: FExitContext) -> i32 {
    0
}

/// At a tracepoint with types.
#[btf_tracepoint(function = "sched_process_exec")]
fn empty_btf_tracepoint(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// At a tracepoint without.
#[raw_tracepoint(tracepoint = "ext4_mark_inode_dirty")]
fn empty_raw_tracepoint(_ctx: RawTracePointContext) -> i32 {
    0
}

/// At a tracepoint of tracefs.
#[tracepoint]
fn empty_tracepoint(_ctx: TracePointContext) -> u32 {
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}

/// As that of the programs that are measured.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
