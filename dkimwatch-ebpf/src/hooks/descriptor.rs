//! A system call reached a file's data by the descriptor that it was handed, on the backend that sees calls as they end.
//!
//! The page cache's tracepoints know of what is read through it; of what is not (a file on tmpfs, extents that are shared or
//! compared), and of everything on a kernel without them, the call alone tells.

use aya_ebpf::{
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    record::{Kind, Via},
    tally::{Exit, Hook},
};

use super::{
    data::{PROT_WRITE, is_shared},
    refused::user,
};
use crate::{
    call::{self, FICLONE, FICLONERANGE},
    emit, layer,
    memory::{Memory, Probed, Ptr, Typed, offset, pointer},
    seen,
    subject::Subject,
    syscall, tally, watch,
};

/// `syscalls:sys_exit_*` of the calls that read from a descriptor: `long ret` is the number of bytes.
#[tracepoint]
fn sys_exit_read(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitRead, read(&ctx));
    0
}

#[inline(always)]
fn read(ctx: &TracePointContext) -> Exit {
    /// `syscall_64.tbl`.
    const SENDFILE64: u32 = 40;
    let Some(syscall::Ended { number, result: 1.. }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let at = if number == SENDFILE64 { offset!(regs_si) } else { offset!(regs_di) };
    by_number(syscall::register(at), Deed::Read)
}

/// `syscalls:sys_exit_mmap`: `long ret` is an address.
#[tracepoint]
fn sys_exit_map(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitRead, mapped(&ctx));
    0
}

#[inline(always)]
fn mapped(ctx: &TracePointContext) -> Exit {
    /// `include/uapi/asm-generic/mman-common.h`.
    const MAP_ANONYMOUS: u64 = 0x20;
    let Some(syscall::Ended { result: 1.., .. }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let (prot, flags) = (syscall::register(offset!(regs_dx)), syscall::register(offset!(regs_r10)));
    // A mapping that is neither to be read nor to be written is no access; nothing tells here if that changes.
    if prot == 0 || flags & MAP_ANONYMOUS != 0 {
        return Exit::Unrelated;
    }
    let descriptor = syscall::register(offset!(regs_r8));
    by_number(descriptor, if prot & PROT_WRITE != 0 && is_shared(flags) { Deed::Write } else { Deed::Map })
}

/// `syscalls:sys_exit_io_submit`: `long ret` is the number of requests that were taken (libaio).
#[tracepoint]
fn sys_exit_submit(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitRead, submitted(&ctx));
    0
}

#[inline(always)]
fn submitted(ctx: &TracePointContext) -> Exit {
    let Some(syscall::Ended { result: taken @ 1.., .. }) = syscall::ended(ctx) else { return Exit::Unrelated };
    by(watched_of(syscall::register(offset!(regs_dx)), taken as u64) as Ptr, Deed::Read, Hook::SysExitRead)
}

/// A global function, see `watch::name_hash_at`: the first watched file that is read by a list of `struct iocb *` in the
/// caller's memory (`include/uapi/linux/aio_abi.h`), and was not read by the process before; null where none is.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn watched_of(list: u64, count: u64) -> u64 {
    const LIO_OPCODE: u64 = 16;
    const FILDES: u64 = 20;
    const IOCB_CMD_PREAD: u16 = 0;
    const IOCB_CMD_PREADV: u16 = 7;
    let mut index = 0;
    while index < limits::SUBMITTED {
        if index >= count {
            break;
        }
        let request: u64 = user(list + 8 * index);
        let opcode: u16 = user(request + LIO_OPCODE);
        if opcode == IOCB_CMD_PREAD || opcode == IOCB_CMD_PREADV {
            let file = new_at(u64::from(user::<u32>(request + FILDES)));
            if file != 0 {
                return file;
            }
        }
        index += 1;
    }
    0
}

/// A global function, see `watch::name_hash_at`, as it is asked in loops: the open file of one of the current process's descriptors,
/// if it is watched and the process has not read it before, and null otherwise: one that it has must not hide another.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn new_at(descriptor: u64) -> u64 {
    let subject = Subject::current();
    let file = call::file(subject.task, descriptor as i64);
    if file.is_null() {
        return 0;
    }
    match watch::inode::<Probed>(pointer(file, offset!(file_f_inode))) {
        Ok(found) if !seen::has_read(&subject, found.file) => file as u64,
        _ => 0,
    }
}

