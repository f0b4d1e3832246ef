//! A key lies on a file system that is mounted: what that one covers is uncovered, and the key's path leads there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Event;

use super::{Told, about, act, told};
use crate::{
    Sentence,
    grounds::Grounds,
    loot::Loot,
    scene::{BYTES, Scene, is, run},
};

pub(crate) const SENTENCES: &[Sentence] =
    &[(TAKEN, taken), (MOVED, moved), (BY_DESCRIPTOR, by_descriptor), (RENAMED, renamed), (UNBOUND, unbound)];

/// Those with a file system.
const MOUNTED: [&str; 4] = [TAKEN, MOVED, BY_DESCRIPTOR, RENAMED];

const TAKEN: &str = "a_file_system_with_a_key_that_is_unmounted";
const MOVED: &str = "a_file_system_with_a_key_that_is_moved_elsewhere";
const BY_DESCRIPTOR: &str = "a_file_system_with_a_key_that_is_moved_elsewhere_by_its_descriptor";
const RENAMED: &str = "a_folder_that_a_file_system_with_a_key_is_mounted_on_and_another_mount_namespace_renames";

const UNBOUND: &str = "a_file_that_is_bound_over_a_keys_path_and_taken_away";

const UNMOUNTED: Told = Told { action: "key-mounted-over", deed: "unmount", limits: &["mount-over"] };
const WAS_RENAMED: Told = Told { action: "key-renamed", deed: "rename", limits: &["tamper-names"] };

/// Where each sentence's file system is mounted, and its key there. Below, a file lies at the same place.
pub(crate) fn mounts(root: &Path) -> Vec<(PathBuf, PathBuf)> {
    let at = |name: &&str| root.join(name).join("at");
    MOUNTED.iter().map(at).map(|at| (at.clone(), at.join("own/key.private"))).collect()
}

/// The key's path where another file is bound over it, and that file.
pub(crate) fn bound(root: &Path) -> (PathBuf, PathBuf) {
    (root.join(UNBOUND).join("key.private"), root.join(UNBOUND).join("bound"))
}

fn key(scene: &Scene, name: &str) -> PathBuf {
    scene.folder(name).join("at/own/key.private")
}

/// The one event about who uncovered what is below.
fn told_of(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told) -> Result<()> {
    ensure!(fs::read_to_string(key(scene, name)).is_ok_and(|text| text == Grounds::BELOW), "it is not uncovered");
    let Some(event) = told_of_place(scene, name, doer, wanted)? else { return Ok(()) };
    // A hook without the folder itself has the path that was asked for.
    let field = if event.field("file.path").is_some() { "file.path" } else { "dkimwatch.other_path" };
    is(&event, field, &scene.folder(name).join("at").display().to_string())
}

fn told_of_place(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told) -> Result<Option<Event>> {
    let told = told(scene, name, doer, wanted)?;
    if let Some(event) = &told {
        about(event, &key(scene, name))?;
        ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
    }
    Ok(told)
}

fn taken(scene: &Scene) -> Result<()> {
    let doer = act(scene, &[&"detach", &scene.folder(TAKEN).join("at")])?;
    told_of(scene, TAKEN, &doer, UNMOUNTED)
}

fn moved(scene: &Scene) -> Result<()> {
    move_by(scene, MOVED, "move", UNMOUNTED)
}

/// As mount(8) does today.
fn by_descriptor(scene: &Scene) -> Result<()> {
    let named = Told { limits: &["mount-over", "mount-elsewhere"], ..UNMOUNTED };
    let wanted = if scene.backend() == "tracepoint" { named } else { UNMOUNTED };
    move_by(scene, BY_DESCRIPTOR, "move-tree", wanted)
}

fn move_by(scene: &Scene, name: &'static str, deed: &str, wanted: Told) -> Result<()> {
    let (at, away) = (scene.folder(name).join("at"), scene.folder(name).join("away"));
    fs::create_dir(&away)?;
    let doer = match act(scene, &[&deed, &at, &away]) {
        Err(error) => {
            ensure!(format!("{error:#}").contains("Invalid argument"), "{error:#}");
            scene.absent(name, "the mounts are shared here, and such a one cannot be moved");
            return Ok(());
        }
        doer => doer?,
    };
    ensure!(fs::read_to_string(away.join("own/key.private"))? == BYTES, "it was not moved");
    let told = told_of(scene, name, &doer, wanted);
    run(Command::new("mount").arg("--move").args([&away, &at]))?;
    told
}

/// There the file system is mounted no more, so that its place can have another name; here it still is, and goes along.
fn renamed(scene: &Scene) -> Result<()> {
    let (at, away) = (scene.folder(RENAMED).join("at"), scene.folder(RENAMED).join("away"));
    let doer = act(scene, &[&"elsewhere", &"private", &"uncover-rename", &at, &away])?;
    let was_renamed = !at.exists() && fs::read_to_string(away.join("own/key.private")).is_ok_and(|text| text == BYTES);
    let told = told_of_place(scene, RENAMED, &doer, WAS_RENAMED);
    fs::rename(&away, &at).or_else(|_| run(Command::new("umount").arg("--lazy").arg(&away)).map(drop))?;
    ensure!(was_renamed, "it was not renamed");
    let Some(event) = told? else { return Ok(()) };
    is(&event, "file.path", &at.display().to_string())
}

/// A single file, as what brings secrets into a container does it.
fn unbound(scene: &Scene) -> Result<()> {
    let key = scene.key(UNBOUND);
    let doer = act(scene, &[&"detach", &key])?;
    ensure!(fs::read_to_string(&key)? == Grounds::BELOW, "it is not uncovered");
    let Some(event) = told(scene, UNBOUND, &doer, UNMOUNTED)? else { return Ok(()) };
    about(&event, &key)?;
    ensure!(event.field("dkimwatch.folder_changed") != Some(&true.into()), "the file's\n{event}");
    let field = if event.field("file.path").is_some() { "file.path" } else { "dkimwatch.other_path" };
    is(&event, field, &key.display().to_string())
}
