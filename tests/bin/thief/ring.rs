//! Requests through io_uring: a ring of its own for each, one entry, one completion.

use std::{
    ffi::{OsStr, OsString},
    io::Error,
    os::fd::{AsFd, AsRawFd as _, RawFd},
    ptr,
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::FallocateFlags;

use crate::raw;

/// `enum io_uring_op` (`include/uapi/linux/io_uring.h`).
pub(crate) const RENAMEAT: u8 = 35;
pub(crate) const UNLINKAT: u8 = 36;
pub(crate) const LINKAT: u8 = 39;
const FALLOCATE: u8 = 17;
const SETXATTR: u8 = 42;
const FTRUNCATE: u8 = 55;

/// `struct io_uring_sqe`, as the requests here use it.
#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    /// `off`, `addr2`.
    second: u64,
    address: u64,
    length: u32,
    /// Flags of the operation.
    how: u32,
    user_data: u64,
    rest: [u64; 3],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// A deed to a path, or from one path to another.
pub(crate) fn by_path(opcode: u8, path: &OsStr, to: Option<&OsString>, how: u32) -> Result<()> {
    let path = raw::c_path(path)?;
    let to = to.map(|to| raw::c_path(to)).transpose()?;
    let second = to.as_ref().map_or(0, |to| to.as_ptr() as u64);
    // `len` is the second path's folder.
    let length = if to.is_some() { libc::AT_FDCWD.cast_unsigned() } else { 0 };
    let address = path.as_ptr() as u64;
    request(&Entry { opcode, fd: libc::AT_FDCWD, second, address, length, how, ..Entry::default() })
}

pub(crate) fn set_xattr(path: &OsStr, name: &OsStr, value: &OsStr) -> Result<()> {
    let (path, name) = (raw::c_path(path)?, raw::c_path(name)?);
    let value = value.as_encoded_bytes();
    let mut entry = Entry { opcode: SETXATTR, second: value.as_ptr() as u64, ..Entry::default() };
    entry.address = name.as_ptr() as u64;
    entry.length = u32::try_from(value.len())?;
    // `addr3`.
    entry.rest = [0, path.as_ptr() as u64, 0];
    request(&entry)
}

pub(crate) fn fallocate(file: impl AsFd, mode: FallocateFlags, offset: u64, length: u64) -> Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // The length is in `addr`, the mode in `len`.
    let entry =
        Entry { opcode: FALLOCATE, fd, second: offset, address: length, length: mode.bits(), ..Entry::default() };
    request(&entry)
}

pub(crate) fn ftruncate(file: impl AsFd, length: u64) -> Result<()> {
    request(&Entry { opcode: FTRUNCATE, fd: file.as_fd().as_raw_fd(), second: length, ..Entry::default() })
}

fn request(entry: &Entry) -> Result<()> {
    const SETUP: libc::c_long = 425;
    const ENTER: libc::c_long = 426;
    /// `struct io_uring_params`: 40 bytes, then the offsets of the two rings, 40 bytes each.
    const PARAMS: usize = 120;
    /// Where the entries are mapped from.
    const OFF_SQES: libc::off_t = 0x1000_0000;
    const GETEVENTS: usize = 1;
    let mut params = [0_u32; PARAMS / 4];
    // SAFETY: the kernel fills the parameters.
    let ring =
        raw::descriptor(unsafe { raw::call(SETUP, [4, params.as_mut_ptr() as usize]) }.context("io_uring_setup")?)?;
    let fd: RawFd = ring.as_raw_fd();
    let map = |from: libc::off_t| {
        let (size, access) = (4096, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping; both rings of four entries fit in a page, and so do the entries.
        let at = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED | libc::MAP_POPULATE, fd, from) };
        if at == libc::MAP_FAILED { Err(Error::last_os_error()).context("map the ring") } else { Ok(at.cast::<u8>()) }
    };
    let offset = |index: usize| params.get(index).map(|at| *at as usize).context("a parameter");
    // SAFETY: offsets from the kernel, into mappings of the kernel's; one thread writes, and the kernel reads on entry.
    let result = unsafe {
        let (rings, entries) = (map(0)?, map(OFF_SQES)?);
        // `sq_off.tail` and `sq_off.array`, `cq_off.cqes`.
        let (tail, array, completions) = (offset(11)?, offset(16)?, offset(25)?);
        ptr::copy_nonoverlapping(ptr::from_ref(entry).cast::<u8>(), entries, size_of::<Entry>());
        rings.add(array).cast::<u32>().write(0);
        rings.add(tail).cast::<u32>().write_volatile(1);
        raw::call(ENTER, [raw::word(fd), 1, 1, GETEVENTS, 0, 0]).context("io_uring_enter")?;
        rings.add(completions).add(8).cast::<i32>().read_volatile()
    };
    if result < 0 {
        return Err(Error::from_raw_os_error(-result)).context("io_uring");
    }
    ensure!(result == 0, "io_uring answers {result}");
    Ok(())
}
