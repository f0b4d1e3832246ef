//! What a hijacked signer does.

use std::{ffi::OsString, os::fd::AsFd as _};

use anyhow::{Result, anyhow, bail, ensure};

use crate::{Road, argument, raw, reads};

pub(crate) const ROADS: &[Road] = &[
    ("none", |_| Ok(())),
    ("load", load),
    ("load-as-data", load_as_data),
    ("trace", |arguments| trace(arguments, libc::PTRACE_CONT)),
    ("trace-before", |arguments| trace(arguments, libc::PTRACE_DETACH)),
    ("compile", compile),
];

/// Loads a library, which takes it from there: `load LIBRARY`.
fn load(arguments: &[OsString]) -> Result<()> {
    let path = raw::c_path(argument(arguments, 0)?)?;
    // SAFETY: a string with its NUL.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    ensure!(!library.is_null(), "dlopen");
    bail!("the library did nothing")
}

/// Maps a library to be read, makes code of it, and goes on: `load-as-data LIBRARY ROAD ARGUMENT…`.
fn load_as_data(arguments: &[OsString]) -> Result<()> {
    let library = std::fs::File::open(argument(arguments, 0)?)?;
    let mapping = reads::Mapping::new(library.as_fd(), libc::PROT_READ, libc::MAP_PRIVATE)?;
    drop(library);
    mapping.protect(libc::PROT_READ | libc::PROT_EXEC)?;
    crate::take(arguments.iter().skip(1).cloned())
}

/// Makes room for code that it writes itself, as a compiler at run time does, and goes on: `compile ROAD ARGUMENT…`.
fn compile(arguments: &[OsString]) -> Result<()> {
    const PAGE: usize = 4096;
    let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping, which nothing points to.
    let code =
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    ensure!(code != libc::MAP_FAILED, "mmap");
    crate::take(arguments.iter().cloned())
}

/// Runs a program to its end, as its tracer (ptrace(2)): `trace PROGRAM ARGUMENT…`; or lets it go once it has executed that:
/// `trace-before PROGRAM ARGUMENT…`.
fn trace(arguments: &[OsString], request: libc::c_uint) -> Result<()> {
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
        ensure!(unsafe { libc::ptrace(request, traced, 0, signal) } == 0, "ptrace {request}");
    }
}
