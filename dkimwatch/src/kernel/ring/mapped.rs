//! One BPF ring buffer in memory, read without giving its room back: a record stays in the kernel until somebody says that it is kept
//! elsewhere, so that who kills the watch takes nothing with it. (aya's reader gives each record back as the next one is asked for.)
//!
//! The layout is the kernel's (`kernel/bpf/ringbuf.c`): a page with the consumer's position, which is ours to write, one with the
//! producer's, and the data pages twice in a row, so that a record over the end is in one piece.

use std::{
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence},
};

use aya::maps::{MapData, MapError, MapType};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::kernel::KernelError;

/// `BPF_RINGBUF_BUSY_BIT`: the record is being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: it was given up.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`, bytes.
const HEADER: usize = 8;

/// A ring, mapped.
pub(crate) struct Mapped {
    map: MapData,
    /// Bytes of the data pages, a power of two.
    size: usize,
    page: usize,
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    /// Read up to here; positions only grow.
    read: usize,
    /// And given back up to here.
    given_back: usize,
}

// SAFETY: the mappings are this value's own, and whoever has it alone reads and writes them.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Maps a ring.
    ///
    /// # Errors
    /// It is no ring, or cannot be mapped.
    pub(crate) fn new(map: MapData, name: &'static str) -> Result<Self, KernelError> {
        let failed = |errno: rustix::io::Errno| KernelError::io("map a ring")(errno.into());
        let info = map.info().map_err(KernelError::map(name))?;
        if !matches!(info.map_type(), Ok(MapType::RingBuf)) {
            let wrong = MapError::InvalidMapType { map_type: info.map_type().map_or(0, |kind| kind as u32) };
            return Err(KernelError::map(name)(wrong));
        }
        let size = info.max_entries() as usize;
        let page = rustix::param::page_size();
        let fd = map.fd().as_fd();
        let twice = 2 * size;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let consumer =
            unsafe { mmap(std::ptr::null_mut(), page, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0) }
                .map_err(failed)?;
        // SAFETY: as above.
        let producer =
            unsafe { mmap(std::ptr::null_mut(), page + twice, ProtFlags::READ, MapFlags::SHARED, fd, page as u64) };
        let (Some(consumer), Some(producer)) =
            (NonNull::new(consumer.cast()), producer.ok().and_then(|at| NonNull::new(at.cast())))
        else {
            // SAFETY: it was mapped above, and nothing refers to it.
            let _ = unsafe { munmap(consumer, page) };
            return Err(failed(rustix::io::Errno::NOMEM));
        };
        let mut ring = Self { map, size, page, consumer, producer, read: 0, given_back: 0 };
        ring.given_back = ring.consumed().load(Ordering::Acquire);
        ring.read = ring.given_back;
        Ok(ring)
    }

    /// The next record that was not read yet.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let (at, len) = self.peek()?;
            self.read += (HEADER + (len & !DISCARDED) as usize).next_multiple_of(8);
            if len & DISCARDED == 0 {
                // SAFETY: the record lies within the data pages, which are mapped twice, for as long as this value lives; the kernel
                // does not write there before it was given back, which asks for this value alone.
                let record = unsafe { std::slice::from_raw_parts(self.data(at + HEADER), len as usize) };
                return Some(record);
            }
        }
    }

    /// Where the next record's header is, from the data pages' beginning, and its length with the mark of one that was given up.
    fn peek(&self) -> Option<(usize, u32)> {
        // SAFETY: the producer's position is at the beginning of its page, aligned, and only read.
        let produced = unsafe { self.producer.cast::<AtomicUsize>().as_ref() };
        if self.read == produced.load(Ordering::Acquire) {
            return None;
        }
        let at = self.read & (self.size - 1);
        // SAFETY: within the data pages, and aligned, as records are rounded up to eight bytes.
        let len = unsafe { &*self.data(at).cast::<AtomicU32>() }.load(Ordering::Acquire);
        let fits = (len & !DISCARDED) as usize + HEADER <= self.size;
        (len & BUSY == 0 && fits).then_some((at, len))
    }

    fn data(&self, at: usize) -> *const u8 {
        self.producer.as_ptr().wrapping_add(self.page + at)
    }

    fn consumed(&self) -> &AtomicUsize {
        // SAFETY: the consumer's position is at the beginning of its page, aligned, and lives as long as the mapping.
        unsafe { self.consumer.cast::<AtomicUsize>().as_ref() }
    }

    /// Up to where it was read.
    pub(crate) const fn position(&self) -> usize {
        self.read
    }

    /// Bytes that were read and not given back.
    pub(crate) const fn kept(&self) -> usize {
        self.read - self.given_back
    }

    /// Bytes that it holds.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Lets the kernel have the room before a position that was read. Whoever then waits for records must look once more first: the
    /// kernel wakes nobody whose position lies further back (`bpf_ringbuf_commit()`).
    pub(crate) fn give_back(&mut self, position: usize) {
        if position > self.given_back && position <= self.read {
            self.given_back = position;
            self.consumed().store(position, Ordering::Release);
            fence(Ordering::SeqCst);
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let producer = self.page + 2 * self.size;
        // SAFETY: both were mapped by `new` with these lengths, and no reference to them is left.
        unsafe {
            let _ = munmap(self.consumer.as_ptr().cast(), self.page);
            let _ = munmap(self.producer.as_ptr().cast(), producer);
        }
    }
}

impl AsRawFd for Mapped {
    fn as_raw_fd(&self) -> RawFd {
        self.map.fd().as_fd().as_raw_fd()
    }
}

impl std::os::fd::AsFd for Mapped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}
