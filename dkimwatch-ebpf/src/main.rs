//! What the kernel sees: dkimwatch's eBPF programs.
//!
//! A hook is three steps: is it ours? → fill a draft → submit it. It observes: it hands on the verdict of the programs
//! before it and never changes an outcome. [`watch`] answers the first question, [`emit`] does the rest, [`process`]
//! keeps what each process executed.
#![no_std]
#![no_main]
// A few operations are written in assembly, see `memory::at_most` and `summary`.
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "registers have 64 bits: a helper's answer is cut to what it is documented to be, and sizes are constants of \
              `limits`; a checked conversion brings a branch to panic, which the verifier would have to follow"
)]
#![expect(unreachable_pub, reason = "a program's public items are for its own modules; nothing links against it")]

mod attributes;
mod call;
mod change;
mod contract;
mod draft;
mod elsewhere;
mod emit;
mod environment;
mod holders;
mod hooks;
mod itself;
mod layer;
mod maps;
mod memory;
mod path;
mod pending;
mod process;
mod recent;
mod seen;
mod slots;
mod subject;
mod summary;
mod syscall;
mod tally;
mod task;
mod watch;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}

/// GPL-compatible, as `bpf_probe_read_kernel` and the other tracing helpers demand (`license_is_gpl_compatible()`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
