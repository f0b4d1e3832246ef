//! Data without an own open: a descriptor, a mapping or a ring that another process had the file open with.
//!
//! A road shows the opener first, without bytes, then the reader.

use std::{
    ffi::{OsStr, OsString},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Mode, OFlags, open};

use crate::{Road, argument, loot, number, raw, reads, uring};

pub(crate) const ROADS: &[Road] = &[
    ("own", own),
    ("inherited", inherited),
    ("executed", executed),
    ("read-descriptor", read_descriptor),
    ("passed", passed),
    ("taken", taken),
    ("mapped-before", mapped_before),
    ("uncovered", uncovered),
    ("reopened", reopened),
    ("written", written),
    ("asked", asked),
    ("storm", storm),
    ("ring-opens", ring_opens),
    ("ring-opens-into-slot", ring_opens_into_slot),
    ("ring-inherited", ring_inherited),
    ("ring-polled", ring_polled),
];

/// Opens the file, for whoever gets the descriptor.
fn key(arguments: &[OsString], at: usize, flags: OFlags) -> Result<OwnedFd> {
    open(argument(arguments, at)?, flags, Mode::empty()).context("open")
}

fn show_opener() -> Result<()> {
    loot::show(loot::Reader::this_thread()?, b"")
}

/// A child that reads; it has what this process has.
fn in_child(body: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    raw::wait(raw::fork(|| {
        let reader = loot::Reader::this_thread()?;
        loot::show(reader, &body()?)
    })?)
}

/// One process opens and reads: `own HOW KEY`.
fn own(arguments: &[OsString]) -> Result<()> {
    let reader = loot::Reader::this_thread()?;
    let file = key(arguments, 1, OFlags::RDONLY)?;
    loot::show(reader, &reads::by(argument(arguments, 0)?, file.as_fd(), argument(arguments, 1)?)?)
}

/// The child reads by the descriptor that its parent opened: `inherited HOW KEY`.
fn inherited(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 1, OFlags::RDONLY)?;
    show_opener()?;
    in_child(|| reads::by(argument(arguments, 0)?, file.as_fd(), argument(arguments, 1)?))
}

/// Opens, and becomes another program, which reads: `executed KEY`.
fn executed(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    show_opener()?;
    let (program, number) = (std::env::current_exe()?, file.as_raw_fd().to_string());
    raw::execute(&[program.as_os_str(), OsStr::new("read-descriptor"), OsStr::new(&number)])
}

/// Reads by a descriptor that it was started with: `read-descriptor NUMBER`.
fn read_descriptor(arguments: &[OsString]) -> Result<()> {
    loot::take(raw::descriptor(usize::try_from(number(arguments, 0)?)?)?)
}

/// A process that has no descriptor of the file gets one over a socket (unix(7), `SCM_RIGHTS`): `passed KEY`.
fn passed(arguments: &[OsString]) -> Result<()> {
    use rustix::net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    };
    let (from, to) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let child = raw::fork(|| {
        let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut room);
        let mut byte = [0_u8; 1];
        recvmsg(&from, &mut [std::io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
        let file = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        loot::take(file.context("no descriptor came")?)
    })?;
    let file = key(arguments, 0, OFlags::RDONLY)?;
    show_opener()?;
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    let files = [file.as_fd()];
    ensure!(ancillary.push(SendAncillaryMessage::ScmRights(&files)), "no room for a descriptor");
    sendmsg(&to, &[std::io::IoSlice::new(b".")], &mut ancillary, SendFlags::empty())?;
    raw::wait(child)
}

/// Takes a descriptor out of another process (`pidfd_getfd(2)`): `taken KEY`.
fn taken(arguments: &[OsString]) -> Result<()> {
    let (from, to) = rustix::pipe::pipe()?;
    let (wait_from, wait_to) = rustix::pipe::pipe()?;
    let holder = raw::fork(|| {
        let file = key(arguments, 0, OFlags::RDONLY)?;
        show_opener()?;
        rustix::io::write(&to, &file.as_raw_fd().to_le_bytes())?;
        rustix::io::read(&wait_from, &mut [0_u8; 1])?;
        Ok(())
    })?;
    let mut held = [0_u8; 4];
    ensure!(rustix::io::read(&from, &mut held)? == held.len(), "no descriptor");
    // SAFETY: integers.
    let process = unsafe { raw::call(libc::SYS_pidfd_open, [raw::word(holder), 0]) }.context("pidfd_open")?;
    let words = [process, raw::word(i32::from_le_bytes(held)), 0];
    // SAFETY: integers.
    let file = unsafe { raw::call(libc::SYS_pidfd_getfd, words) }.context("pidfd_getfd")?;
    loot::take(raw::descriptor(file)?)?;
    rustix::io::write(&wait_to, b".")?;
    raw::wait(holder)
}

