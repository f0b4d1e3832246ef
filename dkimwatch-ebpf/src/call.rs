//! Which system call, or which request of a ring, a hook runs in: what is being done to a file, and through which
//! descriptor, where the hook itself knows only the inode.

use dkimwatch_common::deed::Deed;

use crate::{
    memory::{Memory, Probed, Ptr, offset, pointer, present, u32_at, u64_at},
    syscall,
};

/// `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
const PF_IO_WORKER: u32 = 0x0000_0010;
const PF_WQ_WORKER: u32 = 0x0000_0020;
/// `fcntl.h`: relative paths begin at the working folder.
const AT_FDCWD: i32 = -100;

/// What the current task is doing.
#[derive(Clone, Copy)]
pub struct Call {
    /// What is done to a file by it; [`Deed::None`] where that is another hook's to tell, or nobody's.
    pub deed: Deed,
    /// The system call's number, or the request's.
    pub number: u32,
    /// Its end is seen, by `sys_exit_change`.
    pub ends: bool,
    /// The descriptor that is written to, or changed by; -1 where there is none.
    pub descriptor: i64,
    /// The other path as it was asked for, in the kernel's memory; null where there is none.
    pub other: Ptr,
    /// Perhaps nothing is changed by it, where no change time says so: a worker of the kernel's serves files, or writes data
    /// back; a splice writes to one file and reads another.
    pub unsure: bool,
}

const fn call(deed: Deed, number: u32) -> Call {
    Call { deed, number, ends: false, descriptor: -1, other: core::ptr::null(), unsure: false }
}

/// The registers that the current task entered the kernel with.
#[derive(Clone, Copy)]
pub struct Registers(Ptr);

impl Registers {
    /// Those of the current task, which is in a system call.
    #[inline(always)]
    pub fn current() -> Self {
        Self(syscall::registers())
    }

    /// The system call's first argument.
    #[inline(always)]
    pub fn first(self) -> u64 {
        u64_at(self.0, offset!(regs_di))
    }

    /// The second.
    #[inline(always)]
    pub fn second(self) -> u64 {
        u64_at(self.0, offset!(regs_si))
    }

    /// The third.
    #[inline(always)]
    pub fn third(self) -> u64 {
        u64_at(self.0, offset!(regs_dx))
    }

    /// The fourth.
    #[inline(always)]
    pub fn fourth(self) -> u64 {
        u64_at(self.0, offset!(regs_r10))
    }

    /// The path that a call is about, and the folder's descriptor that it begins at; none for a call by descriptor. Of two
    /// paths it is that of what is there already.
    #[inline(always)]
    pub fn path(self, number: u32) -> Option<(i32, u64)> {
        match number {
            87 | 84 | 82 | 86 | 90 | 92 | 94 | 76 | 132 | 235 | 188 | 189 | 197 | 198 => Some((AT_FDCWD, self.first())),
            263 | 264 | 316 | 265 | 268 | 452 | 260 | 261 | 280 | 463 | 466 | 469 => {
                Some((self.first() as i32, self.second()))
            }
            _ => None,
        }
    }

    /// The path that a rename or a link gives a name by, and the descriptor that it begins at.
    #[inline(always)]
    pub fn new_path(self, number: u32) -> (i32, u64) {
        match number {
            82 | 86 => (AT_FDCWD, self.second()),
            _ => (self.third() as i32, self.fourth()),
        }
    }

    /// The fifth.
    #[inline(always)]
    pub fn fifth(self) -> u64 {
        u64_at(self.0, offset!(regs_r8))
    }
}

impl Call {
    /// The one that the current task is in.
    #[inline(always)]
    pub fn current(task: Ptr) -> Self {
        let flags = u32_at(task, offset!(task_flags));
        if flags & PF_IO_WORKER != 0 {
            return Call { other: other_path(task), ..requested(opcode(task)) };
        }
        if flags & PF_KTHREAD != 0 {
            // A file server in the kernel.
            return Call { unsure: flags & PF_WQ_WORKER != 0, ..call(Deed::Changed, 0) };
        }
        let registers = Registers::current();
        /// `__X32_SYSCALL_BIT`.
        const X32: u32 = 0x4000_0000;
        let called = u32_at(registers.0, offset!(regs_orig_ax));
        let number = called & !X32;
        if is_compat(task) {
            return compat(number);
        }
        let call = native(number, registers);
        // Of one with 32-bit pointers no tracepoint tells.
        Call { ends: call.ends && called & X32 == 0, ..call }
    }
}

/// Whether the current task is in a system call of 32 bits.
#[inline(always)]
pub fn is_compat(task: Ptr) -> bool {
    /// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`).
    const COMPAT: u32 = 2;
    let status = offset!(task_status);
    present(status) && u32_at(task, status) & COMPAT != 0
}

/// The current process's open file of a number, null where there is none.
#[inline(always)]
pub fn file(task: Ptr, descriptor: i64) -> Ptr {
    let table = pointer(pointer(task, offset!(task_files)), offset!(files_fdt));
    // A descriptor that does not fit is not in the table.
    let fd = descriptor as u64;
    if fd >= u64::from(u32_at(table, offset!(fdtable_max_fds))) {
        return core::ptr::null();
    }
    pointer(pointer(table, offset!(fdtable_fd)).wrapping_add(8 * fd as usize), 0)
}

