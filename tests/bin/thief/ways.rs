//! Ways to a file other than its path by `openat`.

use std::{
    ffi::{CStr, OsStr, OsString},
    fs,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2},
    mount::{MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount_bind, mount_change, open_tree, unmount},
    process::{chroot, pivot_root},
    thread::{UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe},
};

use crate::{Road, argument, loot, number, raw};

pub(crate) const ROADS: &[Road] = &[
    ("openat", |arguments| loot::take(opened(CWD, argument(arguments, 0)?)?)),
    ("open", by_open),
    ("creating", creating),
    ("beneath", |arguments| resolved(arguments, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)),
    ("in-root", |arguments| resolved(arguments, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)),
    ("held-folder", held_folder),
    ("handle", by_handle),
    ("detached-mount", detached_mount),
    ("idmapped-mount", idmapped_mount),
    ("pivot-root", pivoted),
    ("user-namespace", in_user_namespace),
    ("through-proc-root", through_proc_root),
    ("through-proc-fd", through_proc_fd),
    ("through-map-files", through_map_files),
    ("fanotify", by_fanotify),
];

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

fn opened(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    openat(folder, name, READ, Mode::empty()).with_context(|| format!("open {}", name.display()))
}

fn folder(path: &OsStr) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context("the folder")
}

/// open(2), which libraries no longer call.
fn by_open(arguments: &[OsString]) -> Result<()> {
    let path = raw::c_path(argument(arguments, 0)?)?;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a string with its NUL.
    let fd = unsafe { raw::call(libc::SYS_open, [path.as_ptr() as usize, raw::word(libc::O_RDONLY)]) }?;
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: a string with its NUL. This architecture has no open(2).
    let fd = unsafe { raw::call(libc::SYS_openat, [raw::word(libc::AT_FDCWD), path.as_ptr() as usize, 0]) }?;
    loot::take(raw::descriptor(fd)?)
}

/// `O_CREAT` below a folder's descriptor, of a file that is there: `creating FOLDER NAME`.
fn creating(arguments: &[OsString]) -> Result<()> {
    let folder = folder(argument(arguments, 0)?)?;
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
    loot::take(openat(folder, argument(arguments, 1)?, flags, Mode::RUSR).context("openat")?)
}

/// openat2(2) with `RESOLVE_…`: `beneath FOLDER NAME`.
fn resolved(arguments: &[OsString], how: ResolveFlags) -> Result<()> {
    let folder = folder(argument(arguments, 0)?)?;
    loot::take(openat2(folder, argument(arguments, 1)?, READ, Mode::empty(), how).context("openat2")?)
}

/// A folder's descriptor, held while the process changes its root to where the folder is not: `held-folder FOLDER NAME ROOT`.
fn held_folder(arguments: &[OsString]) -> Result<()> {
    let reader = loot::Reader::this_thread()?;
    let folder = folder(argument(arguments, 0)?)?;
    chroot(argument(arguments, 2)?).context("chroot")?;
    std::env::set_current_dir("/")?;
    let file = openat(&folder, argument(arguments, 1)?, READ, Mode::empty()).context("openat")?;
    loot::show(reader, &loot::bytes(file)?)
}

/// open_by_handle_at(2): no path is walked, and nothing but the file's handle need be known.
fn by_handle(arguments: &[OsString]) -> Result<()> {
    /// `struct file_handle` with room for `MAX_HANDLE_SZ` bytes.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        handle: [u8; 128],
    }
    let path = argument(arguments, 0)?;
    let name = raw::c_path(path)?;
    let mut handle = Handle { bytes: 128, kind: 0, handle: [0; 128] };
    let mut mount = 0_i32;
    let at = &raw mut handle as usize;
    let words = [raw::word(libc::AT_FDCWD), name.as_ptr() as usize, at, &raw mut mount as usize, 0];
    // SAFETY: a string with its NUL, a handle with the room that it tells, and an integer.
    unsafe { raw::call(libc::SYS_name_to_handle_at, words) }.context("name_to_handle_at")?;
    // The file system, by any folder of it.
    let beside = Path::new(path).parent().context("a folder")?;
    let beside = open(beside, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let words = [raw::word(beside.as_raw_fd()), at, raw::word(libc::O_RDONLY)];
    // SAFETY: the handle that was filled above.
    let fd = unsafe { raw::call(libc::SYS_open_by_handle_at, words) }.context("open_by_handle_at")?;
    loot::take(raw::descriptor(fd)?)
}

/// A copy of the folder's mount that is attached nowhere: `detached-mount FOLDER NAME`.
fn detached_mount(arguments: &[OsString]) -> Result<()> {
    let tree = detached(argument(arguments, 0)?)?;
    loot::take(openat(&tree, argument(arguments, 1)?, READ, Mode::empty()).context("openat")?)
}

