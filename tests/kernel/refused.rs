//! Somebody tried, and was refused.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::{
    Sentence,
    scene::{NOBODY, PATIENCE, SIGNER_UID, Scene, alarms, counts, is, is_loss, is_open, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("an_open_that_the_keys_mode_refuses", by_its_mode),
    ("an_open_that_the_keys_folder_refuses", by_its_folder),
    ("an_open_that_a_folder_further_up_refuses", by_a_folder_further_up),
    ("a_refused_open_relative_to_a_folder_descriptor", relative_to_a_descriptor),
    ("a_refused_open_relative_to_the_working_folder", relative_to_the_working_folder),
    ("a_refused_open_by_a_symbolic_link_from_elsewhere", symbolic_link),
    ("a_refused_open_by_a_hard_link_elsewhere", hard_link),
    ("a_refused_open_in_a_chroot", changed_root),
    ("a_refused_open_in_a_chroot_behind_a_folder", changed_root_folder),
    ("a_refused_open_in_another_mount_namespace", mount_namespace),
    ("a_refused_open_behind_a_mount_that_only_another_mount_namespace_has", mount_namespace_folder),
    ("root_of_a_user_namespace_is_refused", user_namespace),
    ("an_open_that_landlock_refuses", landlock),
    ("a_refused_write_to_an_immutable_key", immutable),
    ("a_refused_write_to_a_key_on_a_read_only_mount", read_only),
    ("a_refused_creation_among_the_keys", creation),
    ("a_refused_open_through_io_uring", uring),
    ("a_refused_open_through_a_worker_of_io_uring", uring_worker),
    ("a_signer_that_is_refused_its_key_is_no_alert", signer),
];

pub(crate) const SILENT: &[Sentence] = &[
    ("refused_opens_of_other_files", other_files),
    ("a_refused_listing_of_the_keys_folder", listing),
    ("a_refused_look_at_a_key_without_opening_it", path_only),
];

pub(crate) const FLOODS: &[Sentence] = &[("a_theft_is_told_in_a_flood_of_refused_opens", flood)];

/// The one who is refused.
fn knocker() -> Command {
    Command::new(env!("CARGO_BIN_EXE_knocker"))
}

/// Runs him as nobody, and returns his pid: he was refused.
fn knock(arguments: &[&std::ffi::OsStr]) -> Result<u32> {
    run(knocker().args(arguments).uid(NOBODY).gid(NOBODY))
}

/// Makes a file or a folder root's alone.
fn shut(path: &Path) -> Result<()> {
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Everything said about what a process did, once every refusal before this call has been told: attempts are told in the
/// order in which they were made.
fn settled(scene: &Scene, pid: u32) -> Result<Events> {
    let last = knock(&[scene.shut().as_os_str()])?;
    scene
        .watch
        .wait_for("the sentinel", PATIENCE, |event| event.pid() == Some(last) && event.action() == "key-open-denied")?;
    Ok(scene.watch.events_where(|event| event.is_access() && event.pid() == Some(pid)))
}

/// The one event about a process: it was refused that key. `None`: the watch had named that it does not see it.
fn denied(scene: &Scene, name: &'static str, key: &Path, pid: u32, errno: &str) -> Result<Option<Event>> {
    if scene.unseen("refused-open") {
        scene.limited(name, "refused-open");
        return Ok(None);
    }
    let event = settled(scene, pid)?.one("who was refused")?.clone();
    is(&event, "event.action", "key-open-denied")?;
    is(&event, "event.outcome", "failure")?;
    is(&event, "dkimwatch.errno", errno)?;
    is(&event, "dkimwatch.key.path", &key.display().to_string())?;
    is(&event, "process.executable", &fs::canonicalize(env!("CARGO_BIN_EXE_knocker"))?.display().to_string())?;
    alarms(&event)?;
    Ok(Some(event))
}

/// As [`denied`], where nobody was refused with EACCES.
fn nobody_denied(scene: &Scene, name: &'static str, key: &Path, pid: u32) -> Result<Option<Event>> {
    let event = denied(scene, name, key, pid, "EACCES")?;
    if let Some(event) = &event {
        counts(event, "user.id", NOBODY)?;
    }
    Ok(event)
}

fn by_its_mode(scene: &Scene) -> Result<()> {
    let name = "an_open_that_the_keys_mode_refuses";
    let key = scene.key(name);
    shut(&key)?;
    let pid = knock(&[key.as_os_str()])?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "file.path", &key.display().to_string())?;
        counts(&event, "process.parent.pid", std::process::id())?;
    }
    Ok(())
}

