//! Readers that are hard to name: short-lived, orphaned, between two programs, or not what their process is.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::{
    fs::{CWD, Mode, OFlags, open, openat},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{Road, argument, loot, number, raw, ways};

pub(crate) const ROADS: &[Road] = &[
    ("vfork", in_vforked_child),
    ("orphan", as_orphan),
    ("sibling", as_sibling),
    ("shared-table", through_a_shared_table),
    ("leaderless", without_leader),
    ("thread-replaced", thread_then_exec),
    ("thread-executes", thread_executes),
    ("thread-of-another-user", thread_of_another_user),
    ("effective-user", effective_user),
    ("nested", in_nested_pid_namespaces),
    ("setuid-between", setuid_between),
    ("reused-pid", reused_pid),
    ("hold-map", hold_map),
    ("ask", ask),
];

fn steal(path: &OsStr) -> Result<()> {
    loot::take(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context("open")?)
}

/// A child that shares its parent's memory, reads, and executes `true` at once: `vfork KEY TIMES`.
fn in_vforked_child(arguments: &[OsString]) -> Result<()> {
    struct Errand<'a> {
        key: &'a OsStr,
        done: Result<()>,
    }
    extern "C" fn run(errand: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent waits until this child has executed or ended, and lends it its errand.
        let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
        errand.done = steal(errand.key);
        // Reached only where it fails.
        if let Err(error) = raw::execute(&[OsStr::new("/bin/true")]) {
            errand.done = Err(error);
        }
        1
    }
    let key = argument(arguments, 0)?;
    let mut stack = vec![0_u128; 16 * 1024];
    for _ in 0..number(arguments, 1)? {
        let mut errand = Errand { key, done: Err(anyhow!("it never ran")) };
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child runs on a stack of its own, and this thread sleeps (CLONE_VFORK) until it has left the memory.
        let pid = unsafe { libc::clone(run, top.cast(), flags, (&raw mut errand).cast()) };
        ensure!(pid > 0, "clone: {}", std::io::Error::last_os_error());
        raw::wait(pid)?;
        errand.done?;
    }
    Ok(())
}

/// Its parent is gone when it reads: `orphan KEY`.
fn as_orphan(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?;
    let grandparent = rustix::process::getpid();
    let child = raw::fork(|| {
        let parent = rustix::process::getpid();
        raw::fork(|| {
            // The child ends without waiting for us; then we belong to whoever reaps orphans.
            while rustix::process::getppid() == Some(parent) {
                std::thread::yield_now();
            }
            ensure!(rustix::process::getppid() != Some(grandparent), "not an orphan");
            steal(key)
        })
        .map(drop)
    })?;
    raw::wait(child)
}

/// A child of this process's parent (`CLONE_PARENT`): `sibling KEY`.
fn as_sibling(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?;
    // Its end is told to the parent, which does not know of it; the pipe tells us.
    let (from, to) = rustix::pipe::pipe()?;
    raw::clone_like_fork(libc::CLONE_PARENT, || {
        steal(key)?;
        rustix::io::write(&to, b".").map(drop).context("the pipe")
    })?;
    drop(to);
    ensure!(rustix::io::read(&from, &mut [0_u8; 1])? == 1, "the sibling failed");
    Ok(())
}

/// A child that shares the table of descriptors, but not the memory, opens; this process reads: `shared-table KEY`. Shows
/// both: the opener first.
fn through_a_shared_table(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?;
    let (from, to) = rustix::pipe::pipe()?;
    let child = raw::clone_like_fork(libc::CLONE_FILES | libc::CLONE_FS, || {
        let file = openat(CWD, key, OFlags::RDONLY, Mode::empty()).context("open")?;
        loot::show(loot::Reader::this_thread()?, b"")?;
        rustix::io::write(&to, &file.as_raw_fd().to_le_bytes())?;
        // Not closed: it would be closed for the other one as well.
        std::mem::forget(file);
        Ok(())
    })?;
    raw::wait(child)?;
    let mut fd = [0_u8; 4];
    ensure!(rustix::io::read(&from, &mut fd)? == fd.len(), "no descriptor");
    loot::take(raw::descriptor(usize::try_from(i32::from_le_bytes(fd))?)?)
}