fn detached(folder: &OsStr) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, folder, flags).context("open_tree")
}

/// A mount that shows the files of root as another user's: `idmapped-mount FOLDER NAME UID`. Read as that user.
fn idmapped_mount(arguments: &[OsString]) -> Result<()> {
    /// `struct mount_attr` and `MOUNT_ATTR_IDMAP` (`include/uapi/linux/mount.h`).
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const IDMAP: u64 = 0x0010_0000;
    let uid = number(arguments, 2)?;
    let tree = detached(argument(arguments, 0)?)?;
    let namespace = user_namespace_where_root_is(uid)?;
    let attributes =
        Attributes { set: IDMAP, clear: 0, propagation: 0, user_namespace: u64::try_from(namespace.as_raw_fd())? };
    let empty = c"";
    let words = [
        raw::word(tree.as_raw_fd()),
        empty.as_ptr() as usize,
        raw::word(libc::AT_EMPTY_PATH),
        &raw const attributes as usize,
        size_of::<Attributes>(),
    ];
    // SAFETY: a string with its NUL, and a struct with its size.
    unsafe { raw::call(libc::SYS_mount_setattr, words) }.context("mount_setattr")?;
    become_user(uid)?;
    loot::take(openat(&tree, argument(arguments, 1)?, READ, Mode::empty()).context("openat")?)
}

/// A user namespace in which 0 is this user of ours. It lives as long as its descriptor.
fn user_namespace_where_root_is(uid: u32) -> Result<OwnedFd> {
    let (ready_from, ready_to) = rustix::pipe::pipe()?;
    let (done_from, done_to) = rustix::pipe::pipe()?;
    let child = raw::fork(|| {
        // SAFETY: this process has one thread, and shares no file descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.context("unshare")?;
        rustix::io::write(&ready_to, b".")?;
        rustix::io::read(&done_from, &mut [0_u8; 1])?;
        Ok(())
    })?;
    rustix::io::read(&ready_from, &mut [0_u8; 1])?;
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{child}/{map}"), format!("0 {uid} 1\n")).context(map)?;
    }
    let namespace = open(format!("/proc/{child}/ns/user"), READ, Mode::empty())?;
    rustix::io::write(&done_to, b".")?;
    raw::wait(child)?;
    Ok(namespace)
}

/// Real, effective and saved, without any group of before.
pub(crate) fn become_user(uid: u32) -> Result<()> {
    let (gid, uid) = (rustix::process::Gid::from_raw(uid), rustix::process::Uid::from_raw(uid));
    set_thread_groups(&[]).context("setgroups")?;
    set_thread_res_gid(gid, gid, gid).context("setresgid")?;
    set_thread_res_uid(uid, uid, uid).context("setresuid")?;
    Ok(())
}

/// A mount namespace of our own, of which the others learn nothing.
fn private_mounts(also: UnshareFlags) -> Result<()> {
    // SAFETY: this process has one thread, and shares no file descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | also) }.context("unshare")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).context("private mounts")
}

/// The folder becomes the root, the old one is gone: `pivot-root FOLDER NAME`.
fn pivoted(arguments: &[OsString]) -> Result<()> {
    let reader = loot::Reader::this_thread()?;
    let root = argument(arguments, 0)?;
    private_mounts(UnshareFlags::empty())?;
    mount_bind(root, root).context("bind")?;
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("umount")?;
    let file = opened(CWD, Path::new("/").join(argument(arguments, 1)?).as_os_str())?;
    loot::show(reader, &loot::bytes(file)?)
}

/// An ordinary user with namespaces of its own mounts the key elsewhere: `user-namespace KEY FOLDER`, a folder with an
/// empty file `target`.
fn in_user_namespace(arguments: &[OsString]) -> Result<()> {
    let target = Path::new(argument(arguments, 1)?).join("target");
    let uid = rustix::process::getuid().as_raw();
    private_user_namespace(uid)?;
    private_mounts(UnshareFlags::empty())?;
    mount_bind(argument(arguments, 0)?, &target).context("bind")?;
    loot::take(opened(CWD, target.as_os_str())?)
}

/// A user namespace of our own in which we are root, as any user may make it.
pub(crate) fn private_user_namespace(uid: u32) -> Result<()> {
    // SAFETY: this process has one thread, and shares no file descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.context("a user namespace")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")).context("uid_map")
}

