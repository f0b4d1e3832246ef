//! What a hijacked signer does.

use std::ffi::OsString;

use anyhow::{Result, anyhow, bail, ensure};

use crate::{Road, argument, raw};

pub(crate) const ROADS: &[Road] = &[("none", |_| Ok(())), ("load", load), ("trace", trace)];

/// Loads a library, which takes it from there: `load LIBRARY`.
fn load(arguments: &[OsString]) -> Result<()> {
    let path = raw::c_path(argument(arguments, 0)?)?;
    // SAFETY: a string with its NUL.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    ensure!(!library.is_null(), "dlopen");
    bail!("the library did nothing")
}

/// Runs a program to its end, as its tracer (ptrace(2)): `trace PROGRAM ARGUMENT…`.
fn trace(arguments: &[OsString]) -> Result<()> {
    let words: Vec<_> = arguments.iter().map(OsString::as_os_str).collect();
    let traced = raw::fork(|| {
        // SAFETY: a call without pointers.
        ensure!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0, "PTRACE_TRACEME");
        raw::execute(&words)
    })?;
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        ensure!(unsafe { libc::waitpid(traced, &raw mut status, 0) } == traced, "waitpid");
        if !libc::WIFSTOPPED(status) {
            let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return if well { Ok(()) } else { Err(anyhow!("the traced program ended with status {status:#x}")) };
        }
        // The stop after its exec is for the tracer alone.
        let signal = if libc::WSTOPSIG(status) == libc::SIGTRAP { 0 } else { libc::WSTOPSIG(status) };
        // SAFETY: a call without pointers.
        ensure!(unsafe { libc::ptrace(libc::PTRACE_CONT, traced, 0, signal) } == 0, "PTRACE_CONT");
    }
}
