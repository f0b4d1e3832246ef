//! A signer that goes on: it does what its standard input says, a line each, and answers each with a line.
//!
//! `steady`, then `open PATH TIMES`, `as UID PATH` (a thread of another user opens), `write PATH`, `fork PATH` (a child opens),
//! `namespace` (a mount namespace of its own), `map FILE` (as code), `exec` (itself), and
//! `flood PATH THREADS MILLISECONDS` (as fast as can be). The answer is how often it opened the file.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{BufRead as _, Write as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Road, raw};

pub(crate) const ROADS: &[Road] = &[("steady", steady)];

fn steady(_: &[OsString]) -> Result<()> {
    // Nothing is read ahead: the next order comes behind the answer.
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let opened = obey(&words)?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{opened}")?;
        output.flush()?;
    }
}

fn obey(words: &[&str]) -> Result<u64> {
    match words {
        ["open", path, times] => {
            let times = times.parse()?;
            for _ in 0..times {
                File::open(path)?;
            }
            Ok(times)
        }
        ["as", uid, path] => {
            let uid: usize = uid.parse()?;
            thread::scope(|threads| threads.spawn(|| as_user(uid, path)).join())
                .map_err(|_| anyhow::anyhow!("the thread"))??;
            Ok(1)
        }
        ["write", path] => {
            OpenOptions::new().read(true).write(true).open(path)?;
            Ok(1)
        }
        ["fork", path] => {
            raw::wait(raw::fork(|| {
                File::open(path)?;
                Ok(())
            })?)?;
            Ok(1)
        }
        ["namespace"] => {
            // SAFETY: a call without pointers.
            ensure!(unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0, "unshare: {}", std::io::Error::last_os_error());
            Ok(0)
        }
        ["map", path] => map(path),
        ["exec"] => {
            let program = std::env::current_exe()?;
            // The answer first: the next program answers what comes next.
            let mut output = std::io::stdout().lock();
            writeln!(output, "0")?;
            output.flush()?;
            raw::execute(&[program.as_os_str(), OsStr::new("steady")])?;
            bail!("exec")
        }
        ["flood", path, threads, milliseconds] => flood(path, threads.parse()?, milliseconds.parse()?),
        _ => bail!("no such order: {words:?}"),
    }
}

/// What the system call sets is the thread's, and not the process's, as the library's function would have it.
fn as_user(uid: usize, path: &str) -> Result<()> {
    // SAFETY: words, no pointers.
    unsafe { raw::call(libc::SYS_setresuid, [uid, uid, uid]) }.context("setresuid")?;
    File::open(path)?;
    Ok(())
}

fn map(path: &str) -> Result<u64> {
    use std::os::fd::AsRawFd as _;
    let file = File::open(path)?;
    let access = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping, which nothing points to.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    Ok(0)
}

fn flood(path: &str, threads: usize, milliseconds: u64) -> Result<u64> {
    let (over, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    let path = raw::c_path(OsStr::new(path))?;
    let open = || {
        let mut own = 0;
        while !over.load(Ordering::Relaxed) {
            // SAFETY: a string with its NUL; the descriptor is this thread's.
            unsafe {
                let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                if fd >= 0 {
                    own += 1;
                    libc::close(fd);
                }
            }
        }
        opened.fetch_add(own, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(open)));
        thread::park_timeout(Duration::from_millis(milliseconds));
        over.store(true, Ordering::Relaxed);
    });
    Ok(opened.load(Ordering::Relaxed))
}
