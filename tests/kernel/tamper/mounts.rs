//! Something is mounted over a key.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Result, ensure};

use super::{Told, act, told_among};
use crate::{
    Sentence,
    scene::{BYTES, Scene, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_file_bound_over_a_key", bound_over_key),
    ("a_file_bound_over_a_key_by_a_symbolic_link", bound_by_link),
    ("a_folder_bound_over_the_folder_of_a_key", bound_over_nest),
    ("a_file_system_mounted_over_a_folder_of_keys", mounted_over_folder),
    ("an_overlay_mounted_over_a_folder_of_keys", overlay),
    ("a_mount_moved_over_a_folder_of_keys", moved),
    ("a_copied_tree_attached_over_a_key", attached),
    ("a_new_file_system_attached_over_a_folder_of_keys", attached_new),
    ("a_mount_over_a_key_that_is_taken_away", taken_away),
    ("a_mount_over_a_folder_of_keys_that_is_taken_away_lazily", taken_away_lazily),
    ("a_mount_of_another_mount_namespace_that_reaches_this_one", propagated),
];

pub(crate) const SILENT: &[Sentence] =
    &[("a_mount_over_a_key_in_a_mount_namespace_of_its_own", elsewhere), ("a_mount_beside_the_keys", beside)];

const MOUNTED: Told = Told { action: "key-mounted-over", deed: "mount", limits: &["mount-over"] };
const UNMOUNTED: Told = Told { action: "key-mounted-over", deed: "unmount", limits: &["mount-over"] };

/// A mount that a path does not lead to, once it is followed.
fn by_path(scene: &Scene) -> Told {
    match scene.backend() {
        "tracepoint" => Told { limits: &["mount-elsewhere"], ..MOUNTED },
        _ => MOUNTED,
    }
}

/// The sentence's words: a deed and its arguments.
type Words<'a> = &'a [&'a dyn AsRef<std::ffi::OsStr>];

/// Does a deed that puts something over `at`, which `covered` proves, and takes it away again.
fn over(scene: &Scene, name: &'static str, words: Words<'_>, at: &Path, covered: impl Fn() -> bool) -> Result<()> {
    let doer = match act(scene, words) {
        Err(error) if super::is_absent(&error) => {
            scene.absent(name, "no such system call");
            return Ok(());
        }
        doer => doer?,
    };
    let was_covered = covered();
    // What was told by now is about the deed; what the sentence undoes comes later.
    let events = told_so_far(scene, name, at);
    ensure!(was_covered, "nothing was mounted over it");
    told_among(scene, name, &events?.by(doer.pid), &doer, MOUNTED).map(drop)
}

/// Takes a mount away, then waits until everything has been told: the sentinel may lie beneath.
fn told_so_far(scene: &Scene, name: &str, at: &Path) -> Result<dkimwatch_tests::support::Events> {
    run(Command::new("umount").arg("--lazy").arg(at))?;
    scene.settled(&scene.folder(name))
}

/// A folder without keys, with a file of the key's name in it.
fn decoy(scene: &Scene, name: &str) -> Result<std::path::PathBuf> {
    let decoy = scene.folder(name).join("decoy");
    fs::create_dir(&decoy)?;
    fs::write(decoy.join("another"), "another key")?;
    Ok(decoy)
}

fn bound_over_key(scene: &Scene) -> Result<()> {
    let name = "a_file_bound_over_a_key";
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    let covered = || fs::read_to_string(&key).is_ok_and(|text| text == "another key");
    over(scene, name, &[&"bind", &another, &key], &key, covered)
}

fn bound_over_nest(scene: &Scene) -> Result<()> {
    let name = "a_folder_bound_over_the_folder_of_a_key";
    let (folder, decoy) = (scene.folder(name), decoy(scene, name)?);
    over(scene, name, &[&"bind", &decoy, &folder], &folder, || folder.join("another").exists())
}

fn mounted_over_folder(scene: &Scene) -> Result<()> {
    let name = "a_file_system_mounted_over_a_folder_of_keys";
    let folder = scene.whole(name);
    fs::write(folder.join("key"), BYTES)?;
    over(scene, name, &[&"mount", &"tmpfs", &folder], &folder, || !folder.join("key").exists())
}

fn overlay(scene: &Scene) -> Result<()> {
    let name = "an_overlay_mounted_over_a_folder_of_keys";
    let (folder, decoy) = (scene.whole(name), decoy(scene, name)?);
    let options = format!("lowerdir={}:{}", decoy.display(), folder.display());
    over(scene, name, &[&"mount", &"overlay", &folder, &options], &folder, || folder.join("another").exists())
}

fn moved(scene: &Scene) -> Result<()> {
    let name = "a_mount_moved_over_a_folder_of_keys";
    let (folder, aside) = (scene.whole(name), scene.folder(name).join("aside"));
    fs::create_dir(&aside)?;
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&aside))?;
    // What is moved must not lie on a mount that others share.
    fs::write(aside.join("another"), "another key")?;
    if let Err(error) = act(scene, &[&"move", &aside, &folder]).map(drop) {
        run(Command::new("umount").arg("--lazy").arg(&aside))?;
        ensure!(format!("{error:#}").contains("Invalid argument"), "{error:#}");
        scene.absent(name, "the mounts are shared here, and such a one cannot be moved");
        return Ok(());
    }
    // Once more, with an eye on it.
    run(Command::new("mount").arg("--move").arg(&folder).arg(&aside))?;
    over(scene, name, &[&"move", &aside, &folder], &folder, || folder.join("another").exists())
}

