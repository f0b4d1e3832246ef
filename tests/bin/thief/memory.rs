//! Ways to a key in another process's memory, and around its file system.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Road, argument, loot, number, raw};

pub(crate) const ROADS: &[Road] = &[
    ("hold", hold),
    ("ptrace-attach", |arguments| by_ptrace(arguments, false)),
    ("ptrace-seize", |arguments| by_ptrace(arguments, true)),
    ("ptrace-me", ptrace_me),
    ("proc-mem", proc_mem),
    ("proc-mem-write", proc_mem_write),
    ("vm-read", vm_read),
    ("take-descriptor", take_descriptor),
    ("signal", signal),
    ("look", look),
    ("raw", read_raw),
];

/// Reads the file and holds its bytes, and a descriptor of it, until standard input ends: `hold KEY`. Says where they are:
/// address, length, descriptor, a second thread. May dump its memory into the working folder.
fn hold(arguments: &[OsString]) -> Result<()> {
    let file = File::from(openat(CWD, argument(arguments, 0)?, OFlags::RDONLY, Mode::empty()).context("open")?);
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes)?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a struct for the answer.
    ensure!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) } == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a struct that was filled above.
    ensure!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) } == 0, "setrlimit");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // SAFETY: a system call without arguments.
        let _ = send.send(unsafe { libc::gettid() });
        loop {
            std::thread::park();
        }
    });
    let thread = receive.recv()?;
    let mut said = std::io::stdout();
    writeln!(said, "{} {} {} {thread}", bytes.as_ptr() as usize, bytes.len(), file.as_raw_fd())?;
    said.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(bytes);
    Ok(())
}

/// Process, address, length.
fn place(arguments: &[OsString]) -> Result<(i32, usize, usize)> {
    let address = argument(arguments, 1)?.to_str().and_then(|text| text.parse().ok()).context("an address")?;
    Ok((i32::try_from(number(arguments, 0)?)?, address, usize::try_from(number(arguments, 2)?)?))
}

/// Traces it and peeks word by word: `ptrace-attach PID ADDRESS LENGTH`.
fn by_ptrace(arguments: &[OsString], seize: bool) -> Result<()> {
    let (pid, address, length) = place(arguments)?;
    if seize {
        ptrace(libc::PTRACE_SEIZE, pid, 0, 0)?;
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
    } else {
        ptrace(libc::PTRACE_ATTACH, pid, 0, 0)?;
    }
    stopped(pid)?;
    let bytes = peek(pid, address, length)?;
    ptrace(libc::PTRACE_DETACH, pid, 0, 0)?;
    loot::show(loot::Reader::this_thread()?, &bytes)
}

fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> Result<usize> {
    // SAFETY: PEEKDATA, the only request here that writes, is given a word to write to; the others take integers.
    unsafe { raw::call(libc::SYS_ptrace, [usize::try_from(request)?, raw::word(pid), address, data]) }
        .with_context(|| format!("ptrace {request}"))
}

fn stopped(pid: i32) -> Result<()> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    ensure!(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid, "waitpid");
    ensure!(libc::WIFSTOPPED(status), "it did not stop: {status:#x}");
    Ok(())
}

fn peek(pid: i32, address: usize, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let mut word = 0_usize;
        ptrace(libc::PTRACE_PEEKDATA, pid, address + bytes.len(), &raw mut word as usize)?;
        bytes.extend(word.to_ne_bytes());
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// A child that was forked after the file was read hands itself over, and its parent peeks: `ptrace-me KEY`.
fn ptrace_me(arguments: &[OsString]) -> Result<()> {
    let bytes = fs::read(argument(arguments, 0)?)?;
    let (address, length) = (bytes.as_ptr() as usize, bytes.len());
    let child = raw::fork(|| {
        ptrace(libc::PTRACE_TRACEME, 0, 0, 0)?;
        // SAFETY: stops this process, until its tracer goes on with it.
        ensure!(unsafe { libc::raise(libc::SIGSTOP) } == 0, "raise");
        Ok(())
    })?;
    stopped(child)?;
    let seen = peek(child, address, length)?;
    ptrace(libc::PTRACE_DETACH, child, 0, 0)?;
    raw::wait(child)?;
    loot::show(loot::Reader::this_thread()?, &seen)
}

/// `proc-mem PID ADDRESS LENGTH`.
fn proc_mem(arguments: &[OsString]) -> Result<()> {
    let (pid, address, length) = place(arguments)?;
    let mut bytes = vec![0; length];
    File::open(format!("/proc/{pid}/mem")).context("mem")?.read_exact_at(&mut bytes, u64::try_from(address)?)?;
    loot::show(loot::Reader::this_thread()?, &bytes)
}

/// Opens it to write, and writes back what it read: `proc-mem-write PID ADDRESS LENGTH`.
fn proc_mem_write(arguments: &[OsString]) -> Result<()> {
    let (pid, address, length) = place(arguments)?;
    let mut bytes = vec![0; length];
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).context("mem")?;
    memory.read_exact_at(&mut bytes, u64::try_from(address)?)?;
    memory.write_all_at(&bytes, u64::try_from(address)?)?;
    loot::show(loot::Reader::this_thread()?, &bytes)
}

