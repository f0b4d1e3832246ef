//! A key's name is taken from it, given to another, or another is given to it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Event;

use super::{KIND, Told, about, act, is_absent, other_path, told, told_in_vain, try_in_vain};
use crate::{
    Sentence,
    scene::{BYTES, Scene, counts, is, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_key_that_is_unlinked", unlinked),
    ("a_file_with_a_former_keys_number_that_is_renamed_into_a_folder_of_keys", reborn_renamed),
    ("a_file_with_a_former_keys_number_that_gets_a_name_in_a_folder_of_keys", reborn_linked),
    ("a_key_that_is_renamed_away", renamed_away),
    ("a_key_that_another_file_is_renamed_over", renamed_over),
    ("a_key_that_changes_places_with_another_file", exchanged),
    ("a_key_that_leaves_a_whiteout", whiteout),
    ("a_key_that_gets_a_further_name", linked),
    ("a_key_that_gets_a_further_name_by_its_descriptor", linked_by_descriptor),
    ("a_file_without_a_name_that_gets_the_keys", unnamed),
    ("a_file_that_is_renamed_into_a_folder_of_keys", moved_in),
    ("a_file_that_gets_a_name_in_a_folder_of_keys", linked_in),
    ("a_folder_of_keys_that_is_renamed", folder_renamed),
    ("a_folder_of_keys_that_is_removed", folder_removed),
    ("the_folder_of_a_key_that_is_renamed", nest_renamed),
    ("a_key_that_is_unlinked_through_io_uring", ring_unlinked),
    ("a_key_that_is_renamed_through_io_uring", ring_renamed),
    ("a_key_that_gets_a_further_name_through_io_uring", ring_linked),
    ("a_key_in_an_overlay_that_is_unlinked", overlay_unlinked),
    ("a_key_in_an_overlay_that_is_renamed", overlay_renamed),
    ("a_key_on_an_overlay_that_is_unlinked_in_the_layer_below", layer_unlinked),
    ("an_unlinking_that_is_refused", unlinking_refused),
    ("a_renaming_that_is_refused", renaming_refused),
    ("a_key_that_mv_puts_in_place", by_mv),
    ("a_key_that_sed_edits_in_place", by_sed),
];

const LIMITS: &[&str] = &["tamper-names"];
const DELETED: Told = Told { action: "key-deleted", deed: "unlink", limits: LIMITS };
const RENAMED: Told = Told { action: "key-renamed", deed: "rename", limits: LIMITS };
const REPLACED: Told = Told { action: "key-replaced", deed: "replace", limits: LIMITS };
const EXCHANGED: Told = Told { action: "key-replaced", deed: "exchange", limits: LIMITS };
const LINKED: Told = Told { action: "key-linked", deed: "link", limits: LIMITS };
const PLACED: Told = Told { action: "key-created", deed: "place", limits: LIMITS };

fn unlinked(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_unlinked";
    let key = scene.key(name);
    let inode = fs::metadata(&key)?.ino();
    let doer = act(scene, &[&"unlink", &key])?;
    ensure!(!key.exists(), "it is still there");
    let Some(event) = told(scene, name, &doer, DELETED)? else { return Ok(()) };
    about(&event, &key)?;
    is(&event, "file.inode", &inode.to_string())
}

fn renamed_away(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_renamed_away";
    let (key, away) = (scene.key(name), scene.folder(name).join("away"));
    let doer = act(scene, &[&"rename", &key, &away])?;
    ensure!(!key.exists() && fs::read_to_string(&away)? == BYTES, "it was not renamed");
    let Some(event) = told(scene, name, &doer, RENAMED)? else { return Ok(()) };
    about(&event, &key)?;
    other_path(&event, &away)
}

fn renamed_over(scene: &Scene) -> Result<()> {
    let name = "a_key_that_another_file_is_renamed_over";
    let (key, new) = (scene.key(name), scene.folder(name).join("new"));
    fs::write(&new, "another key")?;
    let inode = fs::metadata(&key)?.ino();
    let doer = act(scene, &[&"rename", &new, &key])?;
    ensure!(fs::read_to_string(&key)? == "another key", "it was not replaced");
    let Some(event) = told(scene, name, &doer, REPLACED)? else { return Ok(()) };
    about(&event, &key)?;
    is(&event, "file.inode", &inode.to_string())?;
    other_path(&event, &new)
}

fn exchanged(scene: &Scene) -> Result<()> {
    let name = "a_key_that_changes_places_with_another_file";
    let (key, other) = (scene.key(name), scene.folder(name).join("other"));
    fs::write(&other, "another key")?;
    let doer = act(scene, &[&"exchange", &key, &other])?;
    ensure!(fs::read_to_string(&other)? == BYTES, "they did not change places");
    let Some(event) = told(scene, name, &doer, EXCHANGED)? else { return Ok(()) };
    about(&event, &key)?;
    other_path(&event, &other)
}

fn whiteout(scene: &Scene) -> Result<()> {
    let name = "a_key_that_leaves_a_whiteout";
    let (key, away) = (scene.key(name), scene.folder(name).join("away"));
    let doer = act(scene, &[&"whiteout", &key, &away])?;
    ensure!(fs::metadata(&key)?.rdev() == 0 && fs::read_to_string(&away)? == BYTES, "no whiteout");
    let Some(event) = told(scene, name, &doer, RENAMED)? else { return Ok(()) };
    about(&event, &key)?;
    other_path(&event, &away)
}

fn linked(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_a_further_name";
    let (key, further) = (scene.key(name), scene.folder(name).join("further"));
    let doer = act(scene, &[&"link", &key, &further])?;
    ensure!(fs::metadata(&key)?.ino() == fs::metadata(&further)?.ino(), "no link");
    let Some(event) = told(scene, name, &doer, LINKED)? else { return Ok(()) };
    about(&event, &key)?;
    other_path(&event, &further)
}

fn linked_by_descriptor(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_a_further_name_by_its_descriptor";
    let (key, further) = (scene.key(name), scene.folder(name).join("further"));
    let doer = act(scene, &[&"link-descriptor", &key, &further])?;
    ensure!(fs::metadata(&key)?.ino() == fs::metadata(&further)?.ino(), "no link");
    let Some(event) = told(scene, name, &doer, LINKED)? else { return Ok(()) };
    other_path(&event, &further)
}

fn unnamed(scene: &Scene) -> Result<()> {
    let name = "a_file_without_a_name_that_gets_the_keys";
    let key = scene.key(name);
    fs::remove_file(&key)?;
    let doer = act(scene, &[&"link-unnamed", &scene.folder(name), &key])?;
    ensure!(key.exists(), "no link");
    let Some(event) = told(scene, name, &doer, PLACED)? else { return Ok(()) };
    about(&event, &key)
}

/// A file that has the inode number which the sentence's key had; `None` where the file system does not use it again.
fn with_the_number_of_the_key(scene: &Scene, name: &'static str) -> Result<Option<PathBuf>> {
    let key = scene.key(name);
    let inode = fs::metadata(&key)?.ino();
    fs::remove_file(&key)?;
    for number in 0..8 {
        let forged = scene.folder(name).join(format!("forged-{number}"));
        fs::write(&forged, "a new key")?;
        if fs::metadata(&forged)?.ino() == inode {
            return Ok(Some(forged));
        }
    }
    scene.absent(name, "a file system that does not use an inode number again at once");
    Ok(None)
}

/// It gets a name in another place for keys.
fn reborn(scene: &Scene, name: &'static str, deed: &str) -> Result<()> {
    let Some(forged) = with_the_number_of_the_key(scene, name)? else { return Ok(()) };
    let inside = scene.whole(name).join("inside");
    let doer = act(scene, &[&deed, &forged, &inside])?;
    ensure!(inside.exists(), "it was not done");
    let Some(event) = told(scene, name, &doer, PLACED)? else { return Ok(()) };
    about(&event, &inside)?;
    other_path(&event, &forged)
}

fn reborn_renamed(scene: &Scene) -> Result<()> {
    reborn(scene, "a_file_with_a_former_keys_number_that_is_renamed_into_a_folder_of_keys", "rename")
}

fn reborn_linked(scene: &Scene) -> Result<()> {
    reborn(scene, "a_file_with_a_former_keys_number_that_gets_a_name_in_a_folder_of_keys", "link")
}

fn moved_in(scene: &Scene) -> Result<()> {
    let name = "a_file_that_is_renamed_into_a_folder_of_keys";
    let (outside, inside) = (scene.folder(name).join("outside"), scene.whole(name).join("inside"));
    fs::write(&outside, "a new key")?;
    let doer = act(scene, &[&"rename", &outside, &inside])?;
    ensure!(inside.exists(), "it was not moved");
    let Some(event) = told(scene, name, &doer, PLACED)? else { return Ok(()) };
    other_path(&event, &outside)
}

fn linked_in(scene: &Scene) -> Result<()> {
    let name = "a_file_that_gets_a_name_in_a_folder_of_keys";
    let (outside, inside) = (scene.folder(name).join("outside"), scene.whole(name).join("inside"));
    fs::write(&outside, "a new key")?;
    let doer = act(scene, &[&"link", &outside, &inside])?;
    ensure!(inside.exists(), "no link");
    let Some(event) = told(scene, name, &doer, PLACED)? else { return Ok(()) };
    other_path(&event, &outside)
}

fn folder_renamed(scene: &Scene) -> Result<()> {
    let name = "a_folder_of_keys_that_is_renamed";
    let (folder, away) = (scene.whole(name), scene.folder(name).join("away"));
    let doer = act(scene, &[&"rename", &folder, &away])?;
    ensure!(!folder.exists() && away.exists(), "it was not renamed");
    let Some(event) = told(scene, name, &doer, RENAMED)? else { return Ok(()) };
    ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
    other_path(&event, &away)
}

fn folder_removed(scene: &Scene) -> Result<()> {
    let name = "a_folder_of_keys_that_is_removed";
    let folder = scene.whole(name);
    let doer = act(scene, &[&"rmdir", &folder])?;
    ensure!(!folder.exists(), "it was not removed");
    let removed = Told { limits: &["tamper-names", "tamper-folder-removed"], ..DELETED };
    let Some(event) = told(scene, name, &doer, removed)? else { return Ok(()) };
    ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
    Ok(())
}

fn nest_renamed(scene: &Scene) -> Result<()> {
    let name = "the_folder_of_a_key_that_is_renamed";
    let (folder, away) = (scene.folder(name), scene.folder(name).with_file_name("renamed-for-a-moment"));
    let doer = act(scene, &[&"rename", &folder, &away])?;
    let was_renamed = !folder.exists() && away.exists();
    fs::rename(&away, &folder)?;
    ensure!(was_renamed, "it was not renamed");
    let Some(event) = told(scene, name, &doer, RENAMED)? else { return Ok(()) };
    ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
    other_path(&event, &away)
}

/// A deed through io_uring; `None` where this kernel has no such request.
fn ring(
    scene: &Scene,
    name: &'static str,
    words: &[&dyn AsRef<std::ffi::OsStr>],
    wanted: Told,
) -> Result<Option<dkimwatch_tests::support::Event>> {
    match act(scene, words) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "io_uring has no such request here");
            Ok(None)
        }
        doer => told(scene, name, &doer?, wanted),
    }
}

