//! System calls that no library wraps, and processes made in unusual ways.

use std::{
    ffi::{CString, OsStr},
    io::Error,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
};

use anyhow::{Context as _, Result, bail};

/// A path as the kernel takes it.
pub(crate) fn c_path(path: &OsStr) -> Result<CString> {
    CString::new(path.as_bytes()).context("a path with a NUL")
}

/// A system call by its number, with up to six words.
///
/// # Safety
/// The words are what this system call takes: pointers among them are valid for what it does with them.
pub(crate) unsafe fn call<const N: usize>(number: libc::c_long, words: [usize; N]) -> Result<usize> {
    let mut all = [0_usize; 6];
    for (to, from) in all.iter_mut().zip(words) {
        *to = from;
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: the caller vouches for the words.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    match usize::try_from(answer) {
        Ok(answer) => Ok(answer),
        Err(_) => Err(Error::last_os_error()).with_context(|| format!("system call {number}")),
    }
}

/// The word that a descriptor or a signed constant is.
pub(crate) fn word(number: i32) -> usize {
    // Sign-extended, as the kernel takes it back.
    isize::try_from(number).unwrap_or_default().cast_unsigned()
}

/// A descriptor from a system call's answer.
pub(crate) fn descriptor(answer: usize) -> Result<OwnedFd> {
    let fd = RawFd::try_from(answer).context("a descriptor")?;
    // SAFETY: the system call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A child made by fork(2) that runs `body` and ends; returns its pid.
///
/// For programs with one thread, which this one is until a road makes more.
pub(crate) fn fork(body: impl FnOnce() -> Result<()>) -> Result<i32> {
    clone_like_fork(0, body)
}

/// As [`fork`], with flags of clone(2) that share something but not the memory.
pub(crate) fn clone_like_fork(flags: i32, body: impl FnOnce() -> Result<()>) -> Result<i32> {
    // SAFETY: without CLONE_VM and without a stack the child goes on with a copy of this one's, as after fork(2).
    let pid = unsafe { call(libc::SYS_clone, [word(flags | libc::SIGCHLD)]) }.context("clone")?;
    if pid == 0 {
        let status = match body() {
            Ok(()) => 0,
            Err(error) => {
                use std::io::Write as _;
                let _ = writeln!(std::io::stderr(), "thief: {error:#}");
                1
            }
        };
        // SAFETY: ends this process at once; what the parent has buffered is not written twice.
        unsafe { libc::_exit(status) }
    }
    Ok(i32::try_from(pid)?)
}

/// Waits for a child, which must have succeeded.
pub(crate) fn wait(pid: i32) -> Result<()> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } != pid {
        return Err(Error::last_os_error()).context("waitpid");
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        bail!("the child ended with status {status:#x}");
    }
    Ok(())
}

/// Executes a program in this thread.
///
/// # Errors
/// Only: on success there is nothing to return to.
pub(crate) fn execute(words: &[&OsStr]) -> Result<()> {
    let words = words.iter().map(|word| c_path(word)).collect::<Result<Vec<_>>>()?;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let program = words.first().context("a program")?;
    // SAFETY: strings with their NULs, and a list that ends with a null pointer.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    Err(Error::last_os_error()).context("execv")
}