/// process_vm_readv(2): `vm-read PID ADDRESS LENGTH`. The number may be any thread's.
fn vm_read(arguments: &[OsString]) -> Result<()> {
    let (pid, address, length) = place(arguments)?;
    let mut bytes = vec![0_u8; length];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
    // SAFETY: room for that many bytes; the other address is the other process's.
    let count = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    ensure!(count >= 0, "process_vm_readv: {}", std::io::Error::last_os_error());
    ensure!(usize::try_from(count)? == length, "{count} bytes");
    loot::show(loot::Reader::this_thread()?, &bytes)
}

/// pidfd_getfd(2): `take-descriptor PID DESCRIPTOR LENGTH`.
fn take_descriptor(arguments: &[OsString]) -> Result<()> {
    let (pid, theirs, length) = place(arguments)?;
    // SAFETY: integers.
    let pidfd =
        raw::descriptor(unsafe { raw::call(libc::SYS_pidfd_open, [raw::word(pid), 0]) }.context("pidfd_open")?)?;
    // SAFETY: integers.
    let taken = unsafe { raw::call(libc::SYS_pidfd_getfd, [raw::word(pidfd.as_raw_fd()), theirs, 0]) };
    let file = File::from(raw::descriptor(taken.context("pidfd_getfd")?)?);
    let mut bytes = vec![0; length];
    // Its offset is the other process's as well, and at the end.
    file.read_exact_at(&mut bytes, 0)?;
    loot::show(loot::Reader::this_thread()?, &bytes)
}

/// `signal PID NUMBER`; says who sent it.
fn signal(arguments: &[OsString]) -> Result<()> {
    let (pid, signal) = (i32::try_from(number(arguments, 0)?)?, i32::try_from(number(arguments, 1)?)?);
    // SAFETY: integers.
    ensure!(unsafe { libc::kill(pid, signal) } == 0, "kill: {}", std::io::Error::last_os_error());
    loot::show(loot::Reader::this_thread()?, b"")
}

/// Reads all that `/proc` shows of a process to whoever looks at it, as `ps`, `top` and `lsof` do: `look PID`.
fn look(arguments: &[OsString]) -> Result<()> {
    const FILES: [&str; 14] = [
        "cmdline",
        "comm",
        "environ",
        "io",
        "limits",
        "maps",
        "smaps",
        "stack",
        "stat",
        "statm",
        "status",
        "syscall",
        "wchan",
        "mountinfo",
    ];
    let folder = std::path::PathBuf::from("/proc").join(argument(arguments, 0)?);
    for file in FILES {
        // Some kernels are built without one or the other.
        if let Ok(mut file) = File::open(folder.join(file)) {
            let mut bytes = Vec::new();
            let _ = file.read_to_end(&mut bytes);
        }
    }
    for link in ["exe", "cwd", "root"] {
        fs::read_link(folder.join(link))?;
    }
    ensure!(!fs::read(folder.join("maps"))?.is_empty(), "no maps");
    for links in ["fd", "map_files", "ns"] {
        for entry in fs::read_dir(folder.join(links))? {
            let path = entry?.path();
            fs::read_link(&path)?;
            // A signer's mapping or its terminal may be gone by now.
            let _ = fs::metadata(&path);
        }
    }
    Ok(())
}

/// Reads a file, a disk's or another one, from somewhere: `raw FILE OFFSET LENGTH`.
fn read_raw(arguments: &[OsString]) -> Result<()> {
    let offset: u64 = argument(arguments, 1)?.to_str().and_then(|text| text.parse().ok()).context("an offset")?;
    let mut bytes = vec![0; usize::try_from(number(arguments, 2)?)?];
    let file = File::open(argument(arguments, 0)?).context("open")?;
    file.read_exact_at(&mut bytes, offset).context("read")?;
    loot::show(loot::Reader::this_thread()?, &bytes)
}