fn ring_unlinked(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_unlinked_through_io_uring";
    let key = scene.key(name);
    let Some(event) = ring(scene, name, &[&"ring-unlink", &key], DELETED)? else { return Ok(()) };
    ensure!(!key.exists(), "it is still there");
    about(&event, &key)
}

fn ring_renamed(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_renamed_through_io_uring";
    let (key, away) = (scene.key(name), scene.folder(name).join("away"));
    let Some(event) = ring(scene, name, &[&"ring-rename", &key, &away], RENAMED)? else { return Ok(()) };
    ensure!(!key.exists() && away.exists(), "it was not renamed");
    other_path_or_limit(scene, name, &event, &away)
}

fn ring_linked(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_a_further_name_through_io_uring";
    let (key, further) = (scene.key(name), scene.folder(name).join("further"));
    let Some(event) = ring(scene, name, &[&"ring-link", &key, &further], LINKED)? else { return Ok(()) };
    ensure!(further.exists(), "no link");
    other_path_or_limit(scene, name, &event, &further)
}

/// Since 7.0 a request has no path any more when its worker begins it, and an inode that changes says what name it had.
fn other_path_or_limit(scene: &Scene, name: &'static str, event: &Event, path: &Path) -> Result<()> {
    if event.field("dkimwatch.other_path").is_none() && scene.unseen(KIND) {
        scene.limited(name, KIND);
        return Ok(());
    }
    other_path(event, path)
}