fn by_its_folder(scene: &Scene) -> Result<()> {
    let name = "an_open_that_the_keys_folder_refuses";
    let folder = scene.whole(name);
    let key = folder.join("key");
    fs::write(&key, "a key")?;
    shut(&folder)?;
    let pid = knock(&[key.as_os_str()])?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "file.path", &key.display().to_string())?;
    }
    Ok(())
}

fn by_a_folder_further_up(scene: &Scene) -> Result<()> {
    let name = "an_open_that_a_folder_further_up_refuses";
    let folder = scene.whole(name).join("a");
    let key = folder.join("b/key");
    fs::create_dir_all(folder.join("b"))?;
    fs::write(&key, "a key")?;
    shut(&folder)?;
    let pid = knock(&[key.as_os_str()])?;
    nobody_denied(scene, name, &key, pid).map(drop)
}

fn relative_to_a_descriptor(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_relative_to_a_folder_descriptor";
    let folder = scene.whole(name);
    let key = folder.join("key");
    fs::write(&key, "a key")?;
    shut(&folder)?;
    let pid = knock(&["--folder".as_ref(), folder.as_os_str(), "key".as_ref()])?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "dkimwatch.path_as_asked", "key")?;
    }
    Ok(())
}

fn relative_to_the_working_folder(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_relative_to_the_working_folder";
    let folder = scene.whole(name);
    let key = folder.join("a/key");
    fs::create_dir_all(folder.join("a"))?;
    fs::create_dir_all(folder.join("b"))?;
    fs::write(&key, "a key")?;
    shut(&folder.join("a"))?;
    let pid = run(knocker().arg("../a/./key").current_dir(folder.join("b")).uid(NOBODY).gid(NOBODY))?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "dkimwatch.path_as_asked", "../a/./key")?;
    }
    Ok(())
}

fn symbolic_link(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_by_a_symbolic_link_from_elsewhere";
    let (key, folder) = (scene.key(name), scene.whole(name));
    let behind = folder.join("key");
    fs::write(&behind, "a key")?;
    shut(&key)?;
    shut(&folder)?;
    let elsewhere = tempfile::tempdir()?;
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755))?;
    for key in [key, behind] {
        let link = elsewhere.path().join("link");
        symlink(&key, &link)?;
        let pid = knock(&[link.as_os_str()])?;
        if let Some(event) = nobody_denied(scene, name, &key, pid)? {
            is(&event, "dkimwatch.path_as_asked", &link.display().to_string())?;
        }
        fs::remove_file(link)?;
    }
    Ok(())
}

fn hard_link(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_by_a_hard_link_elsewhere";
    let key = scene.key(name);
    let link = scene.folder(name).join("another-name");
    fs::hard_link(&key, &link)?;
    shut(&key)?;
    let pid = knock(&[link.as_os_str()])?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "file.path", &link.display().to_string())?;
    }
    Ok(())
}

fn changed_root(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_in_a_chroot";
    let key = scene.key(name);
    shut(&key)?;
    let nobody = NOBODY.to_string();
    let pid = run(knocker().arg("--root").arg(scene.folder(name)).args(["--uid", &nobody, "/key.private"]))?;
    nobody_denied(scene, name, &key, pid).map(drop)
}

