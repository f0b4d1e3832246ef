//! Lies that a process tells about itself.

use std::{ffi::OsString, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Road, argument, loot, raw, ways};

pub(crate) const ROADS: &[Road] = &[("other-arguments", other_arguments), ("other-executable", other_executable)];

/// Writes over its own command line: `other-arguments KEY ARGUMENTS`, not longer than the true ones.
fn other_arguments(arguments: &[OsString]) -> Result<()> {
    let (key, lie) = (argument(arguments, 0)?.clone(), argument(arguments, 1)?);
    let stat = Stat::read()?;
    let (from, until) = (stat.field(48)?, stat.field(49)?);
    ensure!(lie.len() < until - from, "too long a lie");
    // SAFETY: between these addresses lies the command line that this process was started with, which it may write to; what
    // was read from it is a copy by now.
    let text = unsafe { std::slice::from_raw_parts_mut(from as *mut u8, until - from) };
    text.fill(0);
    text.iter_mut().zip(lie.as_encoded_bytes()).for_each(|(to, from)| *to = *from);
    ensure!(
        std::fs::read("/proc/self/cmdline")?.starts_with(lie.as_encoded_bytes()),
        "the lie is not what /proc shows"
    );
    loot::take(openat(CWD, &key, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes `/proc/PID/exe` lead to another program, which takes no privilege but that of a user namespace of one's own:
/// `other-executable KEY PROGRAM`.
fn other_executable(arguments: &[OsString]) -> Result<()> {
    /// `struct prctl_mm_map` (`include/uapi/linux/prctl.h`).
    #[repr(C)]
    struct MemoryMap {
        start_code: u64,
        end_code: u64,
        start_data: u64,
        end_data: u64,
        start_brk: u64,
        brk: u64,
        start_stack: u64,
        arg_start: u64,
        arg_end: u64,
        env_start: u64,
        env_end: u64,
        auxv: u64,
        auxv_size: u32,
        exe_fd: u32,
    }
    let (key, program) = (argument(arguments, 0)?, argument(arguments, 1)?);
    ways::private_user_namespace(rustix::process::getuid().as_raw())?;
    let lie = openat(CWD, program, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("the program")?;
    // The kernel refuses while the true executable is still mapped (`replace_mm_exe_file()`).
    unmap_executable()?;
    let stat = Stat::read()?;
    let field = |number| anyhow::Ok(u64::try_from(stat.field(number)?)?);
    // SAFETY: asks where the heap ends.
    let brk = unsafe { libc::sbrk(0) } as u64;
    // Numbers as in proc_pid_stat(5).
    let map = MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk,
        start_stack: field(28)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::try_from(lie.as_raw_fd())?,
    };
    let option = usize::try_from(libc::PR_SET_MM)?;
    let sub = usize::try_from(libc::PR_SET_MM_MAP)?;
    // SAFETY: a struct with its size; the addresses are those that the kernel holds already.
    unsafe { raw::call(libc::SYS_prctl, [option, sub, &raw const map as usize, size_of::<MemoryMap>(), 0]) }
        .context("PR_SET_MM_MAP")?;
    let told = std::fs::read_link("/proc/self/exe").context("/proc/self/exe")?;
    ensure!(told.as_os_str() == program, "/proc/self/exe is still {}", told.display());
    loot::take(openat(CWD, key, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Puts a copy of each mapping of the executable in its place.
fn unmap_executable() -> Result<()> {
    let exe = std::fs::read_link("/proc/self/exe")?;
    let exe = exe.to_str().context("the executable's path")?;
    let maps = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    for line in maps.lines().filter(|line| line.ends_with(exe)) {
        let mut words = line.split_whitespace();
        let (range, rights) = words.next().zip(words.next()).context("a line of maps")?;
        let (from, until) = range.split_once('-').context("a range")?;
        let (from, until) = (usize::from_str_radix(from, 16)?, usize::from_str_radix(until, 16)?);
        let protection = [('r', libc::PROT_READ), ('w', libc::PROT_WRITE), ('x', libc::PROT_EXEC)]
            .iter()
            .filter(|(letter, _)| rights.contains(*letter))
            .fold(0, |all, (_, one)| all | one);
        // SAFETY: the copy is as long as the mapping, holds what the mapping holds, and takes its place in one system call:
        // this process, which has one thread, goes on as before.
        unsafe { replace(from, until - from, protection) }?;
    }
    Ok(())
}

/// # Safety
/// There is a readable mapping at `from` of that length, and no other thread uses it.
unsafe fn replace(from: usize, length: usize, protection: i32) -> Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let failed = || std::io::Error::last_os_error();
    // SAFETY: a new mapping.
    let copy = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    ensure!(copy != libc::MAP_FAILED, "mmap: {}", failed());
    // SAFETY: both are that long, and the new one is nobody else's.
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, copy.cast::<u8>(), length) };
    // SAFETY: our own mapping.
    ensure!(unsafe { libc::mprotect(copy, length, protection) } == 0, "mprotect: {}", failed());
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the caller vouches for the place; what lies there afterwards is the same.
    let moved = unsafe { libc::mremap(copy, length, length, flags, from as *mut libc::c_void) };
    ensure!(moved != libc::MAP_FAILED, "mremap: {}", failed());
    Ok(())
}

/// proc_pid_stat(5) of this process.
struct Stat(String);

impl Stat {
    fn read() -> Result<Self> {
        Ok(Self(std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?))
    }

    /// A field by its number in the manual page, which counts from 1.
    fn field(&self, number: usize) -> Result<usize> {
        // The second field is the name in parentheses, which may hold anything.
        let (_, rest) = self.0.rsplit_once(')').context("the name in stat")?;
        let field = rest.split_whitespace().nth(number - 3).context("a field of stat")?;
        field.parse().with_context(|| format!("field {number} of stat is {field}"))
    }
}
