//! A key is its inode, by whatever name it is reached.

use std::{fs, os::fd::AsRawFd as _, process::Command};

use anyhow::{Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    Sentence,
    scene::{NOBODY, Scene, alarms, as_user, counts, is, run, stranger},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_hard_link_is_the_key", hard_link),
    ("a_symbolic_link_is_the_key", symbolic_link),
    ("a_bind_mount_in_another_mount_namespace_is_the_key", bind_mount),
    ("a_reader_in_another_mount_namespace_is_blamed", mount_namespace),
    ("a_reader_in_a_chroot_is_blamed", changed_root),
    ("reopening_a_path_descriptor_is_an_open", reopened),
    ("a_deleted_key_that_is_still_open_is_the_key", deleted),
];

fn hard_link(scene: &Scene) -> Result<()> {
    let name = "a_hard_link_is_the_key";
    let link = scene.folder(name).join("elsewhere");
    fs::hard_link(scene.key(name), &link)?;
    let pid = as_user(NOBODY, "cat", &[link.as_os_str()])?;
    let event = scene.one(name)?;
    alarms(&event)?;
    counts(&event, "process.pid", pid)?;
    is(&event, "file.path", &link.display().to_string())
}

fn symbolic_link(scene: &Scene) -> Result<()> {
    let name = "a_symbolic_link_is_the_key";
    let link = scene.folder(name).join("link");
    std::os::unix::fs::symlink(scene.key(name), &link)?;
    as_user(NOBODY, "cat", &[link.as_os_str()])?;
    alarms(&scene.one(name)?)
}

fn bind_mount(scene: &Scene) -> Result<()> {
    let name = "a_bind_mount_in_another_mount_namespace_is_the_key";
    let target = scene.folder(name).join("target");
    fs::write(&target, "")?;
    let script = "mount --bind \"$0\" \"$1\" && exec cat \"$1\"";
    let pid =
        run(Command::new("unshare").args(["--mount", "sh", "-c", script]).args([scene.key(name), target.clone()]))?;
    let event = scene.one(name)?;
    counts(&event, "process.pid", pid)?;
    is(&event, "file.path", &target.display().to_string())
}

fn mount_namespace(scene: &Scene) -> Result<()> {
    let name = "a_reader_in_another_mount_namespace_is_blamed";
    let pid = run(Command::new("unshare").args(["--mount", "--pid", "--fork", "cat"]).arg(scene.key(name)))?;
    let event = scene.one(name)?;
    alarms(&event)?;
    // unshare forked: it is the parent.
    counts(&event, "process.parent.pid", pid)
}

fn changed_root(scene: &Scene) -> Result<()> {
    let name = "a_reader_in_a_chroot_is_blamed";
    let folder = scene.folder(name);
    let pid = run(Command::new(stranger()?).arg("--root").arg(&folder).arg("/key.private"))?;
    let event = scene.one(name)?;
    counts(&event, "process.pid", pid)?;
    is(&event, "file.path", &scene.key(name).display().to_string())
}

fn reopened(scene: &Scene) -> Result<()> {
    let name = "reopening_a_path_descriptor_is_an_open";
    let key = scene.key(name);
    let named = openat(CWD, &key, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    ensure!(scene.settled(&key)?.is_empty(), "O_PATH alone is no access");
    fs::read(format!("/proc/self/fd/{}", named.as_raw_fd()))?;
    counts(&scene.one(name)?, "process.pid", std::process::id())
}

fn deleted(scene: &Scene) -> Result<()> {
    let name = "a_deleted_key_that_is_still_open_is_the_key";
    let key = scene.key(name);
    let named = openat(CWD, &key, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    fs::remove_file(&key)?;
    fs::read(format!("/proc/self/fd/{}", named.as_raw_fd()))?;
    alarms(&scene.one(name)?)
}