fn changed_root_folder(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_in_a_chroot_behind_a_folder";
    let folder = scene.whole(name);
    let key = folder.join("key");
    fs::write(&key, "a key")?;
    shut(&folder)?;
    // An absolute link means another file inside than outside.
    symlink("/whole/key", scene.folder(name).join("link"))?;
    let nobody = NOBODY.to_string();
    let pid = run(knocker().arg("--root").arg(scene.folder(name)).args(["--uid", &nobody, "/link"]))?;
    if let Some(event) = nobody_denied(scene, name, &key, pid)? {
        is(&event, "dkimwatch.path_as_asked", "/link")?;
    }
    Ok(())
}

/// Runs a script and the knocker after it in a mount namespace of their own, as one process. `$0` is the knocker, `$1` and
/// `$2` are the script's.
fn unshared(script: &str, first: &Path, second: &Path) -> Result<u32> {
    let knocker = env!("CARGO_BIN_EXE_knocker");
    run(Command::new("unshare").args(["--mount", "sh", "-e", "-c", script, knocker]).args([first, second]))
}

fn mount_namespace(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_in_another_mount_namespace";
    let (key, target) = (scene.key(name), scene.folder(name).join("target"));
    fs::write(&target, "")?;
    shut(&key)?;
    let script = format!("mount --bind \"$1\" \"$2\"; exec \"$0\" --uid {NOBODY} \"$2\"");
    let pid = unshared(&script, &key, &target)?;
    // The tracepoint backend knows the path alone.
    if scene.backend() == "tracepoint" && !scene.unseen("refused-open") && fleeting(scene, name, &settled(scene, pid)?)?
    {
        return Ok(());
    }
    nobody_denied(scene, name, &key, pid).map(drop)
}

fn mount_namespace_folder(scene: &Scene) -> Result<()> {
    let name = "a_refused_open_behind_a_mount_that_only_another_mount_namespace_has";
    let (folder, target) = (scene.whole(name), scene.folder(name).join("private"));
    fs::write(folder.join("key"), "a key")?;
    fs::create_dir_all(target.join("keys"))?;
    shut(&target)?;
    let script = format!("mount --bind \"$1\" \"$2\"; exec \"$0\" --uid {NOBODY} \"$2\"/key");
    let pid = unshared(&script, &folder, &target.join("keys"))?;
    if scene.unseen("refused-open") {
        scene.limited(name, "refused-open");
        return Ok(());
    }
    let said = settled(scene, pid)?;
    if fleeting(scene, name, &said)? {
        return Ok(());
    }
    let event = said.one("who was refused")?;
    is(event, "event.action", "key-open-denied")?;
    counts(event, "user.id", NOBODY)
}

fn user_namespace(scene: &Scene) -> Result<()> {
    let name = "root_of_a_user_namespace_is_refused";
    let key = scene.key(name);
    shut(&key)?;
    let knocker = env!("CARGO_BIN_EXE_knocker");
    let unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", knocker])
        .arg(&key)
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn()?
        .wait_with_pid()?;
    match unshare {
        (pid, Some(0)) => nobody_denied(scene, name, &key, pid).map(drop),
        (_, code) => {
            // Debian's 5.10 and hardened hosts have no user namespaces for users.
            let allowed = fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone").unwrap_or_default();
            ensure!(allowed.trim() == "0", "unshare ended with {code:?}");
            scene.absent(name, "users may make no user namespaces here");
            Ok(())
        }
    }
}

/// A child's pid and exit code.
trait WaitWithPid {
    fn wait_with_pid(self) -> Result<(u32, Option<i32>)>;
}

impl WaitWithPid for std::process::Child {
    fn wait_with_pid(mut self) -> Result<(u32, Option<i32>)> {
        let pid = self.id();
        Ok((pid, self.wait()?.code()))
    }
}

