//! Deeds that change a key, its name, or what lies at its path.
//!
//! `thief do DEED ARGUMENT…` does it and shows who did, with no bytes. `thief refused UID DEED ARGUMENT…` tries as that user,
//! and must be refused. A deed to a descriptor is done to standard input.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{
        AtFlags, CWD, FallocateFlags, IFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, fallocate,
        fsetxattr, ftruncate, ioctl_getflags, ioctl_setflags, linkat, open, openat, removexattr, renameat_with,
        setxattr, utimensat,
    },
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsmount, fsopen, mount, mount_bind, mount_move, move_mount, open_tree, unmount,
    },
    stdio::stdin,
};

use crate::{Road, argument, compat, loot, number, raw, ring, ways};

pub(crate) const ROADS: &[Road] = &[("do", done), ("refused", refused)];

const DEEDS: &[Road] = &[
    ("unlink", |of| fs::remove_file(argument(of, 0)?).context("unlink")),
    ("rmdir", |of| fs::remove_dir(argument(of, 0)?).context("rmdir")),
    ("rename", |of| renamed(of, RenameFlags::empty())),
    ("int80-rename", |of| compat::rename(argument(of, 0)?, argument(of, 1)?)),
    ("int80-exchange", |of| compat::exchange(argument(of, 0)?, argument(of, 1)?)),
    ("int80-renames", renames_with_rests),
    ("exchange", |of| renamed(of, RenameFlags::EXCHANGE)),
    ("whiteout", |of| renamed(of, RenameFlags::WHITEOUT)),
    ("link", |of| linkat(CWD, argument(of, 0)?, CWD, argument(of, 1)?, AtFlags::empty()).context("linkat")),
    ("link-descriptor", link_descriptor),
    ("link-unnamed", link_unnamed),
    ("truncate", |of| {
        let path = raw::c_path(argument(of, 0)?)?;
        // SAFETY: a string with its NUL.
        unsafe { raw::call(libc::SYS_truncate, [path.as_ptr() as usize, number(of, 1)? as usize]) }.map(drop)
    }),
    ("ftruncate", |of| ftruncate(stdin(), number(of, 0)?.into()).context("ftruncate")),
    ("overwrite", overwrite),
    ("punch", |_| {
        fallocate(stdin(), FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 8).context("fallocate")
    }),
    ("chmod", |of| fs::set_permissions(argument(of, 0)?, mode(of, 1)?).context("chmod")),
    ("fchmod", |of| rustix::fs::fchmod(stdin(), Mode::from_raw_mode(mode(of, 0)?.mode())).context("fchmod")),
    ("fchmodat2", fchmodat2),
    ("chown", |of| std::os::unix::fs::chown(argument(of, 0)?, Some(number(of, 1)?), None).context("chown")),
    ("fchown", |of| std::os::unix::fs::fchown(stdin(), Some(number(of, 0)?), None).context("fchown")),
    ("times", times),
    ("xattr", |of| {
        let value = argument(of, 2)?.as_encoded_bytes();
        setxattr(argument(of, 0)?, argument(of, 1)?, value, XattrFlags::empty()).context("setxattr")
    }),
    ("fxattr", |of| {
        let value = argument(of, 1)?.as_encoded_bytes();
        fsetxattr(stdin(), argument(of, 0)?, value, XattrFlags::empty()).context("fsetxattr")
    }),
    ("no-xattr", |of| removexattr(argument(of, 0)?, argument(of, 1)?).context("removexattr")),
    ("acl", |of| {
        let acl = access_control_list(number(of, 1)?);
        setxattr(argument(of, 0)?, ACL, &acl, XattrFlags::empty()).context("setxattr")
    }),
    ("no-acl", |of| removexattr(argument(of, 0)?, ACL).context("removexattr")),
    ("immutable", |_| {
        let flags = ioctl_getflags(stdin()).context("FS_IOC_GETFLAGS")?;
        ioctl_setflags(stdin(), flags | IFlags::IMMUTABLE).context("FS_IOC_SETFLAGS")
    }),
    ("extended-flags", extended_flags),
    ("ring-unlink", |of| ring::by_path(ring::UNLINKAT, argument(of, 0)?, None, 0)),
    ("ring-rename", |of| ring::by_path(ring::RENAMEAT, argument(of, 0)?, Some(argument(of, 1)?), 0)),
    ("ring-link", |of| ring::by_path(ring::LINKAT, argument(of, 0)?, Some(argument(of, 1)?), 0)),
    ("ring-xattr", |of| ring::set_xattr(argument(of, 0)?, argument(of, 1)?, argument(of, 2)?)),
    ("ring-punch", |_| ring::fallocate(stdin(), FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 8)),
    ("ring-ftruncate", |of| ring::ftruncate(stdin(), number(of, 0)?.into())),
    ("bind", |of| mount_bind(argument(of, 0)?, argument(of, 1)?).context("bind")),
    ("mount", |of| {
        let none = MountFlags::empty();
        let options = of.get(2).map(|options| raw::c_path(options)).transpose()?;
        let kind = argument(of, 0)?;
        mount(kind, argument(of, 1)?, kind, none, options.as_deref()).context("mount")
    }),
    ("move", |of| mount_move(argument(of, 0)?, argument(of, 1)?).context("mount --move")),
    ("attach-tree", |of| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        attach(&open_tree(CWD, argument(of, 0)?, flags).context("open_tree")?, argument(of, 1)?)
    }),
    ("move-tree", |of| {
        attach(
            &open_tree(CWD, argument(of, 0)?, OpenTreeFlags::OPEN_TREE_CLOEXEC).context("open_tree")?,
            argument(of, 1)?,
        )
    }),
    ("attach-new", |of| {
        let made = fsopen(argument(of, 0)?, FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
        fsconfig_create(&made).context("fsconfig")?;
        let tree = fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context("fsmount")?;
        attach(&tree, argument(of, 1)?)
    }),
    ("umount", |of| unmount(argument(of, 0)?, UnmountFlags::empty()).context("umount")),
    ("detach", |of| unmount(argument(of, 0)?, UnmountFlags::DETACH).context("umount")),
    ("uncover-rename", |of| {
        unmount(argument(of, 0)?, UnmountFlags::DETACH).context("umount")?;
        renamed(of, RenameFlags::empty())
    }),
    ("elsewhere", elsewhere),
];

