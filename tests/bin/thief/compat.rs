//! 32-bit system calls, from a 64-bit program: the kernel does not tell the tracepoints of system calls.

use std::ffi::{OsStr, OsString};

use anyhow::{Context as _, Result, ensure};

use crate::{Road, argument, loot, raw};

pub(crate) const ROADS: &[Road] = &[("int80", opened)];

/// Bytes below 4 GiB, whose addresses fit in the words of such a call.
struct Low {
    room: &'static mut [u8],
}

impl Low {
    const ROOM: usize = 4096;

    fn new() -> Result<Self> {
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
        // SAFETY: a new mapping, wherever the kernel likes it below 2 GiB.
        let below = unsafe { libc::mmap(std::ptr::null_mut(), Self::ROOM, prot, flags, -1, 0) };
        ensure!(below != libc::MAP_FAILED, "no memory below 4 GiB");
        // SAFETY: the mapping has that much room, is this value's alone and stays.
        Ok(Self { room: unsafe { std::slice::from_raw_parts_mut(below.cast::<u8>(), Self::ROOM) } })
    }

    fn holding(path: &OsStr) -> Result<Self> {
        let low = Self::new()?;
        let path = raw::c_path(path)?;
        let path = path.as_bytes_with_nul();
        low.room.get_mut(..path.len()).context("too long a path")?.copy_from_slice(path);
        Ok(low)
    }

    fn address(&self) -> Result<u32> {
        Ok(u32::try_from(self.room.as_ptr() as usize)?)
    }
}

fn opened(arguments: &[OsString]) -> Result<()> {
    /// `arch/x86/entry/syscalls/syscall_32.tbl`.
    const READ: u32 = 3;
    const OPEN: u32 = 5;
    let low = Low::holding(argument(arguments, 0)?)?;
    let fd = call(OPEN, [low.address()?, 0, 0, 0, 0])?;
    let reader = loot::Reader::this_thread()?;
    let count = call(READ, [fd, low.address()?, u32::try_from(Low::ROOM)?, 0, 0])?;
    loot::show(reader, low.room.get(..usize::try_from(count)?).context("too much")?)
}

/// Has two names change places.
pub(crate) fn exchange(one: &OsStr, other: &OsStr) -> Result<()> {
    const RENAMEAT2: u32 = 353;
    const RENAME_EXCHANGE: u32 = 2;
    let (one, other) = (Low::holding(one)?, Low::holding(other)?);
    let here = libc::AT_FDCWD.cast_unsigned();
    call(RENAMEAT2, [here, one.address()?, here, other.address()?, RENAME_EXCHANGE]).map(drop)
}

/// Renames a file or folder.
pub(crate) fn rename(from: &OsStr, to: &OsStr) -> Result<()> {
    const RENAME: u32 = 38;
    let (from, to) = (Low::holding(from)?, Low::holding(to)?);
    call(RENAME, [from.address()?, to.address()?, 0, 0, 0]).map(drop)
}

#[cfg(not(target_arch = "x86_64"))]
fn call(number: u32, _: [u32; 5]) -> Result<u32> {
    anyhow::bail!("32-bit system call {number}: this processor has none")
}

#[cfg(target_arch = "x86_64")]
fn call(number: u32, [first, second, third, fourth, fifth]: [u32; 5]) -> Result<u32> {
    let answer: u32;
    // SAFETY: `int 0x80` takes its number and words in 32-bit registers and answers in eax; rbx, which the compiler keeps
    // to itself, is put back. The addresses given are those of a mapping with room.
    unsafe {
        core::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") number => answer,
            in("ecx") second,
            in("edx") third,
            in("esi") fourth,
            in("edi") fifth,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let signed = answer.cast_signed();
    ensure!(signed >= 0, "32-bit system call {number}: {}", std::io::Error::from_raw_os_error(-signed));
    Ok(answer)
}
