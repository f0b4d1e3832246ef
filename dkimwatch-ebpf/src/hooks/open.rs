//! A file was opened.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_get_current_task,
    macros::{fexit, lsm, tracepoint},
    programs::{FExitContext, LsmContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    record::{Kind, Via},
    tally::{Exit, Hook},
    watch::{file_watch, is_own},
};

use super::device;
use crate::{
    emit, itself, layer,
    memory::{Probed, Ptr, Typed, offset, pointer, u32_at},
    recent, seen,
    subject::Subject,
    summary, syscall, tally,
    watch::{self, Found},
};

/// The body of the hooks on `security_file_open()`, which are given the file by a trusted pointer.
#[inline(always)]
fn opened(file: Ptr, hook: Hook, via: Via, outcome: i32) -> Exit {
    match watch::file::<Typed, 0>(file) {
        Ok(found) if layer::is_part(file, &found) => Exit::AlreadySeen,
        Ok(found) => told(file, hook, via, outcome, &found),
        Err(exit) => exit,
    }
}

/// `int security_file_open(struct file *file)`; until 4.18 it had a second argument, `const struct cred *cred`.
/// Called by `do_dentry_open()`, not for `O_PATH`.
#[lsm(hook = "file_open")]
fn lsm_file_open(ctx: LsmContext) -> i32 {
    let verdict: i32 = ctx.arg(1);
    let exit = opened(ctx.arg(0), Hook::LsmFileOpen, Via::Lsm, verdict);
    tally::count(&ctx, Hook::LsmFileOpen, exit);
    verdict
}

/// `int security_file_open(struct file *file)`, on its way out: unlike fentry it knows what the security modules decided.
#[fexit(function = "security_file_open")]
fn fexit_file_open(ctx: FExitContext) -> i32 {
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(1) } as i32;
    let exit = opened(ctx.arg(0), Hook::FexitFileOpen, Via::Fentry, outcome);
    tally::count(&ctx, Hook::FexitFileOpen, exit);
    0
}

/// `syscalls:sys_exit_{open,openat,openat2,creat,open_by_handle_at}`: `long ret` is the new descriptor.
#[tracepoint]
fn sys_exit_open(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitOpen, try_sys_exit_open(&ctx));
    0
}

#[inline(always)]
fn try_sys_exit_open(ctx: &TracePointContext) -> Exit {
    match descriptor_given(ctx) {
        Some(fd) => by_descriptor(descriptor(fd), Hook::SysExitOpen, Via::Tracepoint),
        None => Exit::Unrelated,
    }
}

/// The descriptor that a call ends with; none where it failed.
#[inline(always)]
fn descriptor_given(ctx: &TracePointContext) -> Option<usize> {
    usize::try_from(syscall::ended(ctx)?.result).ok()
}

/// The open file behind a descriptor that the current process has just been given: within its table, as tables only grow.
#[inline(always)]
pub fn descriptor(fd: usize) -> Ptr {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    let table = pointer(pointer(task, offset!(task_files)), offset!(files_fdt));
    pointer(pointer(table, offset!(fdtable_fd)).wrapping_add(8 * fd), 0)
}

/// The body of the hooks that are given a descriptor and must find the file.
#[inline(always)]
pub fn by_descriptor(file: Ptr, hook: Hook, via: Via) -> Exit {
    let found = match watch::file::<Probed, { watch::WALK_UP }>(file) {
        Ok(found) => found,
        Err(exit) => {
            // By no shortcut of the filter's: whoever makes a node may choose where.
            let other = device::by_descriptor(file, hook);
            return if other as u32 == Exit::Unrelated as u32 { exit } else { other };
        }
    };
    // Asked late: most opens never come here.
    if u32_at(file, offset!(file_f_mode)) & FMODE_PATH != 0 {
        return Exit::FilterMiss;
    }
    told(file, hook, via, 0, &found)
}

#[inline(always)]
fn told(file: Ptr, hook: Hook, via: Via, outcome: i32, found: &Found) -> Exit {
    // What is the watcher's own may be read, and the watcher writes it.
    if is_own(found.watch.tag) && (!may_write(file) || itself::does_to_its_own(found.watch.tag)) {
        return Exit::FilterMiss;
    }
    let (kind, deed) = if found.watch.kind == file_watch::BACKING {
        (Kind::Device, Deed::BlockDevice)
    } else {
        (Kind::Open, Deed::None)
    };
    let name = emit::Name::File(file);
    let summed = if outcome == 0 { summary::opened(file, found, hook) } else { summary::Open::Told(0) };
    let summary::Open::Told(guise) = summed else {
        // Told in sum, and otherwise like any other.
        seen::opened(file, found, true);
        return Exit::Summarised;
    };
    let access = emit::Access { kind, deed, hook, via: emit::via(via), name, outcome: Some(outcome) };
    let exit = emit::access(&access, found, guise);
    let is_told = exit as u32 == Exit::Submitted as u32;
    if outcome == 0 {
        seen::opened(file, found, is_told);
    } else if is_told {
        recent::tell(&Subject::current());
    }
    exit
}

/// Whether an open may change the file, or made it.
#[inline(always)]
fn may_write(file: Ptr) -> bool {
    /// `include/linux/fs.h`, `include/uapi/asm-generic/fcntl.h`.
    const FMODE_CREATED: u32 = 0x10_0000;
    const O_TRUNC: u32 = 0o1000;
    let (mode, flags) = (u32_at(file, offset!(file_f_mode)), u32_at(file, offset!(file_f_flags)));
    seen::writable(file) || mode & FMODE_CREATED != 0 || flags & O_TRUNC != 0
}

/// `O_PATH`: a name, no access (`include/linux/fs.h`).
const FMODE_PATH: u32 = 0x4000;
