//! What is born after the start is seen from its first open.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::{
    Sentence,
    scene::{NOBODY, Scene, alarms, as_user, counts},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_key_rotated_by_rename_is_seen_from_its_first_open", rotated),
    ("a_key_deleted_and_made_again_is_seen_from_its_first_open", made_again),
    ("a_new_key_in_a_watched_folder_is_seen_from_its_first_open", new_key),
    ("a_key_in_a_new_subfolder_is_seen_from_its_first_open", new_subfolder),
    ("a_key_moved_into_a_watched_folder_is_seen", moved_in),
    ("a_key_in_a_folder_moved_into_a_watched_one_is_seen", folder_moved_in),
    ("a_hard_link_of_a_new_key_to_elsewhere_is_the_key", linked_away),
];

/// One access by `cat` to the path, among what was said about it.
fn cat_is_seen(scene: &Scene, path: &Path) -> Result<()> {
    let pid = as_user(NOBODY, "cat", &[path.as_os_str()])?;
    let events = scene.settled(path)?;
    let event = events.by(pid).one(&path.display().to_string())?.clone();
    alarms(&event)?;
    counts(&event, "user.id", NOBODY)
}

fn rotated(scene: &Scene) -> Result<()> {
    let name = "a_key_rotated_by_rename_is_seen_from_its_first_open";
    let fresh = scene.folder(name).join("key.fresh");
    fs::write(&fresh, "a new key")?;
    fs::rename(&fresh, scene.key(name))?;
    cat_is_seen(scene, &scene.key(name))
}

fn made_again(scene: &Scene) -> Result<()> {
    let name = "a_key_deleted_and_made_again_is_seen_from_its_first_open";
    fs::remove_file(scene.key(name))?;
    fs::write(scene.key(name), "a new key")?;
    let made = scene.settled(&scene.key(name))?;
    ensure!(made.one("its making")?.action() == "key-created", "{made}");
    cat_is_seen(scene, &scene.key(name))
}

fn new_key(scene: &Scene) -> Result<()> {
    let name = "a_new_key_in_a_watched_folder_is_seen_from_its_first_open";
    let fresh = scene.whole(name).join("new.private");
    fs::write(&fresh, "a new key")?;
    cat_is_seen(scene, &fresh)
}

fn new_subfolder(scene: &Scene) -> Result<()> {
    let name = "a_key_in_a_new_subfolder_is_seen_from_its_first_open";
    let folder = scene.whole(name).join("a/b/c");
    fs::create_dir_all(&folder)?;
    let fresh = folder.join("new.private");
    fs::write(&fresh, "a new key")?;
    let made = scene.settled(&fresh)?;
    ensure!(made.one("its making")?.action() == "key-created", "{made}");
    cat_is_seen(scene, &fresh)
}

fn moved_in(scene: &Scene) -> Result<()> {
    let name = "a_key_moved_into_a_watched_folder_is_seen";
    let outside = scene.folder(name).join("outside");
    fs::write(&outside, "a new key")?;
    let inside = scene.whole(name).join("moved.private");
    fs::rename(&outside, &inside)?;
    cat_is_seen(scene, &inside)
}

fn folder_moved_in(scene: &Scene) -> Result<()> {
    let name = "a_key_in_a_folder_moved_into_a_watched_one_is_seen";
    let outside = scene.folder(name).join("outside");
    fs::create_dir(&outside)?;
    fs::write(outside.join("new.private"), "a new key")?;
    fs::rename(&outside, scene.whole(name).join("inside"))?;
    cat_is_seen(scene, &scene.whole(name).join("inside/new.private"))
}

fn linked_away(scene: &Scene) -> Result<()> {
    let name = "a_hard_link_of_a_new_key_to_elsewhere_is_the_key";
    let fresh = scene.whole(name).join("new.private");
    fs::write(&fresh, "a new key")?;
    let link = scene.folder(name).join("elsewhere");
    fs::hard_link(&fresh, &link)?;
    cat_is_seen(scene, &link)
}