fn attached(scene: &Scene) -> Result<()> {
    let name = "a_copied_tree_attached_over_a_key";
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    let covered = || fs::read_to_string(&key).is_ok_and(|text| text == "another key");
    over(scene, name, &[&"attach-tree", &another, &key], &key, covered)
}

fn attached_new(scene: &Scene) -> Result<()> {
    let name = "a_new_file_system_attached_over_a_folder_of_keys";
    let folder = scene.whole(name);
    fs::write(folder.join("key"), BYTES)?;
    over(scene, name, &[&"attach-new", &"tmpfs", &folder], &folder, || !folder.join("key").exists())
}

fn taken_away(scene: &Scene) -> Result<()> {
    let name = "a_mount_over_a_key_that_is_taken_away";
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    run(Command::new("mount").arg("--bind").args([&another, &key]))?;
    let doer = act(scene, &[&"umount", &key])?;
    ensure!(fs::metadata(&key)?.len() == BYTES.len() as u64, "it is still there");
    let events = scene.settled(&scene.folder(name))?.by(doer.pid);
    told_among(scene, name, &events, &doer, UNMOUNTED).map(drop)
}

fn taken_away_lazily(scene: &Scene) -> Result<()> {
    let name = "a_mount_over_a_folder_of_keys_that_is_taken_away_lazily";
    let folder = scene.whole(name);
    fs::write(folder.join("key"), BYTES)?;
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&folder))?;
    let doer = act(scene, &[&"detach", &folder])?;
    ensure!(folder.join("key").exists(), "it is still there");
    let events = scene.settled(&scene.folder(name))?.by(doer.pid);
    told_among(scene, name, &events, &doer, UNMOUNTED).map(drop)
}

/// A path that ends in a link, which leads elsewhere once it was followed.
fn bound_by_link(scene: &Scene) -> Result<()> {
    let name = "a_file_bound_over_a_key_by_a_symbolic_link";
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    let link = scene.folder(name).join("link");
    symlink(&key, &link)?;
    let doer = act(scene, &[&"bind", &another, &link])?;
    let covered = fs::read_to_string(&key).is_ok_and(|text| text == "another key");
    let events = told_so_far(scene, name, &key)?.by(doer.pid);
    ensure!(covered, "nothing was mounted over it");
    told_among(scene, name, &events, &doer, by_path(scene)).map(drop)
}

/// A mount in a namespace whose mounts are shared with this one appears here too.
fn propagated(scene: &Scene) -> Result<()> {
    let name = "a_mount_of_another_mount_namespace_that_reaches_this_one";
    let folder = scene.folder(name);
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    run(Command::new("mount").arg("--bind").args([&folder, &folder]))?;
    run(Command::new("mount").arg("--make-shared").arg(&folder))?;
    let doer = act(scene, &[&"elsewhere", &"shared", &"bind", &another, &key]);
    let covered = fs::read_to_string(&key).is_ok_and(|text| text == "another key");
    // Lazily: the watch, which looks at what was mounted, may have it in its hand.
    run(Command::new("umount").arg("--lazy").arg(&key))?;
    run(Command::new("umount").arg("--lazy").arg(&folder))?;
    let doer = doer?;
    ensure!(covered, "it did not reach this namespace");
    let events = scene.settled(&folder)?.by(doer.pid);
    told_among(scene, name, &events, &doer, by_path(scene)).map(drop)
}

/// As every service that systemd sandboxes and every container has it: told once by name, and not each time.
fn elsewhere(scene: &Scene) -> Result<()> {
    let name = "a_mount_over_a_key_in_a_mount_namespace_of_its_own";
    let (key, another) = (scene.key(name), decoy(scene, name)?.join("another"));
    let doers = [
        act(scene, &[&"elsewhere", &"private", &"bind", &another, &key])?,
        act(scene, &[&"elsewhere", &"private", &"mount", &"tmpfs", &scene.folder(name)])?,
        act(scene, &[&"elsewhere", &"private", &"bind", &"/", &"/"])?,
    ];
    ensure!(fs::metadata(&key)?.len() == BYTES.len() as u64, "it reached this namespace");
    let events = scene.settled(&scene.folder(name))?;
    for doer in doers {
        ensure!(events.by(doer.pid).is_empty(), "it hides nothing here:\n{events}");
    }
    ensure!(scene.unseen("mount-elsewhere") || scene.unseen("mount-over"), "a limit that was not named");
    Ok(())
}

fn beside(scene: &Scene) -> Result<()> {
    let name = "a_mount_beside_the_keys";
    let aside = scene.folder(name).join("aside");
    fs::create_dir(&aside)?;
    let doers = [act(scene, &[&"mount", &"tmpfs", &aside])?, act(scene, &[&"umount", &aside])?];
    let events = scene.settled(&scene.folder(name))?;
    for doer in doers {
        ensure!(events.by(doer.pid).is_empty(), "no key was covered:\n{events}");
    }
    Ok(())
}