/// The first thread has ended, and with it `/proc/PID/exe`; another one reads: `leaderless KEY`.
fn without_leader(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?.clone();
    std::thread::spawn(move || {
        let leader_is_gone = || std::fs::read_link("/proc/self/exe").is_err();
        while !leader_is_gone() {
            std::thread::yield_now();
        }
        let code = match steal(&key) {
            Ok(()) => 0,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "thief: {error:#}");
                1
            }
        };
        // SAFETY: ends the process with this code; the first thread's is not the process's.
        unsafe { libc::_exit(code) }
    });
    // SAFETY: exit(2) ends this thread alone. What it owns is never used again; the process ends with the other.
    unsafe { raw::call(libc::SYS_exit, [0]) }.map(drop)
}

/// A thread that is not the first one.
fn in_thread(body: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    std::thread::spawn(body).join().map_err(|_| anyhow!("the thread panicked"))?
}

/// A second thread reads, and at once the whole process is another program: `thread-replaced KEY`.
fn thread_then_exec(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?.clone();
    in_thread(move || {
        steal(&key)?;
        raw::execute(&[OsStr::new("/bin/true")])
    })
}

/// A second thread executes the program that reads, and takes over the first one's number: `thread-executes KEY`.
fn thread_executes(arguments: &[OsString]) -> Result<()> {
    let key = argument(arguments, 0)?.clone();
    let program = std::env::current_exe()?;
    in_thread(move || raw::execute(&[program.as_os_str(), OsStr::new("openat"), &key]))
}

/// A second thread has another user than its process (setresuid(2) is the thread's own): `thread-of-another-user KEY UID`.
fn thread_of_another_user(arguments: &[OsString]) -> Result<()> {
    let (key, uid) = (argument(arguments, 0)?.clone(), number(arguments, 1)?);
    in_thread(move || {
        ways::become_user(uid)?;
        steal(&key)
    })?;
    ensure!(rustix::process::getuid().is_root(), "the first thread changed too");
    Ok(())
}

/// Root in fact, and for this access a user: `effective-user KEY UID`.
fn effective_user(arguments: &[OsString]) -> Result<()> {
    use rustix::{process::Uid, thread::set_thread_res_uid};
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(number(arguments, 1)?), Uid::ROOT).context("setresuid")?;
    steal(argument(arguments, 0)?)
}