/// The deed of a system call whose end `sys_exit_change` sees (`syscall_64.tbl`): those that it is attached to, see
/// `dkimwatch::kernel`.
#[inline(always)]
pub const fn ending(number: u32) -> Deed {
    match number {
        87 | 263 | 84 => Deed::Unlink,
        82 | 264 | 316 => Deed::Rename,
        86 | 265 => Deed::Link,
        90 | 91 | 268 | 452 => Deed::Mode,
        92 | 93 | 94 | 260 => Deed::Owner,
        76 | 77 => Deed::Size,
        132 | 235 | 261 | 280 => Deed::Times,
        188 | 189 | 190 | 197 | 198 | 199 | 463 | 466 => Deed::Xattr,
        469 => Deed::Flags,
        _ => Deed::None,
    }
}

/// A system call of 64 bits.
#[inline(always)]
fn native(number: u32, registers: Registers) -> Call {
    const IOCTL: u32 = 16;
    let deed = ending(number);
    if deed as u32 != Deed::None as u32 {
        let descriptor = if number == 77 { descriptor(registers.first()) } else { -1 };
        return Call { ends: true, descriptor, ..call(deed, number) };
    }
    match number {
        IOCTL => control(registers),
        // write, pwrite64, writev, pwritev, pwritev2, fallocate, and sendfile, splice, copy_file_range with their targets.
        1 | 18 | 20 | 296 | 328 | 285 | 40 => {
            Call { descriptor: descriptor(registers.first()), ..call(Deed::Write, number) }
        }
        275 | 326 => Call { descriptor: descriptor(registers.third()), ..call(Deed::Write, number) },
        _ => call(Deed::None, number),
    }
}

#[inline(always)]
const fn descriptor(register: u64) -> i64 {
    (register as u32) as i64
}

/// `include/uapi/linux/fs.h`: a file's extents become another's, too.
pub const FICLONE: u32 = 0x4004_9409;
/// A range of them.
pub const FICLONERANGE: u32 = 0x4020_940d;

/// ioctl(2), by its command (`include/uapi/linux/fs.h`).
#[inline(always)]
fn control(registers: Registers) -> Call {
    const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
    const FS_IOC32_SETFLAGS: u32 = 0x4004_6602;
    const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
    const FS_IOC_SETVERSION: u32 = 0x4008_7602;
    let command = registers.second() as u32;
    let deed = match command {
        FS_IOC_SETFLAGS | FS_IOC32_SETFLAGS | FS_IOC_FSSETXATTR => Deed::Flags,
        FS_IOC_SETVERSION => Deed::Changed,
        FICLONE | FICLONERANGE => Deed::Write,
        _ => Deed::None,
    };
    Call { descriptor: descriptor(registers.first()), ..call(deed, command) }
}

/// A system call of 32 bits (`syscall_32.tbl`), whose end no tracepoint tells.
#[inline(always)]
const fn compat(number: u32) -> Call {
    let deed = match number {
        10 | 301 | 40 => Deed::Unlink,
        38 | 302 | 353 => Deed::Rename,
        9 | 303 => Deed::Link,
        15 | 94 | 306 | 452 => Deed::Mode,
        16 | 95 | 182 | 198 | 207 | 212 | 298 => Deed::Owner,
        // With creat and the opens, which are seen by no other hook.
        92 | 93 | 193 | 194 | 8 | 5 | 295 | 437 => Deed::Size,
        30 | 271 | 299 | 320 | 412 => Deed::Times,
        226 | 227 | 228 | 235 | 236 | 237 | 463 | 466 => Deed::Xattr,
        469 => Deed::Flags,
        54 => Deed::Changed,
        4 | 146 | 181 | 187 | 239 | 313 | 324 | 334 | 377 | 379 => Deed::Write,
        _ => Deed::None,
    };
    call(deed, number)
}

/// A request of an io_uring (`include/uapi/linux/io_uring.h`), whose end is another task's.
#[inline(always)]
const fn requested(opcode: u8) -> Call {
    let deed = match opcode {
        2 | 5 | 17 | 23 | 30 => Deed::Write,
        55 => Deed::Size,
        35 => Deed::Rename,
        36 => Deed::Unlink,
        39 => Deed::Link,
        41 | 42 => Deed::Xattr,
        _ => Deed::None,
    };
    /// `IORING_OP_SPLICE`.
    const SPLICE: u8 = 30;
    Call { unsure: opcode == SPLICE, ..call(deed, opcode as u32) }
}

/// What an io_uring worker works on; null on a kernel that does not say.
#[inline(always)]
fn request(task: Ptr) -> Ptr {
    let (worker, current, work) = (offset!(task_worker), offset!(io_worker_work), offset!(io_work));
    if !present(worker) || !present(current) || !present(work) {
        return core::ptr::null();
    }
    pointer(pointer(task, worker), current).wrapping_sub(work as usize)
}

#[inline(always)]
fn opcode(task: Ptr) -> u8 {
    // SAFETY: an integer, zero where there is no request.
    unsafe { Probed::read::<u8>(request(task), offset!(io_opcode)) }
}

/// The path that a worker renames or links to.
#[inline(always)]
fn other_path(task: Ptr) -> Ptr {
    let at = match opcode(task) {
        35 => offset!(io_rename_to),
        39 => offset!(io_link_to),
        _ => return core::ptr::null(),
    };
    // `io_kiocb->cmd` begins the request.
    if present(at) { pointer(pointer(request(task), at), offset!(filename_name)) } else { core::ptr::null() }
}