/// The access list of acl(5), as an extended attribute.
const ACL: &str = "system.posix_acl_access";

fn deed(arguments: &[OsString]) -> Result<()> {
    let (wanted, arguments) = arguments.split_first().context("which deed?")?;
    let found = DEEDS.iter().find(|(name, _)| wanted == *name);
    let (_, act) = found.with_context(|| format!("no such deed: {}", wanted.display()))?;
    act(arguments)
}

fn done(arguments: &[OsString]) -> Result<()> {
    let doer = loot::Reader::this_thread()?;
    deed(arguments)?;
    loot::show(doer, b"")
}

/// As a user, in vain: `refused UID DEED…`.
fn refused(arguments: &[OsString]) -> Result<()> {
    let doer = loot::Reader::this_thread()?;
    let (uid, arguments) = arguments.split_first().context("which user?")?;
    ways::become_user(number(std::slice::from_ref(uid), 0)?)?;
    let error = deed(arguments).err().context("it was not refused")?;
    let errno = error.chain().find_map(|cause| {
        let raw = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        raw.or_else(|| cause.downcast_ref::<Errno>().map(|errno| errno.raw_os_error()))
    });
    ensure!(matches!(errno, Some(libc::EACCES | libc::EPERM | libc::EROFS)), "not refused, but: {error:#}");
    loot::show(doer, b"")
}

fn mode(arguments: &[OsString], at: usize) -> Result<fs::Permissions> {
    let mode = argument(arguments, at)?.to_str().and_then(|text| u32::from_str_radix(text, 8).ok());
    Ok(fs::Permissions::from_mode(mode.context("not a mode")?))
}

fn renamed(of: &[OsString], flags: RenameFlags) -> Result<()> {
    renameat_with(CWD, argument(of, 0)?, CWD, argument(of, 1)?, flags).context("renameat2")
}