/// A key of the sentence's own in the overlay.
fn in_overlay(scene: &Scene, name: &str) -> Result<PathBuf> {
    let key = scene.grounds.layer("merged").join("keys").join(name);
    fs::write(&key, BYTES)?;
    Ok(key)
}

fn overlay_unlinked(scene: &Scene) -> Result<()> {
    let name = "a_key_in_an_overlay_that_is_unlinked";
    let key = in_overlay(scene, name)?;
    let doer = act(scene, &[&"unlink", &key])?;
    ensure!(!key.exists(), "it is still there");
    let events = scene.settled(&key)?;
    super::told_among(scene, name, &events, &doer, DELETED).map(drop)
}

/// Around the overlay, which then has none to show.
fn layer_unlinked(scene: &Scene) -> Result<()> {
    const LIMITS: &[&str] = &["tamper-names", "layer-tampering"];
    let name = "a_key_on_an_overlay_that_is_unlinked_in_the_layer_below";
    let key = Path::new("keys/sunk.private");
    let below = scene.grounds.layer("lower").join(key);
    let doer = act(scene, &[&"unlink", &below])?;
    ensure!(!below.exists(), "it is still there");
    let events = scene.settled(&scene.grounds.layer("merged").join(key))?;
    super::told_among(scene, name, &events, &doer, Told { limits: LIMITS, ..DELETED }).map(drop)
}

