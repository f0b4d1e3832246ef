//! Something was mounted, or a mount was taken away, on the backend that sees system calls end: no tracepoint has the place,
//! so that the path as asked is told, and userspace finds out whether it leads to what is watched.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use dkimwatch_common::{
    deed::Deed,
    tally::{Exit, Hook},
};

use super::{
    asked,
    refused::{AT_FDCWD, user},
};
use crate::{call::Registers, syscall, tally};

/// `syscalls:sys_exit_{mount,move_mount,umount}`: `long ret` is zero or a negative errno. What failed has changed nothing.
#[tracepoint]
fn sys_exit_mount(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::SysExitMount, ended(&ctx));
    0
}

/// `include/uapi/linux/mount.h`.
pub(super) const MS_MOVE: u64 = 1 << 13;
/// `MS_REMOUNT`, `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`: nothing is mounted.
pub(super) const CHANGES_A_MOUNT: u64 = 1 << 5 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;

/// What the flags of mount(2) say, without the number that old programs have above them (`MS_MGC_VAL`), as `path_mount()` takes them.
#[inline(always)]
pub(super) const fn what(flags: u64) -> u64 {
    const MS_MGC_MSK: u64 = 0xffff_0000;
    const MS_MGC_VAL: u64 = 0xc0ed_0000;
    if flags & MS_MGC_MSK == MS_MGC_VAL { flags & !MS_MGC_MSK } else { flags }
}

#[inline(always)]
fn ended(ctx: &TracePointContext) -> Exit {
    let Some(syscall::Ended { number, result: 0 }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let registers = Registers::current();
    // The numbers of x86-64 (`syscall_64.tbl`).
    let (dfd, path, deed) = match number {
        // What is moved is taken away as well.
        165 if what(registers.fourth()) & MS_MOVE != 0 => {
            tell(Hook::SysExitMount, AT_FDCWD, registers.first(), Deed::Unmount);
            (AT_FDCWD, registers.second(), Deed::Mount)
        }
        165 => {
            if what(registers.fourth()) & CHANGES_A_MOUNT != 0 {
                return Exit::Unrelated;
            }
            (AT_FDCWD, registers.second(), Deed::Mount)
        }
        166 => (AT_FDCWD, registers.first(), Deed::Unmount),
        429 if sets_group(registers) => return Exit::Unrelated,
        429 => {
            moved_away(registers);
            (registers.third() as i32, registers.fourth(), Deed::Mount)
        }
        _ => return Exit::Unrelated,
    };
    tell(Hook::SysExitMount, dfd, path, deed)
}

/// move_mount(2) has moved a mount, which it took from its place. By a descriptor alone, it was nowhere, or nobody knows any more
/// where.
#[inline(always)]
fn moved_away(registers: Registers) -> Exit {
    let path = registers.second();
    if user::<u8>(path) == 0 {
        return Exit::Unrelated;
    }
    tell(Hook::SysExitMount, registers.first() as i32, path, Deed::Unmount)
}

/// Whether move_mount(2) is to change how mounts spread, and moves none. (A 32-bit call has something else there, and its flags
/// elsewhere.)
#[inline(always)]
pub(super) fn sets_group(registers: Registers) -> bool {
    const MOVE_MOUNT_SET_GROUP: u64 = 0x100;
    registers.fifth() & MOVE_MOUNT_SET_GROUP != 0
}

/// What was done at a path in the caller's memory.
#[inline(always)]
pub(super) fn tell(hook: Hook, dfd: i32, path: u64, deed: Deed) -> Exit {
    asked::tell(&asked::Asked { deed, hook, outcome: 0, dfd, path, other: 0, folders: asked::NO_FOLDERS })
}