/// One after the other, with time for the watch to look: `int80-renames FROM TO FROM TO…`.
#[expect(clippy::disallowed_methods, reason = "what the watch does meanwhile, nothing tells of")]
fn renames_with_rests(of: &[OsString]) -> Result<()> {
    for of in of.chunks(2) {
        compat::rename(argument(of, 0)?, argument(of, 1)?)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A further name by a descriptor alone (`AT_EMPTY_PATH`): `link-descriptor KEY NAME`.
fn link_descriptor(of: &[OsString]) -> Result<()> {
    let held = open(argument(of, 0)?, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    linkat(&held, "", CWD, argument(of, 1)?, AtFlags::EMPTY_PATH).context("linkat")
}

/// A file without a name gets one: `link-unnamed FOLDER NAME`.
fn link_unnamed(of: &[OsString]) -> Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, argument(of, 0)?, flags, Mode::RUSR | Mode::WUSR).context("O_TMPFILE")?;
    rustix::io::write(&file, b"another key")?;
    linkat(&file, "", CWD, argument(of, 1)?, AtFlags::EMPTY_PATH).context("linkat")
}

/// All that one does with a descriptor that one opened: writes, cuts, writes again.
fn overwrite(of: &[OsString]) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(argument(of, 0)?).context("open")?;
    file.write_all(b"another key").context("write")?;
    file.set_len(4).context("ftruncate")?;
    file.write_all(b"and more").context("write")
}

/// fchmodat2(2), of 6.6.
fn fchmodat2(of: &[OsString]) -> Result<()> {
    const FCHMODAT2: libc::c_long = 452;
    let path = raw::c_path(argument(of, 0)?)?;
    let words = [raw::word(libc::AT_FDCWD), path.as_ptr() as usize, mode(of, 1)?.mode() as usize, 0];
    // SAFETY: a string with its NUL.
    unsafe { raw::call(FCHMODAT2, words) }.map(drop)
}

fn times(of: &[OsString]) -> Result<()> {
    let long_ago = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    utimensat(CWD, argument(of, 0)?, &times, AtFlags::empty()).context("utimensat")
}

/// An access list that lets a user read: version 2, then tag, permissions and id of each entry (`posix_acl_xattr.h`).
fn access_control_list(uid: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    const USER_OBJ: u16 = 1;
    const USER: u16 = 2;
    const GROUP_OBJ: u16 = 4;
    const MASK: u16 = 16;
    const OTHER: u16 = 32;
    let entries =
        [(USER_OBJ, 6, NOBODY), (USER, 4, uid), (GROUP_OBJ, 0, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(u16::to_le_bytes(permissions));
        list.extend(id.to_le_bytes());
    }
    list
}

/// `FS_IOC_FSSETXATTR`: the file may only be appended to.
fn extended_flags(_: &[OsString]) -> Result<()> {
    /// `include/uapi/linux/fs.h`.
    const GET: libc::c_ulong = 0x801c_581f;
    const SET: libc::c_ulong = 0x401c_5820;
    const APPEND: u32 = 0x10;
    // `struct fsxattr`, of which the first word is the flags.
    let mut attributes = [0_u32; 7];
    let fd = stdin().as_raw_fd();
    // SAFETY: the kernel fills a structure of 28 bytes.
    ensure!(unsafe { libc::ioctl(fd, GET, attributes.as_mut_ptr()) } == 0, std::io::Error::last_os_error());
    if let Some(flags) = attributes.first_mut() {
        *flags |= APPEND;
    }
    // SAFETY: the kernel reads one.
    ensure!(unsafe { libc::ioctl(fd, SET, attributes.as_ptr()) } == 0, std::io::Error::last_os_error());
    Ok(())
}

fn attach(tree: &OwnedFd, at: &OsStr) -> Result<()> {
    move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).context("move_mount")
}

/// In a mount namespace of one's own, which propagates nothing or, as it is made here, as it did before:
/// `elsewhere private|shared DEED…`.
fn elsewhere(of: &[OsString]) -> Result<()> {
    let (how, rest) = of.split_first().context("private or shared?")?;
    // SAFETY: this process has one thread, and shares no file descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.context("unshare")?;
    if how == "private" {
        use rustix::mount::{MountPropagationFlags, mount_change};
        mount_change(Path::new("/"), MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private")?;
    }
    deed(rest)
}