fn overlay_renamed(scene: &Scene) -> Result<()> {
    let name = "a_key_in_an_overlay_that_is_renamed";
    let key = in_overlay(scene, name)?;
    let away = key.with_extension("away");
    let doer = act(scene, &[&"rename", &key, &away])?;
    ensure!(!key.exists() && away.exists(), "it was not renamed");
    let events = scene.settled(&scene.grounds.layer("merged"))?.only(|event| event.pid() == Some(doer.pid));
    super::told_among(scene, name, &events, &doer, RENAMED).map(drop)
}

fn unlinking_refused(scene: &Scene) -> Result<()> {
    let name = "an_unlinking_that_is_refused";
    let key = scene.key(name);
    let doer = try_in_vain(scene, &[&"unlink", &key])?;
    ensure!(key.exists(), "it is gone");
    told_in_vain(scene, name, &doer, DELETED, "EACCES")
}

fn renaming_refused(scene: &Scene) -> Result<()> {
    let name = "a_renaming_that_is_refused";
    let key = scene.key(name);
    let doer = try_in_vain(scene, &[&"rename", &key, &scene.folder(name).join("away")])?;
    ensure!(key.exists(), "it is gone");
    told_in_vain(scene, name, &doer, RENAMED, "EACCES")
}

fn by_mv(scene: &Scene) -> Result<()> {
    let name = "a_key_that_mv_puts_in_place";
    let (key, new) = (scene.key(name), scene.folder(name).join("new"));
    fs::write(&new, "another key")?;
    let pid = run(Command::new("mv").args([&new, &key]))?;
    let events = scene.settled(&scene.folder(name))?.by(pid);
    if let (true, Some(limit)) = (events.is_empty(), LIMITS.iter().find(|id| scene.unseen(id))) {
        scene.limited(name, limit);
        return Ok(());
    }
    let event = events.one("by mv")?;
    is(event, "event.action", "key-replaced")?;
    counts(event, "process.pid", pid)
}

fn by_sed(scene: &Scene) -> Result<()> {
    let name = "a_key_that_sed_edits_in_place";
    let key = scene.key(name);
    let pid = run(Command::new("sed").args(["-i", "s/not/NOT/"]).arg(&key))?;
    let events = scene.settled(&scene.folder(name))?.by(pid);
    let count = |action: &str| events.only(|event| event.action() == action).len();
    ensure!(count("key-opened") == 1, "it reads:\n{events}");
    if let (1, Some(limit)) = (events.len(), LIMITS.iter().find(|id| scene.unseen(id))) {
        scene.limited(name, limit);
        return Ok(());
    }
    ensure!(count("key-replaced") == 1 && events.len() == 2, "it reads, and puts another file in place:\n{events}");
    Ok(())
}
