//! Ways to the bytes of a file that is open.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    fs::{MemfdFlags, OFlags, memfd_create},
    pipe::{SpliceFlags, splice},
};

use crate::{
    raw,
    uring::{self, ROOM, Ring},
};

/// Reads by the named way; `path` is the file's, for copies beside it.
pub(crate) fn by(how: &OsStr, file: BorrowedFd<'_>, path: &OsStr) -> Result<Vec<u8>> {
    match how.to_str().unwrap_or_default() {
        "read" => filled(|room| Ok(rustix::io::read(file, room)?)),
        "pread" => filled(|room| Ok(rustix::io::pread(file, room, 0)?)),
        "preadv2" => by_preadv2(file),
        "direct" => by_direct_read(file),
        "aio" => by_aio(file),
        "map" => Ok(Mapping::new(file, libc::PROT_READ, libc::MAP_PRIVATE)?.bytes()),
        "populate" => by_populating(file),
        "write-fault" => by_write_fault(file),
        "vmsplice" => by_vmsplice(file),
        "sendfile" => by_sendfile(file),
        "splice" => by_splice(file, false),
        "tee" => by_splice(file, true),
        "copy-file-range" => by_copy(file, path, |to| {
            Ok(rustix::fs::copy_file_range(file, Some(&mut 0), to, Some(&mut 0), ROOM).map(drop)?)
        }),
        "reflink" => by_copy(file, path, |to| Ok(rustix::fs::ioctl_ficlone(to, file)?)),
        "comparison" => by_comparison(file, path),
        "ring" => Ring::new(0)?.read(file.as_raw_fd(), 0),
        "ring-worker" => Ring::new(0)?.read(file.as_raw_fd(), uring::ASYNC),
        "ring-slot" => {
            let ring = Ring::new(0)?;
            ring.register(file.as_raw_fd())?;
            ring.read(0, uring::FIXED_FILE)
        }
        "ring-splice" => {
            let (from, to) = rustix::pipe::pipe()?;
            ensure!(Ring::new(0)?.splice(file.as_raw_fd(), false, to.as_raw_fd())? > 0, "nothing was spliced");
            drop(to);
            all(from)
        }
        other => bail!("no such way to read: {other}"),
    }
}

/// Of a mapping that may not be read until it has been written to, behind the file's end: the page is copied as it faults, and nothing is
/// asked of what is around it.
fn by_write_fault(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mapping = Mapping::new(file, libc::PROT_NONE, libc::MAP_PRIVATE)?;
    mapping.protect(libc::PROT_READ | libc::PROT_WRITE)?;
    mapping.write_behind_the_end();
    Ok(mapping.bytes())
}

