//! Somebody who is refused: `knocker [OPTION…] FILE` opens the file and wants to be refused.
//!
//! In the order given: `--root DIR` enters a root, `--uid N` becomes a user, `--landlock` forbids itself every file
//! (landlock(7)), `--write` wants to write, `--create` to create, `--times N` tries N times, `--folder DIR` takes the file
//! from that folder's descriptor, `--uring` and `--uring-worker` open through io_uring, the latter in a worker.
//!
//! Exit code 0: refused each time (EACCES, EPERM or EROFS). 2: it was not. 3: something is missing here, for instance the
//! system call. 1: anything else.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    io::{Error, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::ExitCode,
    ptr,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    process::{Gid, Uid, chroot},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// How it ended.
enum Ending {
    Refused,
    Opened,
    Missing,
}

fn main() -> ExitCode {
    match run() {
        Ok(Ending::Refused) => ExitCode::SUCCESS,
        Ok(Ending::Opened) => ExitCode::from(2),
        Ok(Ending::Missing) => ExitCode::from(3),
        Err(error) => {
            // The test that started it shows this; where even that fails, the exit code remains.
            let _ = writeln!(std::io::stderr(), "knocker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// By which call.
#[derive(Clone, Copy)]
enum Door {
    Call,
    Ring { worker: bool },
}

fn run() -> Result<Ending> {
    let mut arguments = env::args_os().skip(1);
    let (mut flags, mut times, mut folder, mut door) = (libc::O_RDONLY, 1, libc::AT_FDCWD, Door::Call);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context("an option's value is missing");
        match argument.to_str() {
            Some("--root") => {
                chroot(value()?.as_os_str()).context("chroot")?;
                env::set_current_dir("/")?;
            }
            Some("--uid") => become_user(number(&value()?)?)?,
            Some("--landlock") => {
                if !landlock()? {
                    return Ok(Ending::Missing);
                }
            }
            Some("--write") => flags = libc::O_WRONLY,
            Some("--create") => flags = libc::O_WRONLY | libc::O_CREAT,
            Some("--times") => times = number(&value()?)?,
            Some("--folder") => {
                let path = c_path(&value()?)?;
                // SAFETY: a string with its NUL.
                folder = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY) };
                anyhow::ensure!(folder >= 0, "O_PATH: {}", Error::last_os_error());
            }
            Some("--uring") => door = Door::Ring { worker: false },
            Some("--uring-worker") => door = Door::Ring { worker: true },
            _ => {
                let path = c_path(&argument)?;
                for _ in 0..times {
                    let errno = match door {
                        Door::Call => call(folder, &path, flags),
                        Door::Ring { worker } => match ring(folder, &path, flags, worker)? {
                            Some(errno) => errno,
                            None => return Ok(Ending::Missing),
                        },
                    };
                    match errno {
                        libc::EACCES | libc::EPERM | libc::EROFS => {}
                        0 => return Ok(Ending::Opened),
                        other => bail!("{}", Error::from_raw_os_error(other)),
                    }
                }
                return Ok(Ending::Refused);
            }
        }
    }
    bail!("no file was named")
}

fn number(text: &OsStr) -> Result<u32> {
    text.to_str().and_then(|text| text.parse().ok()).with_context(|| format!("not a number: {}", text.display()))
}

fn c_path(path: &OsString) -> Result<CString> {
    CString::new(path.as_bytes()).context("a path with a NUL")
}

/// This process has one thread, so what is set for the thread is set for the process.
fn become_user(id: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[]).context("setgroups")?;
    set_thread_res_gid(gid, gid, gid).context("setresgid")?;
    set_thread_res_uid(uid, uid, uid).context("setresuid")
}

