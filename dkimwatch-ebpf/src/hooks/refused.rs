//! An open was refused: by permission bits, by a security module, by a flag of the file or of its mount.
//!
//! Permission bits refuse before any hook on the open itself is asked, at the file or at a folder on the way to it. So the
//! walk along the path is looked at when it has failed, with the place that it had got to.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_task, bpf_probe_read_user, bpf_probe_read_user_str},
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    record::{Kind, fact, mark},
    tally::{Exit, Hook},
    watch::{Refusal, refusal},
};

use crate::{
    emit,
    memory::{Memory, Probed, Ptr, copy_str, offset, pointer, u32_at, u64_at, word},
    recent,
    subject::Subject,
    syscall, tally,
    watch::{self, Found},
};

/// `fcntl.h` of x86-64: a name or a folder, not a file's contents.
const O_PATH: u32 = 0o1000_0000;
const O_DIRECTORY: u32 = 0o20_0000;
const O_CREAT: u32 = 0o100;
const O_WRONLY: u32 = 0o1;
const O_TRUNC: u32 = 0o1000;
/// `fcntl.h`: relative paths begin at the working folder.
pub(super) const AT_FDCWD: i32 = -100;

/// `EPERM`, `EACCES`, `EROFS`: somebody may not. Any other error says that something could not be done.
#[inline(always)]
pub(super) const fn is_refusal(result: i64) -> bool {
    matches!(result, -1 | -13 | -30)
}

/// `struct file *path_openat(struct nameidata *nd, const struct open_flags *op, unsigned int flags)`: every open by a
/// path, of open(2) and its kin, of io_uring, of execve(2). Called anew where the walk without locks did not do, which
/// refuses nothing.
#[fexit(function = "path_openat")]
fn fexit_path_openat(ctx: FExitContext) -> i32 {
    let outcome = refusal_in(word!(ctx, 3));
    if outcome != 0 {
        tally::count(&ctx, Hook::OpenRefused, walk_refused(ctx.arg(0), ctx.arg(1), outcome as i32));
    }
    0
}

/// The refusal that a `struct file *` is (`ERR_PTR()`), zero for none. In assembly, as the verifier takes it for a pointer,
/// which may be compared and not calculated with, and the compiler makes a sum of several comparisons.
#[inline(always)]
fn refusal_in(file: u64) -> i64 {
    let mut outcome = 0_i64;
    // SAFETY: comparisons of registers.
    unsafe {
        core::arch::asm!(
            "{outcome} = -1",
            "if {file} == -1 goto +5",
            "{outcome} = -13",
            "if {file} == -13 goto +3",
            "{outcome} = -30",
            "if {file} == -30 goto +1",
            "{outcome} = 0",
            file = in(reg) file,
            outcome = inout(reg) outcome,
        );
    }
    outcome
}

#[inline(always)]
fn walk_refused(nd: Ptr, op: Ptr, outcome: i32) -> Exit {
    let flags = u32_at(op, offset!(open_flag));
    if flags & (O_PATH | O_DIRECTORY) != 0 {
        return Exit::Unrelated;
    }
    let found = match watch::refused(pointer(nd, offset!(nd_inode))) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if recent::told(&Subject::current()) {
        return Exit::AlreadySeen;
    }
    let text = pointer(pointer(nd, offset!(nd_name)), offset!(filename_name));
    // SAFETY: an integer.
    let first = unsafe { Probed::read::<u8>(text, 0) };
    let root = pointer(nd, offset!(nd_root_mnt));
    // What an absolute path begins at, with `RESOLVE_IN_ROOT` too; null where it was the process's root.
    let base = if first == b'/' && !root.is_null() {
        (pointer(nd, offset!(nd_root_dentry)), root)
    } else {
        base(first, u32_at(nd, offset!(nd_dfd)) as i32)
    };
    // SAFETY: the text has room for `PATH_BYTES` bytes.
    told(Hook::OpenRefused, outcome, flags, base, &found, |to| unsafe { copy_str(to, limits::PATH_BYTES as u32, text) })
}

/// `syscalls:sys_exit_{open,openat,openat2,creat}`: `long ret` is a negative errno. What was asked for is read from the
/// caller's registers and memory, which it can change meanwhile: it was refused anyway.
#[tracepoint]
fn sys_exit_refused(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitRefused, try_sys_exit_refused(&ctx));
    0
}