fn filled(read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; ROOM];
    let count = read(&mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn all(from: OwnedFd) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::from(from).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Only what is in memory already.
fn by_preadv2(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    filled(|room| {
        let mut room = [std::io::IoSliceMut::new(room)];
        rustix::io::preadv2(file, &mut room, 0, rustix::io::ReadWriteFlags::NOWAIT).context("preadv2")
    })
}

/// Past the page cache.
fn by_direct_read(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    #[repr(align(4096))]
    struct Aligned([u8; ROOM]);
    rustix::fs::fcntl_setfl(file, OFlags::DIRECT).context("O_DIRECT")?;
    let mut room = Aligned([0; ROOM]);
    let count = rustix::io::pread(file, &mut room.0, 0).context("a direct read")?;
    Ok(room.0.get(..count).context("too much")?.to_vec())
}

/// io_submit(2).
fn by_aio(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    /// `struct iocb` (`include/uapi/linux/aio_abi.h`); operation 0 is a read.
    #[repr(C)]
    #[derive(Default)]
    struct Request {
        data: u64,
        key: u32,
        flags: u32,
        operation: u16,
        priority: i16,
        fd: u32,
        buffer: u64,
        length: u64,
        offset: i64,
        reserved: u64,
        event_flags: u32,
        event_fd: u32,
    }
    /// `struct io_event`.
    #[repr(C)]
    #[derive(Default)]
    struct Event {
        data: u64,
        request: u64,
        result: i64,
        second: i64,
    }
    filled(|room| {
        let mut context = 0_usize;
        // SAFETY: a word for the context.
        unsafe { raw::call(libc::SYS_io_setup, [1, &raw mut context as usize]) }.context("io_setup")?;
        let mut request = Request {
            fd: file.as_raw_fd().cast_unsigned(),
            buffer: u64::try_from(room.as_mut_ptr() as usize)?,
            length: u64::try_from(room.len())?,
            ..Request::default()
        };
        let requests = [&raw mut request];
        let mut event = Event::default();
        // SAFETY: a list of one request, whose buffer has the length that it tells; then room for one event.
        unsafe {
            raw::call(libc::SYS_io_submit, [context, 1, requests.as_ptr() as usize]).context("io_submit")?;
            raw::call(libc::SYS_io_getevents, [context, 1, 1, &raw mut event as usize, 0]).context("io_getevents")?;
        }
        usize::try_from(event.result)
            .with_context(|| std::io::Error::from_raw_os_error(i32::try_from(-event.result).unwrap_or(libc::EIO)))
    })
}

/// A mapping whose pages are brought in before anybody looks (`MADV_POPULATE_READ`, 5.14).
fn by_populating(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mapping = Mapping::new(file, libc::PROT_READ, libc::MAP_SHARED)?;
    // SAFETY: the mapping, and its length.
    let answer = unsafe { libc::madvise(mapping.at.cast(), ROOM, libc::MADV_POPULATE_READ) };
    ensure!(answer == 0, "MADV_POPULATE_READ: {}", std::io::Error::last_os_error());
    Ok(mapping.bytes())
}

/// The mapping's pages go into a pipe; nobody looks at them in the mapping.
fn by_vmsplice(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mapping = Mapping::new(file, libc::PROT_READ, libc::MAP_PRIVATE)?;
    let (from, to) = rustix::pipe::pipe()?;
    let vector = libc::iovec { iov_base: mapping.at.cast(), iov_len: mapping.length };
    // SAFETY: one vector, of a mapping with its length.
    let count = unsafe { libc::vmsplice(to.as_raw_fd(), &raw const vector, 1, 0) };
    ensure!(count > 0, "vmsplice: {}", std::io::Error::last_os_error());
    drop(to);
    all(from)
}

fn by_sendfile(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let to = memfd_create("copy", MemfdFlags::CLOEXEC)?;
    let count = rustix::fs::sendfile(&to, file, Some(&mut 0), ROOM).context("sendfile")?;
    let bytes = filled(|room| Ok(rustix::io::pread(&to, room, 0)?))?;
    ensure!(bytes.len() == count, "a short copy");
    Ok(bytes)
}

/// Into a pipe, and with `doubled` from that pipe into another (tee(2)).
fn by_splice(file: BorrowedFd<'_>, doubled: bool) -> Result<Vec<u8>> {
    let (from, to) = rustix::pipe::pipe()?;
    ensure!(splice(file, Some(&mut 0), &to, None, ROOM, SpliceFlags::empty()).context("splice")? > 0, "nothing");
    drop(to);
    if !doubled {
        return all(from);
    }
    let (second_from, second_to) = rustix::pipe::pipe()?;
    ensure!(rustix::pipe::tee(&from, &second_to, ROOM, SpliceFlags::empty()).context("tee")? > 0, "nothing");
    drop(second_to);
    all(second_from)
}

/// A file beside the key, which then has its bytes.
fn by_copy(file: BorrowedFd<'_>, path: &OsStr, copy: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<Vec<u8>> {
    let mut beside = path.to_owned();
    beside.push(format!(".copy-{}", file.as_raw_fd()));
    let to = fs::File::options().read(true).write(true).create(true).truncate(true).open(&beside)?;
    copy(to.as_fd())?;
    let bytes = filled(|room| Ok(rustix::io::pread(&to, room, 0)?));
    fs::remove_file(beside)?;
    bytes
}

/// Asks the file system whether the file equals a guess, which lies beside it: `FIDEDUPERANGE` (ioctl_fideduperange(2)).
fn by_comparison(file: BorrowedFd<'_>, path: &OsStr) -> Result<Vec<u8>> {
    /// `struct file_dedupe_range` with one `struct file_dedupe_range_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Comparison {
        offset: u64,
        length: u64,
        count: u16,
        reserved: u16,
        more_reserved: u32,
        to: i64,
        to_offset: u64,
        same_bytes: u64,
        status: i32,
        last_reserved: u32,
    }
    /// `_IOWR(0x94, 54, struct file_dedupe_range)`, whose size is that of its head.
    const FIDEDUPERANGE: libc::c_ulong = 0xc018_9436;
    let mut beside = path.to_owned();
    beside.push(".guess");
    let guess = fs::File::options().read(true).write(true).open(&beside)?;
    let bytes = fs::read(&beside)?;
    let length = u64::try_from(bytes.len())?;
    let mut comparison = Comparison { length, count: 1, to: i64::from(guess.as_raw_fd()), ..Comparison::default() };
    // SAFETY: the struct that this request takes.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FIDEDUPERANGE, &raw mut comparison) };
    ensure!(answer == 0, "FIDEDUPERANGE: {}", std::io::Error::last_os_error());
    ensure!(comparison.status == 0 && comparison.same_bytes > 0, "it answered {}", comparison.status);
    Ok(bytes)
}

/// A mapping of a whole file, which is shorter than a page. It stays until the process ends.
pub(crate) struct Mapping {
    at: *mut u8,
    length: usize,
}

impl Mapping {
    /// Maps it.
    pub(crate) fn new(file: BorrowedFd<'_>, prot: i32, flags: i32) -> Result<Self> {
        let length = usize::try_from(rustix::fs::fstat(file)?.st_size)?;
        // SAFETY: a new mapping of a file that is not cut while it is mapped.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), length, prot, flags, file.as_raw_fd(), 0) };
        ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Ok(Self { at: at.cast(), length })
    }

    /// What it holds.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: the mapping is that long, and may be read by now.
        unsafe { std::slice::from_raw_parts(self.at, self.length) }.to_vec()
    }

    /// From now on it may be read.
    pub(crate) fn uncover(&self) -> Result<()> {
        self.protect(libc::PROT_READ)
    }

    /// From now on this may be done with it.
    pub(crate) fn protect(&self, prot: i32) -> Result<()> {
        // SAFETY: the mapping, and its length.
        let answer = unsafe { libc::mprotect(self.at.cast(), self.length, prot) };
        ensure!(answer == 0, "mprotect: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Writes the byte after the file's last one, in the same page.
    fn write_behind_the_end(&self) {
        // SAFETY: the file is shorter than the page that its mapping fills, and the mapping may be written.
        unsafe { self.at.add(self.length).write_volatile(1) };
    }

    /// mincore(2).
    pub(crate) fn is_in_memory(&self) -> Result<bool> {
        let mut page = 0_u8;
        // SAFETY: the mapping with its length, and a byte for its one page.
        let answer = unsafe { libc::mincore(self.at.cast(), self.length, &raw mut page) };
        ensure!(answer == 0, "mincore: {}", std::io::Error::last_os_error());
        Ok(page & 1 == 1)
    }
}