/// Mapped by the parent, which does not look and closes; the child looks: `mapped-before KEY`.
fn mapped_before(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    let mapping = reads::Mapping::new(file.as_fd(), libc::PROT_READ, libc::MAP_PRIVATE)?;
    drop(file);
    show_opener()?;
    in_child(|| Ok(mapping.bytes()))
}

/// The child's mapping may not be read at first, which is no access; then it may: `uncovered KEY`.
fn uncovered(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    show_opener()?;
    in_child(|| {
        let mapping = reads::Mapping::new(file.as_fd(), libc::PROT_NONE, libc::MAP_SHARED)?;
        mapping.uncover()?;
        Ok(mapping.bytes())
    })
}

/// The child opens its descriptor anew, by its name in `/dev/fd`: `reopened KEY`.
fn reopened(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    show_opener()?;
    in_child(|| loot::bytes(open(format!("/dev/fd/{}", file.as_raw_fd()), OFlags::RDONLY, Mode::empty())?))
}

/// The parent opens for writing, the child writes the same first byte: `written KEY`. It shows what the file then holds,
/// read by the parent's descriptor.
fn written(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDWR)?;
    show_opener()?;
    raw::wait(raw::fork(|| {
        ensure!(rustix::io::pwrite(&file, b"-", 0)? == 1, "nothing was written");
        loot::show(loot::Reader::this_thread()?, b"")
    })?)?;
    loot::take(file)
}

/// The child asks everything about its descriptor and has the file brought into memory, but gets no byte: `asked KEY`.
/// Then the parent reads.
fn asked(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    raw::wait(raw::fork(|| {
        rustix::fs::fstat(&file)?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed)?;
        let words = [raw::word(file.as_raw_fd()), 0, uring::ROOM];
        // SAFETY: integers.
        unsafe { raw::call(libc::SYS_readahead, words) }.context("readahead")?;
        let mapping = reads::Mapping::new(file.as_fd(), libc::PROT_NONE, libc::MAP_SHARED)?;
        ensure!(mapping.is_in_memory()?, "not in memory");
        loot::show(loot::Reader::this_thread()?, b"")
    })?)?;
    loot::take(file)
}

/// Threads of one child, all of which read at once: `storm KEY THREADS`.
fn storm(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    let threads = number(arguments, 1)?;
    show_opener()?;
    in_child(|| {
        let start = std::sync::Barrier::new(usize::try_from(threads)?);
        let read = |file: BorrowedFd<'_>| -> Result<Vec<u8>> {
            start.wait();
            reads::by(OsStr::new("pread"), file, OsStr::new(""))
        };
        let read = &read;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| read(file.as_fd()))).collect();
            let mut bytes = Vec::new();
            for thread in threads {
                bytes = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            Ok(bytes)
        })
    })
}

/// Opened and read by a ring, by a worker where that is asked for: `ring-opens KEY ASYNC`.
fn ring_opens(arguments: &[OsString]) -> Result<()> {
    let reader = loot::Reader::this_thread()?;
    let flags = if number(arguments, 1)? == 0 { 0 } else { uring::ASYNC };
    let ring = uring::Ring::new(0)?;
    let file = ring.open(&raw::c_path(argument(arguments, 0)?)?, flags, 0)?;
    loot::show(reader, &ring.read(file, flags)?)
}

/// Opened into a slot of a ring, so that the process never has a descriptor: `ring-opens-into-slot KEY`.
fn ring_opens_into_slot(arguments: &[OsString]) -> Result<()> {
    let reader = loot::Reader::this_thread()?;
    let ring = uring::Ring::new(0)?;
    // An empty slot.
    ring.register(-1)?;
    ring.open(&raw::c_path(argument(arguments, 0)?)?, 0, 1)?;
    loot::show(reader, &ring.read(0, uring::FIXED_FILE)?)
}

/// A ring that holds the file, in a process that does not: `ring-inherited KEY`.
fn ring_inherited(arguments: &[OsString]) -> Result<()> {
    let ring = uring::Ring::new(0)?;
    let file = key(arguments, 0, OFlags::RDONLY)?;
    ring.register(file.as_raw_fd())?;
    drop(file);
    show_opener()?;
    in_child(|| ring.mapped_again()?.read(0, uring::FIXED_FILE))
}

/// A child whose ring is polled by a thread of the kernel's: `ring-polled KEY`.
fn ring_polled(arguments: &[OsString]) -> Result<()> {
    let file = key(arguments, 0, OFlags::RDONLY)?;
    show_opener()?;
    in_child(|| {
        let ring = uring::Ring::new(uring::SQPOLL)?;
        ring.register(file.as_raw_fd())?;
        ring.read(0, uring::FIXED_FILE)
    })
}
