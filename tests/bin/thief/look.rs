//! What the tools of an administrator do with files and processes without reading a key: lsof, fuser, getfacl, updatedb.

use std::{ffi::OsString, fs, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, StatxFlags, flock, fstatfs, getxattr, open, statfs, statx},
    io::Errno,
};

use crate::{Road, argument, number, raw};

pub(crate) const ROADS: &[Road] = &[("look-around", look_around)];

/// Looks at a key, its folder, and every process, so many times: `look-around KEY TIMES`.
fn look_around(arguments: &[OsString]) -> Result<()> {
    let key = Path::new(argument(arguments, 0)?);
    let folder = key.parent().context("a folder")?;
    let watch = file_id_watch()?;
    for _ in 0..number(arguments, 1)? {
        tell_of(&watch, key)?;
        lists_of_rights(key)?;
        lists_of_rights(folder)?;
        statfs(key)?;
        by_a_path_descriptor(key)?;
        let held = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        flock(&held, FlockOperation::LockExclusive)?;
        flock(&held, FlockOperation::Unlock)?;
        rustix::fs::fsync(&held)?;
        ensure!(processes()? > 0, "no process at all");
    }
    Ok(())
}

/// getfacl(1).
fn lists_of_rights(path: &Path) -> Result<()> {
    for name in [c"system.posix_acl_access", c"system.posix_acl_default", c"security.selinux", c"security.capability"] {
        let got = getxattr(path, name, &mut [0_u8; 256]);
        ensure!(
            matches!(got, Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP)),
            "{name:?} of {}: {got:?}",
            path.display()
        );
    }
    Ok(())
}

fn by_a_path_descriptor(key: &Path) -> Result<()> {
    /// `AT_EMPTY_PATH` of faccessat2(2), which libraries do without.
    const EMPTY: usize = 0x1000;
    const READ: usize = 4;
    let held = open(key, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    fstatfs(&held)?;
    statx(&held, "", AtFlags::EMPTY_PATH, StatxFlags::ALL)?;
    fs::metadata(format!("/proc/self/fd/{}", held.as_raw_fd()))?;
    let words = [raw::word(held.as_raw_fd()), c"".as_ptr() as usize, READ, EMPTY];
    // SAFETY: an empty string, and integers.
    unsafe { raw::call(libc::SYS_faccessat2, words) }.context("faccessat2").map(drop)
}

/// A group of fanotify(7) that tells of files by their handles, and hands out no descriptor (`FAN_REPORT_FID`).
fn file_id_watch() -> Result<std::os::fd::OwnedFd> {
    const REPORT_FID: usize = 0x200;
    // SAFETY: integers.
    let watch = unsafe { raw::call(libc::SYS_fanotify_init, [REPORT_FID, raw::word(libc::O_RDONLY)]) };
    raw::descriptor(watch.context("fanotify_init")?)
}

/// `FAN_OPEN | FAN_ACCESS | FAN_ATTRIB` of this file.
fn tell_of(watch: &std::os::fd::OwnedFd, path: &Path) -> Result<()> {
    const WANTED: usize = 0x20 | 0x1 | 0x4;
    const ADD: usize = 1;
    let name = raw::c_path(path.as_os_str())?;
    let words = [raw::word(watch.as_raw_fd()), ADD, WANTED, raw::word(libc::AT_FDCWD), name.as_ptr() as usize];
    // SAFETY: a string with its NUL.
    unsafe { raw::call(libc::SYS_fanotify_mark, words) }.context("fanotify_mark").map(drop)
}

/// Everything that ps, lsof and fuser ask of each process; how many there are. One that ends meanwhile is no failure.
fn processes() -> Result<usize> {
    let mut count = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        count += 1;
        let at = process.path();
        for file in ["stat", "status", "cmdline", "comm", "maps", "cgroup", "mountinfo", "limits", "wchan"] {
            let _ = fs::read(at.join(file));
        }
        for link in ["exe", "cwd", "root", "ns/mnt"] {
            let _ = fs::read_link(at.join(link));
            let _ = fs::metadata(at.join(link));
        }
        for descriptor in fs::read_dir(at.join("fd")).into_iter().flatten().flatten() {
            let _ = fs::read_link(descriptor.path());
            let _ = fs::metadata(descriptor.path());
            let _ = fs::read(at.join("fdinfo").join(descriptor.file_name()));
        }
    }
    Ok(count)
}