/// The errno of openat(2), 0 where it opened the file.
fn call(folder: i32, path: &CString, flags: i32) -> i32 {
    // SAFETY: a string with its NUL.
    let fd = unsafe { libc::openat(folder, path.as_ptr(), flags, 0o600) };
    if fd < 0 { Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { 0 }
}

/// Forbids this process to read any file; `false` where the kernel has no landlock.
fn landlock() -> Result<bool> {
    /// `LANDLOCK_ACCESS_FS_READ_FILE` (landlock(7)).
    const READ_FILE: u64 = 1 << 2;
    const CREATE_RULESET: libc::c_long = 444;
    const RESTRICT_SELF: libc::c_long = 446;
    let handled = READ_FILE;
    // SAFETY: `struct landlock_ruleset_attr` in its first form is one word.
    let ruleset = unsafe { libc::syscall(CREATE_RULESET, &raw const handled, size_of::<u64>(), 0) };
    if ruleset < 0 {
        return match Error::last_os_error().raw_os_error() {
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => Ok(false),
            _ => Err(Error::last_os_error()).context("landlock_create_ruleset"),
        };
    }
    // SAFETY: calls without pointers.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(Error::last_os_error()).context("PR_SET_NO_NEW_PRIVS");
        }
        if libc::syscall(RESTRICT_SELF, ruleset, 0) != 0 {
            return Err(Error::last_os_error()).context("landlock_restrict_self");
        }
    }
    Ok(true)
}

/// The errno of an open through a ring of its own, 0 where it opened the file; `None` where there is no io_uring.
///
/// One entry, one submission, one completion: io_uring(7), `include/uapi/linux/io_uring.h`.
fn ring(folder: i32, path: &CString, flags: i32, worker: bool) -> Result<Option<i32>> {
    const SETUP: libc::c_long = 425;
    const ENTER: libc::c_long = 426;
    /// `struct io_uring_params`: 40 bytes, then the offsets of the two rings, 40 bytes each.
    const PARAMS: usize = 120;
    /// Where the completions and the submissions are mapped from.
    const OFF_SQES: libc::off_t = 0x1000_0000;
    const OP_OPENAT: u8 = 18;
    const ASYNC: u8 = 1 << 4;
    const GETEVENTS: u32 = 1;
    let mut params = [0_u32; PARAMS / 4];
    // SAFETY: the kernel fills the parameters.
    let fd = unsafe { libc::syscall(SETUP, 4, params.as_mut_ptr()) };
    if fd < 0 {
        return match Error::last_os_error().raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM) => Ok(None),
            _ => Err(Error::last_os_error()).context("io_uring_setup"),
        };
    }
    let fd = i32::try_from(fd)?;
    let map = |from: libc::off_t| {
        let (size, access) = (4096, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping; both rings of four entries fit in a page, and so do the entries.
        let at = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED | libc::MAP_POPULATE, fd, from) };
        if at == libc::MAP_FAILED { Err(Error::last_os_error()).context("map the ring") } else { Ok(at.cast::<u8>()) }
    };
    let offset = |index: usize| params.get(index).map(|at| *at as usize).context("a parameter");
    // SAFETY: offsets from the kernel, into mappings of the kernel's; one thread writes, and the kernel reads on entry.
    unsafe {
        let (rings, entries) = (map(0)?, map(OFF_SQES)?);
        // `sq_off.tail` and `sq_off.array`, `cq_off.cqes`.
        let (tail, array, completions) = (offset(11)?, offset(16)?, offset(25)?);
        entries.write(OP_OPENAT);
        entries.add(1).write(if worker { ASYNC } else { 0 });
        entries.add(4).cast::<i32>().write(folder);
        entries.add(16).cast::<u64>().write(path.as_ptr() as u64);
        entries.add(24).cast::<u32>().write(0o600);
        entries.add(28).cast::<i32>().write(flags);
        rings.add(array).cast::<u32>().write(0);
        rings.add(tail).cast::<u32>().write_volatile(1);
        if libc::syscall(ENTER, fd, 1, 1, GETEVENTS, ptr::null::<u8>(), 0) < 0 {
            return Err(Error::last_os_error()).context("io_uring_enter");
        }
        let result = rings.add(completions).add(8).cast::<i32>().read_volatile();
        libc::close(fd);
        Ok(Some(if result < 0 { -result } else { 0 }))
    }
}