fn landlock(scene: &Scene) -> Result<()> {
    let name = "an_open_that_landlock_refuses";
    let key = scene.key(name);
    // Root, whom permission bits do not refuse.
    match knocker().arg("--landlock").arg(&key).spawn()?.wait_with_pid()? {
        (pid, Some(0)) => denied(scene, name, &key, pid, "EACCES").map(drop),
        (_, Some(3)) => {
            scene.absent(name, "no landlock (5.13)");
            Ok(())
        }
        (_, code) => bail!("exit code {code:?}"),
    }
}

fn immutable(scene: &Scene) -> Result<()> {
    let name = "a_refused_write_to_an_immutable_key";
    let key = scene.key(name);
    if !Command::new("chattr").arg("+i").arg(&key).status()?.success() {
        scene.absent(name, "a file system without an immutable flag");
        return Ok(());
    }
    let pid = run(knocker().arg("--write").arg(&key));
    run(Command::new("chattr").arg("-i").arg(&key))?;
    denied(scene, name, &key, pid?, "EPERM").map(drop)
}

/// Whether nothing was said, because the namespace was gone before the path was followed in it.
fn fleeting(scene: &Scene, name: &'static str, said: &Events) -> Result<bool> {
    if !said.is_empty() {
        return Ok(false);
    }
    ensure!(scene.unseen("refused-fleeting"), "neither told nor named");
    scene.limited(name, "refused-fleeting");
    Ok(true)
}

fn read_only(scene: &Scene) -> Result<()> {
    let name = "a_refused_write_to_a_key_on_a_read_only_mount";
    let (key, target) = (scene.key(name), scene.folder(name).join("target"));
    fs::write(&target, "")?;
    let script = "mount --bind \"$1\" \"$2\"; mount -o remount,bind,ro \"$2\"; exec \"$0\" --write \"$2\"";
    let pid = unshared(script, &key, &target)?;
    if scene.backend() == "tracepoint" && !scene.unseen("refused-open") && fleeting(scene, name, &settled(scene, pid)?)?
    {
        return Ok(());
    }
    denied(scene, name, &key, pid, "EROFS").map(drop)
}

fn creation(scene: &Scene) -> Result<()> {
    let name = "a_refused_creation_among_the_keys";
    let planted = scene.whole(name).join("planted");
    let pid = knock(&["--create".as_ref(), planted.as_os_str()])?;
    ensure!(!planted.exists(), "it was created");
    nobody_denied(scene, name, &planted, pid).map(drop)
}

fn through_a_ring(scene: &Scene, name: &'static str, how: &str) -> Result<()> {
    let key: PathBuf = scene.key(name);
    shut(&key)?;
    let (pid, code) = knocker().arg(how).arg(&key).uid(NOBODY).gid(NOBODY).spawn()?.wait_with_pid()?;
    match code {
        Some(0) => {}
        Some(3) => {
            scene.absent(name, "no io_uring");
            return Ok(());
        }
        code => bail!("exit code {code:?}"),
    }
    if let Some(limit) = ["refused-io-uring", "refused-open"].into_iter().find(|id| scene.unseen(id)) {
        if limit == "refused-io-uring" {
            let said = settled(scene, pid)?;
            ensure!(said.is_empty(), "a named limit, and yet:\n{said}");
        }
        scene.limited(name, limit);
        return Ok(());
    }
    nobody_denied(scene, name, &key, pid).map(drop)
}

fn uring(scene: &Scene) -> Result<()> {
    through_a_ring(scene, "a_refused_open_through_io_uring", "--uring")
}

fn uring_worker(scene: &Scene) -> Result<()> {
    through_a_ring(scene, "a_refused_open_through_a_worker_of_io_uring", "--uring-worker")
}

