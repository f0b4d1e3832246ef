//! A device was opened through which a key can be reached around its file system. Which devices do is for userspace to say:
//! opening one takes privilege and is rare, and what rests on what changes at any time.

use aya_ebpf::{EbpfContext, macros::fexit, programs::FExitContext};
use dkimwatch_common::{
    deed::Deed,
    record::Kind,
    tally::{Exit, Hook},
    watch::{FileWatch, Tag, file_watch},
};

use super::memory;
use crate::{
    emit,
    memory::{Memory, Probed, Ptr, offset, pointer, present, u32_at, u64_at},
    tally,
    watch::{self, Found},
};

const EPERM: i32 = -1;
const EACCES: i32 = -13;

/// `FMODE_PATH` (`include/linux/fs.h`).
const FMODE_PATH: u32 = 0x4000;

/// `int blkdev_open(struct inode *inode, struct file *filp)`: a block device is opened by any node of it, wherever it lies. A
/// mount does not come here.
#[fexit(function = "blkdev_open")]
fn fexit_blkdev_open(ctx: FExitContext) -> i32 {
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(2) } as i32;
    tally::count(&ctx, Hook::DeviceOpen, opened(ctx.arg(1), Deed::BlockDevice, Hook::DeviceOpen, outcome));
    0
}

/// `int open_port(struct inode *inode, struct file *filp)`: `/dev/mem`, `/dev/kmem` and `/dev/port` (`CONFIG_DEVMEM`).
#[fexit(function = "open_port")]
fn fexit_open_port(ctx: FExitContext) -> i32 {
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(2) } as i32;
    tally::count(&ctx, Hook::DeviceOpen, opened(ctx.arg(1), Deed::MemoryDevice, Hook::DeviceOpen, outcome));
    0
}

/// `int open_kcore(struct inode *inode, struct file *filp)`: `/proc/kcore` (`CONFIG_PROC_KCORE`).
#[fexit(function = "open_kcore")]
fn fexit_open_kcore(ctx: FExitContext) -> i32 {
    // SAFETY: the argument after the last is the return value (`bpf_trampoline`); `ret()` needs a helper of 5.17.
    let outcome = unsafe { *ctx.as_ptr().cast::<u64>().add(2) } as i32;
    tally::count(&ctx, Hook::DeviceOpen, opened(ctx.arg(1), Deed::MemoryDevice, Hook::DeviceOpen, outcome));
    0
}

/// The same, and `/proc/PID/mem`, on the backend that sees opens as system calls end: an open file of no watched one.
#[inline(always)]
pub fn by_descriptor(file: Ptr, hook: Hook) -> Exit {
    const S_IFMT: u16 = 0o17_0000;
    const S_IFBLK: u16 = 0o06_0000;
    const S_IFCHR: u16 = 0o02_0000;
    /// What `/proc/PID/mem` and `/proc/kcore` have, and few other files.
    const MEM: u16 = 0o10_0600;
    const KCORE: u16 = 0o10_0400;
    let inode = pointer(file, offset!(file_f_inode));
    // SAFETY: an integer; `umode_t` is 16 bits wide.
    let mode = unsafe { Probed::read::<u16>(inode, offset!(inode_i_mode)) };
    if mode & S_IFMT == S_IFBLK {
        return opened_for_use(file, Deed::BlockDevice, hook);
    }
    if mode & S_IFMT == S_IFCHR && is_memory(u32_at(inode, offset!(inode_i_rdev))) {
        return opened_for_use(file, Deed::MemoryDevice, hook);
    }
    if mode != MEM && mode != KCORE {
        return Exit::Unrelated;
    }
    special(file, inode, mode == MEM, hook)
}

/// `DEVMEM_MINOR`, `/dev/kmem` of former kernels, `DEVPORT_MINOR` (`drivers/char/mem.c`).
#[inline(always)]
const fn is_memory(device: u32) -> bool {
    const MAJOR: u32 = 1 << 20;
    matches!(device.wrapping_sub(MAJOR), 1 | 2 | 4)
}

/// Files of `/proc`.
#[inline(always)]
fn special(file: Ptr, inode: Ptr, mem: bool, hook: Hook) -> Exit {
    /// `PROC_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
    const PROC: u64 = 0x9fa0;
    const MEM: u64 = u64::from_le_bytes(*b"mem\0\0\0\0\0");
    const KCORE: u64 = u64::from_le_bytes(*b"kcore\0\0\0");
    if u64_at(pointer(inode, offset!(inode_i_sb)), offset!(super_s_magic)) != PROC {
        return Exit::Unrelated;
    }
    let name = watch::short_name(pointer(file, offset!(file_dentry)));
    if name == KCORE {
        return opened_for_use(file, Deed::MemoryDevice, hook);
    }
    let (pid, vfs_inode) = (offset!(proc_pid), offset!(proc_vfs_inode));
    if !mem || name != MEM || !present(pid) || !present(vfs_inode) || is_name_only(file) {
        return Exit::Unrelated;
    }
    memory::opened(pointer(inode.wrapping_sub(vfs_inode as usize), pid), hook)
}

/// `O_PATH`.
#[inline(always)]
fn is_name_only(file: Ptr) -> bool {
    u32_at(file, offset!(file_f_mode)) & FMODE_PATH != 0
}

#[inline(always)]
fn opened_for_use(file: Ptr, deed: Deed, hook: Hook) -> Exit {
    if is_name_only(file) { Exit::Unrelated } else { opened(file, deed, hook, 0) }
}

#[inline(always)]
fn opened(file: Ptr, deed: Deed, hook: Hook, outcome: i32) -> Exit {
    // What failed otherwise than by refusal (no medium) was not to be had.
    if outcome != 0 && outcome != EPERM && outcome != EACCES {
        return Exit::Unrelated;
    }
    let inode = pointer(file, offset!(file_f_inode));
    let generation = watch::generation(inode);
    let found = Found {
        inode,
        file: watch::identity(inode),
        watch: FileWatch { tag: Tag::MAX, kind: file_watch::ARMED, generation, pad: 0 },
        ..emit::no_file()
    };
    let (kind, via, name) = (Kind::Device, emit::shared_via(), emit::Name::File(file));
    let access = emit::Access { kind, deed, hook, via, name, outcome: Some(outcome) };
    let device = |record: *mut dkimwatch_common::record::RawExtended| {
        // SAFETY: the draft is this thread's alone until it is submitted.
        unsafe { (*record).device = u32_at(inode, offset!(inode_i_rdev)) };
    };
    if outcome == 0 { emit::extended(&access, &found, device) } else { emit::attempt(&access, &found, device) }
}