#[inline(always)]
fn try_sys_exit_refused(ctx: &TracePointContext) -> Exit {
    let Some(syscall::Ended { number, result }) = syscall::ended(ctx) else { return Exit::Unrelated };
    if !is_refusal(result) {
        return Exit::Unrelated;
    }
    let regs = syscall::registers();
    let (first, second, third) =
        (u64_at(regs, offset!(regs_di)), u64_at(regs, offset!(regs_si)), u64_at(regs, offset!(regs_dx)));
    // The numbers of x86-64 (`syscall_64.tbl`).
    let (dfd, path, flags) = match number {
        2 => (AT_FDCWD, first, second as u32),
        85 => (AT_FDCWD, first, O_CREAT | O_WRONLY | O_TRUNC),
        257 => (first as i32, second, third as u32),
        // `open_how->flags`.
        437 => (first as i32, second, user::<u64>(third) as u32),
        _ => return Exit::Unrelated,
    };
    if flags & (O_PATH | O_DIRECTORY) != 0 {
        return Exit::Unrelated;
    }
    let base = base(user::<u8>(path), dfd);
    if repeated(path, base.0 as u64) {
        return Exit::AlreadySeen;
    }
    let found = emit::no_file();
    told(Hook::SysExitRefused, result as i32, flags, base, &found, |to| {
        // SAFETY: the text has room for `PATH_BYTES` bytes.
        unsafe { bpf_probe_read_user_str(to.cast(), limits::PATH_BYTES as u32, path as *const _) }
    })
}

/// Whether this process was refused the same path a moment ago: nothing here says whose path it is, and a program that
/// tries an unrelated file ten thousand times is to be told once. A path too long to compare is told each time.
#[inline(always)]
pub(super) fn repeated(path: u64, base: u64) -> bool {
    let hash = user_path_hash(path);
    if hash == 0 {
        return false;
    }
    let subject = Subject::current();
    let what = hash ^ base;
    recent::repeated(&Refusal { what, whom: subject.start, kind: refusal::PATH, id: subject.tgid })
}

/// A global function, see `watch::name_hash_at`: the hash of a path in the caller's memory, zero for one that is too long.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn user_path_hash(path: u64) -> u64 {
    let mut ended = false;
    let hash = dkimwatch_common::filter::name_hash(|word| {
        let mut bytes = [0_u8; 16];
        // SAFETY: nine bytes of sixteen: eight of the path and the NUL that the helper writes.
        unsafe { bpf_probe_read_user_str(bytes.as_mut_ptr().cast(), 9, (path + 8 * u64::from(word)) as *const _) };
        // SAFETY: any eight bytes are a `u64`; read unaligned.
        let next = unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<u64>()) };
        ended |= next >> 56 == 0;
        next
    });
    if ended { hash | 1 } else { 0 }
}

/// Where a path that begins with `first` is walked from: the root, the working folder, or a descriptor's folder.
#[inline(always)]
pub(super) fn base(first: u8, dfd: i32) -> (Ptr, Ptr) {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    let fs = pointer(task, offset!(task_fs));
    if first == b'/' {
        return (pointer(fs, offset!(fs_root_dentry)), pointer(fs, offset!(fs_root_mnt)));
    }
    if dfd == AT_FDCWD {
        return (pointer(fs, offset!(fs_pwd_dentry)), pointer(fs, offset!(fs_pwd_mnt)));
    }
    let table = pointer(pointer(task, offset!(task_files)), offset!(files_fdt));
    // Within the table: the walk has begun there.
    let file = pointer(pointer(table, offset!(fdtable_fd)).wrapping_add(8 * dfd as usize), 0);
    (pointer(file, offset!(file_dentry)), pointer(file, offset!(file_mnt)))
}

/// Records a refusal: `path` is where the walk began, `second` the path as it was asked for, which `text` copies and
/// whose length with its NUL it returns.
#[inline(always)]
fn told(
    hook: Hook,
    outcome: i32,
    flags: u32,
    (dentry, mnt): (Ptr, Ptr),
    found: &Found,
    text: impl FnOnce(*mut u8) -> i64,
) -> Exit {
    let name = emit::Name::Path(dentry, mnt);
    let (kind, deed, via) = (Kind::Refused, Deed::None, emit::shared_via());
    let access = emit::Access { kind, deed, hook, via, name, outcome: Some(outcome) };
    emit::attempt(&access, found, |extended| {
        // SAFETY: the draft is this thread's alone until it is submitted.
        unsafe {
            let record = &raw mut (*extended).record;
            (*record).open_flags = flags;
            // `OPEN_FMODE()`: what it would have been.
            (*record).open_mode = flags.wrapping_add(1) & 3;
            (*record).known |= fact::OPEN_FLAGS;
            let written = text((&raw mut (*extended).second).cast());
            if written <= 0 {
                (*record).unreadable |= fact::SECOND;
                return;
            }
            (*extended).second_len = written as u32 - 1;
            if written as usize >= limits::PATH_BYTES {
                (*record).marks |= mark::SECOND_CUT;
            }
            (*record).known |= fact::SECOND;
        }
    })
}

/// An integer in the caller's memory, zero where it cannot be read.
#[inline(always)]
pub(super) fn user<T: Copy + Default>(at: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper writes `size_of::<T>()` bytes and takes any address; `T` is an integer.
    unsafe { bpf_probe_read_user((&raw mut value).cast(), size_of::<T>() as u32, at as *const _) };
    value
}