/// Opens as it was started, then becomes a user, then reads: `setuid-between KEY UID`.
fn setuid_between(arguments: &[OsString]) -> Result<()> {
    let file = openat(CWD, argument(arguments, 0)?, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    ways::become_user(number(arguments, 1)?)?;
    loot::take(file)
}

/// The reader is in pid namespaces of pid namespaces: `nested KEY DEPTH`.
fn in_nested_pid_namespaces(arguments: &[OsString]) -> Result<()> {
    let depth = number(arguments, 1)?;
    if depth == 0 {
        ensure!(rustix::process::getpid().as_raw_nonzero().get() == 1, "not in a namespace of its own");
        return steal(argument(arguments, 0)?);
    }
    // SAFETY: this process has one thread, and shares no file descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("a pid namespace")?;
    let deeper = [argument(arguments, 0)?.clone(), (depth - 1).to_string().into()];
    raw::wait(raw::fork(|| in_nested_pid_namespaces(&deeper))?)
}

/// A small program reads, and then, under the same pid, a child that never executed anything: `reused-pid KEY PROGRAM`.
/// Shows both readers, the program first.
fn reused_pid(arguments: &[OsString]) -> Result<()> {
    const TRIES: usize = 500;
    let (key, program) = (argument(arguments, 0)?, argument(arguments, 1)?);
    for _ in 0..TRIES {
        let (from, to) = rustix::pipe::pipe()?;
        let first = raw::fork(|| {
            rustix::stdio::dup2_stdout(&to)?;
            raw::execute(&[program, key])
        })?;
        raw::wait(first)?;
        drop(to);
        // The kernel hands out the number after this one next, unless somebody else forks first.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string()).context("ns_last_pid")?;
        let mut stolen = Vec::new();
        let second = raw::fork(|| {
            if rustix::process::getpid().as_raw_nonzero().get() != first {
                return Ok(());
            }
            File::from(from.try_clone()?).read_to_end(&mut stolen)?;
            let reader = loot::Reader::this_thread()?;
            loot::show(reader, &stolen)?;
            steal(key)
        })?;
        raw::wait(second)?;
        if second == first {
            return Ok(());
        }
    }
    anyhow::bail!("no pid was reused in {TRIES} tries")
}

/// Maps the file, closes it, and holds the mapping until standard input ends, as a signer does: `hold-map KEY`.
fn hold_map(arguments: &[OsString]) -> Result<()> {
    let file: OwnedFd = open(argument(arguments, 0)?, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = usize::try_from(rustix::fs::fstat(&file)?.st_size)?;
    // SAFETY: a new mapping of a file that is not cut while it is mapped.
    let at =
        unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    drop(file);
    // SAFETY: the mapping is that long.
    let bytes = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), length) }.to_vec();
    loot::show(loot::Reader::this_thread()?, &bytes)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Asks everything about a file that can be asked without opening it, so many times: `ask KEY TIMES`.
fn ask(arguments: &[OsString]) -> Result<()> {
    use rustix::fs::{Access, AtFlags, StatxFlags, access, accessat, lstat, readlink, stat, statx};
    let path = Path::new(argument(arguments, 0)?);
    let folder = path.parent().context("a folder")?;
    let link = folder.join("link-to-ask");
    std::os::unix::fs::symlink(path, &link)?;
    let name = raw::c_path(path.as_os_str())?;
    let inotify = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC)?;
    let fanotify = ways::fanotify()?;
    for _ in 0..number(arguments, 1)? {
        stat(path)?;
        lstat(&link)?;
        stat(&link)?;
        statx(CWD, path, AtFlags::empty(), StatxFlags::ALL)?;
        access(path, Access::READ_OK)?;
        accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS)?;
        ensure!(readlink(&link, Vec::new())?.as_bytes() == path.as_os_str().as_encoded_bytes(), "readlink");
        let held = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fstat(&held)?;
        ensure!(std::fs::read_dir(folder)?.count() > 1, "an empty folder");
        let watched = rustix::fs::inotify::add_watch(
            &inotify,
            path,
            rustix::fs::inotify::WatchFlags::OPEN | rustix::fs::inotify::WatchFlags::ACCESS,
        )?;
        rustix::fs::inotify::remove_watch(&inotify, watched)?;
        ways::mark(&fanotify, &name, true)?;
        ways::mark(&fanotify, &name, false)?;
        let mut list = [0_u8; 256];
        rustix::fs::listxattr(path, &mut list)?;
        // An attribute that is not there is an answer.
        let absent = rustix::fs::getxattr(path, c"user.none", &mut list);
        ensure!(
            matches!(absent, Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP)),
            "an attribute that nobody set: {absent:?}"
        );
        let mut handle = [0_u8; 136];
        if let Some(room) = handle.first_mut() {
            *room = 128;
        }
        let mut mount = 0_i32;
        let words = [
            raw::word(libc::AT_FDCWD),
            name.as_ptr() as usize,
            handle.as_mut_ptr() as usize,
            &raw mut mount as usize,
            0,
        ];
        // SAFETY: a string with its NUL, a `struct file_handle` with the room that it tells, and an integer.
        unsafe { raw::call(libc::SYS_name_to_handle_at, words) }.context("name_to_handle_at")?;
    }
    std::fs::remove_file(link)?;
    Ok(())
}
