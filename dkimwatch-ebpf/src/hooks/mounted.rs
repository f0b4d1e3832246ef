//! Something was mounted, or a mount was taken away, on the backend that sees system calls end: no tracepoint has the place,
//! so that the path as asked is told, and userspace finds out whether it leads to what is watched.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user_str,
    macros::tracepoint,
    programs::TracePointContext,
};
use dkimwatch_common::{
    deed::Deed,
    limits,
    record::{Kind, fact, mark},
    tally::{Exit, Hook},
};

use super::refused::{AT_FDCWD, base, user};
use crate::{call::Registers, emit, tally};

/// `syscalls:sys_exit_{mount,move_mount,umount2}`: `long ret` is zero or a negative errno. What failed has changed nothing.
#[tracepoint]
fn sys_exit_mount(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitMount, ended(&ctx));
    0
}

#[inline(always)]
fn ended(ctx: &TracePointContext) -> Exit {
    /// Offsets of `__syscall_nr` and `ret` in the event's format.
    const NR: usize = 8;
    const RET: usize = 16;
    // SAFETY: the format has been this one since the syscall tracepoints exist.
    let (Ok(number), Ok(0)) = (unsafe { (ctx.read_at::<i32>(NR), ctx.read_at::<i64>(RET)) }) else {
        return Exit::Unrelated;
    };
    let registers = Registers::current();
    // The numbers of x86-64 (`syscall_64.tbl`).
    let (dfd, path, deed) = match number {
        165 => {
            /// `MS_REMOUNT`, `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` (`include/uapi/linux/mount.h`): nothing is
            /// mounted.
            const CHANGES_A_MOUNT: u64 = 1 << 5 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
            if registers.fourth() & CHANGES_A_MOUNT != 0 {
                return Exit::Unrelated;
            }
            (AT_FDCWD, registers.second(), Deed::Mount)
        }
        166 => (AT_FDCWD, registers.first(), Deed::Unmount),
        429 => (registers.third() as i32, registers.fourth(), Deed::Mount),
        _ => return Exit::Unrelated,
    };
    let (dentry, mnt) = base(user::<u8>(path), dfd);
    let (kind, hook, via, name) =
        (Kind::Tamper, Hook::SysExitMount, emit::shared_via(), emit::Name::Path(dentry, mnt));
    let access = emit::Access { kind, deed, hook, via, name, outcome: Some(0) };
    // Through the ring for attempts: anybody may mount in a namespace of his own, as often as he likes.
    emit::attempt(&access, &emit::no_file(), |extended| {
        // SAFETY: the record is reserved for us alone until it is submitted; the text has room for `PATH_BYTES` bytes.
        unsafe {
            let record = &raw mut (*extended).record;
            (*record).marks |= mark::AS_ASKED;
            let to = (&raw mut (*extended).second).cast();
            let written = bpf_probe_read_user_str(to, limits::PATH_BYTES as u32, path as *const _);
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