/// By the root link of a process that has another root: `through-proc-root FOLDER NAME`.
fn through_proc_root(arguments: &[OsString]) -> Result<()> {
    let (from, to) = rustix::pipe::pipe()?;
    let folder = argument(arguments, 0)?;
    let (wait_from, wait_to) = rustix::pipe::pipe()?;
    let other = raw::fork(|| {
        chroot(folder).context("chroot")?;
        rustix::io::write(&to, b".")?;
        rustix::io::read(&wait_from, &mut [0_u8; 1])?;
        Ok(())
    })?;
    rustix::io::read(&from, &mut [0_u8; 1])?;
    let path = Path::new("/proc").join(other.to_string()).join("root").join(argument(arguments, 1)?);
    loot::take(opened(CWD, path.as_os_str())?)?;
    rustix::io::write(&wait_to, b".")?;
    raw::wait(other)
}

/// By the descriptor link of a process that only holds a name (`O_PATH`): `through-proc-fd KEY`.
fn through_proc_fd(arguments: &[OsString]) -> Result<()> {
    let (from, to) = rustix::pipe::pipe()?;
    let (wait_from, wait_to) = rustix::pipe::pipe()?;
    let key = argument(arguments, 0)?;
    let other = raw::fork(|| {
        let held = open(key, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context("O_PATH")?;
        rustix::io::write(&to, &held.as_raw_fd().to_le_bytes())?;
        rustix::io::read(&wait_from, &mut [0_u8; 1])?;
        Ok(())
    })?;
    let mut held = [0_u8; 4];
    ensure!(rustix::io::read(&from, &mut held)? == held.len(), "no descriptor");
    let path = format!("/proc/{other}/fd/{}", i32::from_le_bytes(held));
    loot::take(opened(CWD, OsStr::new(&path))?)?;
    rustix::io::write(&wait_to, b".")?;
    raw::wait(other)
}

/// By the mapping of a process that has mapped the file, as Rspamd maps its keys: `through-map-files PID KEY`.
fn through_map_files(arguments: &[OsString]) -> Result<()> {
    let (pid, key) = (number(arguments, 0)?, argument(arguments, 1)?);
    let folder = format!("/proc/{pid}/map_files");
    for entry in fs::read_dir(&folder).context("map_files")? {
        let entry = entry?;
        if fs::read_link(entry.path()).is_ok_and(|file| file.as_os_str() == key) {
            return loot::take(opened(CWD, entry.path().as_os_str())?);
        }
    }
    anyhow::bail!("{} is not mapped by {pid}", key.display())
}

/// Opens nothing: the kernel hands a descriptor of the file to whoever watches it when another process opens it.
/// `fanotify KEY READER UID`: the reader is run as that user.
fn by_fanotify(arguments: &[OsString]) -> Result<()> {
    /// `struct fanotify_event_metadata` (fanotify(7)).
    #[repr(C)]
    struct Event {
        length: u32,
        version: u8,
        reserved: u8,
        metadata_length: u16,
        mask: u64,
        fd: i32,
        pid: i32,
    }
    let (key, reader, uid) = (argument(arguments, 0)?, argument(arguments, 1)?, number(arguments, 2)?);
    let watch = fanotify()?;
    mark(&watch, &raw::c_path(key)?, true)?;
    let status = Command::new(reader).arg(key).uid(uid).gid(uid).status()?;
    ensure!(status.success(), "the reader: {status}");
    let mut event = [0_u8; size_of::<Event>()];
    ensure!(rustix::io::read(&watch, &mut event).context("the event")? == event.len(), "no event");
    let at = std::mem::offset_of!(Event, fd);
    let fd = event.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes).unwrap_or(-1);
    loot::take(raw::descriptor(usize::try_from(fd).context("an event without a descriptor")?)?)
}

/// fanotify_init(2): notifications whose descriptors are for reading.
pub(crate) fn fanotify() -> Result<OwnedFd> {
    const NOTIFY: usize = 0;
    // SAFETY: integers.
    let watch = unsafe { raw::call(libc::SYS_fanotify_init, [NOTIFY, raw::word(libc::O_RDONLY)]) };
    raw::descriptor(watch.context("fanotify_init")?)
}

/// fanotify_mark(2): from now on (or no longer) tell of opens of this file.
pub(crate) fn mark(watch: &OwnedFd, path: &CStr, add: bool) -> Result<()> {
    const OPEN: usize = 0x20;
    // FAN_MARK_ADD and FAN_MARK_REMOVE.
    let flags = if add { 1 } else { 2 };
    let words = [raw::word(watch.as_raw_fd()), flags, OPEN, raw::word(libc::AT_FDCWD), path.as_ptr() as usize];
    // SAFETY: a string with its NUL.
    unsafe { raw::call(libc::SYS_fanotify_mark, words) }.context("fanotify_mark").map(drop)
}