/// `include/uapi/linux/fs.h`.
const FIDEDUPERANGE: u32 = 0xc018_9436;

/// `syscalls:sys_exit_ioctl`: files that share extents, or are compared and then share them.
#[tracepoint]
fn sys_exit_share(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitRead, shared(&ctx));
    0
}

#[inline(always)]
fn shared(ctx: &TracePointContext) -> Exit {
    let Some(syscall::Ended { result: 0.., .. }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let command = syscall::register(offset!(regs_si)) as u32;
    if !matches!(command, FICLONE | FICLONERANGE | FIDEDUPERANGE) {
        return Exit::Unrelated;
    }
    let argument = syscall::register(offset!(regs_dx));
    let file = match command {
        FICLONE => syscall::open_file(argument as u32),
        // `file_clone_range->src_fd`.
        FICLONERANGE => syscall::open_file(user::<u64>(argument) as u32),
        _ => either(syscall::register(offset!(regs_di)), argument),
    };
    by(file, Deed::Read, Hook::SysExitRead)
}

/// What is compared, or one of those that it is compared with: the guess is what was given first.
#[inline(always)]
fn either(descriptor: u64, range: u64) -> Ptr {
    let file = new_at(u64::from(descriptor as u32));
    let file = if file == 0 { watched_among(range) } else { file };
    file as Ptr
}

/// A global function, see `watch::name_hash_at`: the first watched file that one is compared with by a `struct
/// file_dedupe_range` in the caller's memory, and was not read by the process before; null where there is none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn watched_among(range: u64) -> u64 {
    /// Offset of `dest_count`; size of the head, and of a `struct file_dedupe_range_info`, which begins with `dest_fd`.
    const COUNT: u64 = 16;
    const HEAD: u64 = 24;
    const INFO: u64 = 32;
    /// As many as a page has room for: the kernel takes no more (`ioctl_file_dedupe_range()`).
    const MOST: u64 = 127;
    let count = u64::from(user::<u16>(range + COUNT));
    let mut index = 0;
    while index < MOST {
        if index >= count {
            break;
        }
        let file = new_at(user::<u64>(range + HEAD + INFO * index));
        if file != 0 {
            return file;
        }
        index += 1;
    }
    0
}

/// Data was reached by a descriptor of the current process. Another thread can have put another file there meanwhile.
#[inline(always)]
fn by_number(register: u64, deed: Deed) -> Exit {
    by(syscall::open_file(register as u32), deed, Hook::SysExitRead)
}

/// Data was reached by an open file; null for none.
#[inline(always)]
pub(super) fn by(file: Ptr, deed: Deed, hook: Hook) -> Exit {
    if file.is_null() {
        return Exit::Unrelated;
    }
    told(watch::inode::<Probed>(pointer(file, offset!(file_f_inode))), file, deed, hook)
}

#[inline(always)]
fn told(found: Result<watch::Found, Exit>, file: Ptr, deed: Deed, hook: Hook) -> Exit {
    match found {
        Ok(found) => {
            let (kind, via, name) = (Kind::Data, emit::via(Via::Tracepoint), emit::Name::None);
            let access = emit::Access { kind, deed, hook, via, name, outcome: Some(0) };
            seen::data(&access, &found, || file)
        }
        Err(exit) => exit,
    }
}

/// `iomap_dio_rw_begin(struct kiocb *iocb, struct iov_iter *iter, unsigned int dio_flags, size_t done_before)`, 6.6 and later:
/// `O_DIRECT` on the file systems of the day, whoever asks for it.
#[btf_tracepoint(function = "iomap_dio_rw_begin")]
fn iomap_dio_rw_begin(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::DirectRead, direct(ctx.arg(0), ctx.arg(1)));
    0
}

#[inline(always)]
fn direct(iocb: Ptr, iter: Ptr) -> Exit {
    // SAFETY: pointers and an integer.
    let (file, is_write) =
        unsafe { (Typed::read::<Ptr>(iocb, offset!(kiocb_file)), Typed::read::<u8>(iter, offset!(iter_source)) != 0) };
    // SAFETY: a pointer.
    let inode = unsafe { Typed::read::<Ptr>(file, offset!(file_f_inode)) };
    let found = watch::inode::<Typed>(inode);
    if let Ok(found) = &found
        && layer::is_part_of_call(found)
    {
        return Exit::AlreadySeen;
    }
    told(found, file, if is_write { Deed::Write } else { Deed::Read }, Hook::DirectRead)
}
