//! A ring of io_uring, as small as a thief needs it: one request at a time.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::raw;

/// `include/uapi/linux/io_uring.h`.
pub(crate) const SQPOLL: u32 = 1 << 1;
/// The request's file is a slot of the ring's own table.
pub(crate) const FIXED_FILE: u8 = 1 << 0;
/// The request is given to a worker at once.
pub(crate) const ASYNC: u8 = 1 << 4;
const OP_OPENAT: u8 = 18;
const OP_READ: u8 = 22;
const OP_SPLICE: u8 = 30;
const ENTER_GETEVENTS: usize = 1;
const ENTER_SQ_WAKEUP: usize = 2;
const SQ_NEED_WAKEUP: u32 = 1;
const REGISTER_FILES: usize = 2;
const SPLICE_FD_IN_FIXED: u32 = 1 << 31;

/// Room for a key.
pub(crate) const ROOM: usize = 4096;

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, whose members that are used here stand at the same places.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    /// Flags of one, overflow of the other.
    fifth: u32,
    /// What was dropped by one, completions of the other.
    sixth: u32,
    /// The array of one.
    seventh: u32,
    reserved: u32,
    address: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Parameters {
    entries: u32,
    completions: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    workers: u32,
    reserved: [u32; 3],
    submission: Offsets,
    completion: Offsets,
}

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation: u32,
    data: u64,
    buffer: u16,
    personality: u16,
    /// The descriptor that is spliced from, or the slot that is opened into.
    second: u32,
    rest: [u64; 2],
}

const _: () = assert!(size_of::<Parameters>() == 120 && size_of::<Request>() == 64);

/// A ring, mapped into this process.
pub(crate) struct Ring {
    fd: OwnedFd,
    parameters: Parameters,
    submissions: *mut u8,
    completions: *mut u8,
    requests: *mut Request,
}

impl Ring {
    /// Sets one up and maps it.
    pub(crate) fn new(flags: u32) -> Result<Self> {
        let mut parameters = Parameters { flags, thread_idle: 1_000, ..Parameters::default() };
        // SAFETY: a struct of the kernel's layout.
        let fd = unsafe { raw::call(libc::SYS_io_uring_setup, [4, &raw mut parameters as usize]) };
        let fd = raw::descriptor(fd.context("io_uring_setup")?)?;
        Self::map(fd, parameters)
    }

    /// The same ring in a process that got its descriptor and has mappings of its own.
    pub(crate) fn mapped_again(&self) -> Result<Self> {
        Self::map(self.fd.try_clone()?, self.parameters)
    }

    fn map(fd: OwnedFd, parameters: Parameters) -> Result<Self> {
        const SUBMISSIONS: i64 = 0;
        const COMPLETIONS: i64 = 0x800_0000;
        const REQUESTS: i64 = 0x1000_0000;
        let at = |offset: i64| -> Result<*mut u8> {
            let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            // SAFETY: a new mapping of the ring, which is smaller than a page.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, fd.as_raw_fd(), offset) };
            ensure!(at != libc::MAP_FAILED, "mapping the ring: {}", std::io::Error::last_os_error());
            Ok(at.cast())
        };
        let (submissions, completions, requests) = (at(SUBMISSIONS)?, at(COMPLETIONS)?, at(REQUESTS)?);
        Ok(Self { fd, parameters, submissions, completions, requests: requests.cast() })
    }

    /// Puts a file into the ring's own table, as its first and only one.
    pub(crate) fn register(&self, file: i32) -> Result<()> {
        let files = [file];
        let words = [raw::word(self.fd.as_raw_fd()), REGISTER_FILES, files.as_ptr() as usize, files.len()];
        // SAFETY: an array with its length.
        unsafe { raw::call(libc::SYS_io_uring_register, words) }.context("io_uring_register").map(drop)
    }