fn signer(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_is_refused_its_key_is_no_alert";
    let key = scene.key(name);
    shut(&key)?;
    let signer = Command::new(scene.signer()).arg(&key).uid(SIGNER_UID).gid(SIGNER_UID).spawn()?.wait_with_pid()?;
    let (pid, Some(1)) = signer else { bail!("it was not refused: {signer:?}") };
    if scene.unseen("refused-open") {
        scene.limited(name, "refused-open");
        return Ok(());
    }
    let said = settled(scene, pid)?;
    let event = said.one("the signer")?;
    is(event, "event.action", "key-open-denied")?;
    is(event, "dkimwatch.verdict", "expected")?;
    is(event, "event.kind", "event")?;
    is(event, "rule.id", "signer/scene")
}

fn other_files(scene: &Scene) -> Result<()> {
    let name = "refused_opens_of_other_files";
    let beside = scene.folder(name).join("KeyTable");
    let folder = scene.folder(name).join("other");
    fs::write(&beside, "no key")?;
    fs::create_dir(&folder)?;
    fs::write(folder.join("file"), "no key")?;
    shut(&beside)?;
    shut(&folder)?;
    let mut pids = Vec::new();
    for file in [beside, folder.join("file"), folder.join("absent")] {
        pids.push(knock(&["--times".as_ref(), "4000".as_ref(), file.as_os_str()])?);
    }
    if scene.unseen("refused-open") {
        return Ok(());
    }
    for pid in pids {
        let said = settled(scene, pid)?;
        ensure!(said.is_empty(), "{said}");
    }
    Ok(())
}

fn listing(scene: &Scene) -> Result<()> {
    let name = "a_refused_listing_of_the_keys_folder";
    let folder = scene.whole(name);
    fs::create_dir(folder.join("below"))?;
    shut(&folder)?;
    let mut ls = Command::new("ls").arg(&folder).uid(NOBODY).gid(NOBODY).stderr(std::process::Stdio::null()).spawn()?;
    let pid = ls.id();
    ensure!(!ls.wait()?.success(), "it was not refused");
    // Opened as if it were a file.
    let other = knock(&[folder.as_os_str()])?;
    if scene.unseen("refused-open") {
        return Ok(());
    }
    for pid in [pid, other] {
        let said = settled(scene, pid)?;
        ensure!(said.is_empty(), "{said}");
    }
    Ok(())
}

fn path_only(scene: &Scene) -> Result<()> {
    let name = "a_refused_look_at_a_key_without_opening_it";
    let folder = scene.whole(name);
    fs::write(folder.join("key"), "a key")?;
    shut(&folder)?;
    let quiet = std::process::Stdio::null;
    let mut stat = Command::new("stat").arg(folder.join("key")).uid(NOBODY).gid(NOBODY).stderr(quiet()).spawn()?;
    let pid = stat.id();
    ensure!(!stat.wait()?.success(), "it was not refused");
    // `O_PATH` of what lies behind.
    let beneath = ["--folder".into(), folder.join("key").into_os_string(), "key".into()];
    let status = knocker().args(beneath).uid(NOBODY).gid(NOBODY).stderr(quiet()).status()?;
    ensure!(status.code() == Some(1), "{status}");
    if scene.unseen("refused-open") {
        return Ok(());
    }
    let said = settled(scene, pid)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// With a watch of its own: the attempts may be too many for their ring, and that is told.
fn flood(scene: &Scene) -> Result<()> {
    let name = "a_theft_is_told_in_a_flood_of_refused_opens";
    let (key, other) = (scene.key(name), scene.shut());
    let flood = ["--times".as_ref(), "2000".as_ref(), other.as_os_str()];
    let mut flood = knocker().args(flood).uid(NOBODY).gid(NOBODY).spawn()?;
    let thief = run(Command::new("cat").arg(&key))?;
    ensure!(flood.wait()?.success(), "the flood was not refused");
    let theft = scene.watch.wait_for("the theft", PATIENCE, |event| event.pid() == Some(thief))?;
    is_open(&theft)?;
    let lost = scene.watch.events_where(is_loss);
    ensure!(lost.is_empty(), "more than attempts was lost:\n{lost}");
    Ok(())
}