    /// Reads a file from its start; `flags` of the request.
    pub(crate) fn read(&self, file: i32, flags: u8) -> Result<Vec<u8>> {
        let mut bytes = vec![0_u8; ROOM];
        let request = Request {
            opcode: OP_READ,
            flags,
            fd: file,
            address: u64::try_from(bytes.as_mut_ptr() as usize)?,
            length: u32::try_from(ROOM)?,
            ..Request::default()
        };
        let count = self.done(request).context("io_uring read")?;
        bytes.truncate(usize::try_from(count)?);
        Ok(bytes)
    }

    /// Opens a path: a descriptor, or, with `slot`, the ring's slot of that number (from 1 on).
    pub(crate) fn open(&self, path: &CStr, flags: u8, slot: u32) -> Result<i32> {
        let request = Request {
            opcode: OP_OPENAT,
            flags,
            fd: libc::AT_FDCWD,
            address: u64::try_from(path.as_ptr() as usize)?,
            operation: u32::try_from(libc::O_RDONLY)?,
            second: slot,
            ..Request::default()
        };
        self.done(request).context("io_uring open")
    }

    /// Splices from the start of a file into a pipe.
    pub(crate) fn splice(&self, file: i32, fixed: bool, pipe: i32) -> Result<usize> {
        let request = Request {
            opcode: OP_SPLICE,
            fd: pipe,
            offset: u64::MAX,
            length: u32::try_from(ROOM)?,
            operation: if fixed { SPLICE_FD_IN_FIXED } else { 0 },
            second: file.cast_unsigned(),
            ..Request::default()
        };
        Ok(usize::try_from(self.done(request).context("io_uring splice")?)?)
    }

    /// Submits a request and waits for what it came to.
    fn done(&self, request: Request) -> Result<i32> {
        let (own, other) = (&self.parameters.submission, &self.parameters.completion);
        let (tail, mask) = (word(self.submissions, own.tail), word(self.submissions, own.mask));
        let at = tail.load(Ordering::Acquire);
        let slot = at & mask.load(Ordering::Relaxed);
        // SAFETY: within the ring, by its mask; the kernel looks at it when the tail has moved.
        unsafe { self.requests.add(usize::try_from(slot)?).write_volatile(request) };
        word(self.submissions, own.seventh + 4 * slot).store(slot, Ordering::Relaxed);
        tail.store(at.wrapping_add(1), Ordering::SeqCst);
        let polled = self.parameters.flags & SQPOLL != 0;
        let mut flags = ENTER_GETEVENTS;
        if polled && word(self.submissions, own.fifth).load(Ordering::SeqCst) & SQ_NEED_WAKEUP != 0 {
            flags |= ENTER_SQ_WAKEUP;
        }
        let words = [raw::word(self.fd.as_raw_fd()), usize::from(!polled), 1, flags, 0, 0];
        // SAFETY: integers; the ring is mapped.
        unsafe { raw::call(libc::SYS_io_uring_enter, words) }.context("io_uring_enter")?;
        let head = word(self.completions, other.head);
        let at = head.load(Ordering::Acquire);
        ensure!(at != word(self.completions, other.tail).load(Ordering::Acquire), "nothing was completed");
        let slot = at & word(self.completions, other.mask).load(Ordering::Relaxed);
        /// `struct io_uring_cqe` and the place of `res` in it.
        const COMPLETION: u32 = 16;
        const RESULT: u32 = 8;
        let result =
            word(self.completions, other.sixth + COMPLETION * slot + RESULT).load(Ordering::Acquire).cast_signed();
        head.store(at.wrapping_add(1), Ordering::Release);
        if result < 0 {
            bail!(std::io::Error::from_raw_os_error(-result));
        }
        Ok(result)
    }
}

/// A word of a mapped ring.
fn word<'a>(ring: *mut u8, at: u32) -> &'a AtomicU32 {
    // SAFETY: the kernel gave the place, which lies within the mapping; the mapping is never undone. It is aligned.
    unsafe { &*ring.add(usize::try_from(at).unwrap_or_default()).cast::<AtomicU32>() }
}
