//! A link by which a key's path leads to it is turned to another file, at the path's end or on its way.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Event;

use super::{Told, about, act, told};
use crate::{
    Sentence,
    loot::Loot,
    scene::{BYTES, NOBODY, Scene, alarms, as_user, is},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    (TURNED, turned),
    (REMOVED, removed),
    (WAY_TURNED, way_turned),
    (USED, only_used),
    (MADE, made_in_its_place),
    ("a_link_that_is_renamed_over_a_key", renamed_over_a_file),
];

const TURNED: &str = "a_link_to_a_key_that_is_turned";
const REMOVED: &str = "a_link_to_a_key_that_is_removed";
const WAY_TURNED: &str = "a_link_on_the_way_to_a_key_that_is_turned";
const USED: &str = "a_key_that_is_unlinked_by_way_of_a_link";
const MADE: &str = "a_link_that_is_made_in_the_place_of_a_key";

const LIMITS: &[&str] = &["tamper-names"];
const REPLACED: Told = Told { action: "key-replaced", deed: "replace", limits: LIMITS };
const DELETED: Told = Told { action: "key-deleted", deed: "unlink", limits: LIMITS };

/// The links, below the sentences' folders: what the watch is to be told of.
pub(crate) fn lay(root: &Path) -> Result<Vec<PathBuf>> {
    for (name, link) in [(TURNED, "linked.private"), (REMOVED, "linked.private"), (WAY_TURNED, "way"), (USED, "way")] {
        for home in ["old", "new"] {
            fs::create_dir(root.join(name).join(home))?;
            fs::write(key_in(&root.join(name).join(home)), BYTES)?;
        }
        let to = if link == "way" { PathBuf::from("old") } else { key_in(Path::new("old")) };
        symlink(to, root.join(name).join(link))?;
    }
    Ok([TURNED, REMOVED]
        .map(|name| root.join(name).join("linked.private"))
        .into_iter()
        .chain([WAY_TURNED, USED].map(|name| key_in(&root.join(name).join("way"))))
        .collect())
}

fn key_in(folder: &Path) -> PathBuf {
    folder.join("real.private")
}

/// Renames a new link over what is there.
fn turn(scene: &Scene, link: &Path, to: &Path) -> Result<Loot> {
    let new = link.with_extension("new");
    symlink(to, &new)?;
    let doer = act(scene, &[&"rename", &new, &link])?;
    ensure!(fs::read_link(link)? == to, "it was not turned");
    Ok(doer)
}

/// The one event about who did something to a link; `None` where a limit is named: there a rename onto a watched name is all that may
/// be known of it.
fn told_of_link(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told) -> Result<Option<Event>> {
    if !scene.unseen("tamper-names") {
        return told(scene, name, doer, wanted);
    }
    for event in scene.settled(&scene.folder(name))?.by(doer.pid).iter() {
        alarms(event)?;
    }
    scene.limited(name, "tamper-names");
    Ok(None)
}

/// What somebody reads that was no key before is seen, once the watch has looked.
pub(super) fn becomes_a_key(scene: &Scene, key: &Path, file: &Path) -> Result<()> {
    const TRIES: usize = 400;
    for _ in 0..TRIES {
        let pid = as_user(NOBODY, "cat", &[file.as_os_str()])?;
        let of_it = scene.settled(key)?.by(pid);
        if !of_it.is_empty() {
            let event = of_it.one("the reader's")?;
            alarms(event)?;
            // It may have become one between the open and the read.
            let action = event.action();
            ensure!(["key-opened", "key-read"].contains(&action), "it was read, not {action}\n{event}");
            return is(event, "file.path", &file.display().to_string());
        }
    }
    anyhow::bail!("{} was never seen to be read", file.display())
}

fn turned(scene: &Scene) -> Result<()> {
    let folder = scene.folder(TURNED);
    let link = folder.join("linked.private");
    let doer = turn(scene, &link, &key_in(Path::new("new")))?;
    if let Some(event) = told_of_link(scene, TURNED, &doer, REPLACED)? {
        about(&event, &link)?;
        is(&event, "file.type", "symlink")?;
    }
    becomes_a_key(scene, &link, &key_in(&folder.join("new")))
}

fn removed(scene: &Scene) -> Result<()> {
    let folder = scene.folder(REMOVED);
    let link = folder.join("linked.private");
    let doer = act(scene, &[&"unlink", &link])?;
    if let Some(event) = told_of_link(scene, REMOVED, &doer, DELETED)? {
        about(&event, &link)?;
        is(&event, "file.type", "symlink")?;
    }
    symlink(key_in(Path::new("new")), &link)?;
    becomes_a_key(scene, &link, &key_in(&folder.join("new")))
}

fn way_turned(scene: &Scene) -> Result<()> {
    let folder = scene.folder(WAY_TURNED);
    let way = folder.join("way");
    let doer = turn(scene, &way, Path::new("new"))?;
    if let Some(event) = told_of_link(scene, WAY_TURNED, &doer, REPLACED)? {
        about(&event, &key_in(&way))?;
        is(&event, "file.type", "symlink")?;
    }
    becomes_a_key(scene, &key_in(&way), &key_in(&folder.join("new")))
}

/// Who passes by a link does nothing to it, though its inode is written down for the time of its use.
fn only_used(scene: &Scene) -> Result<()> {
    let way = scene.folder(USED).join("way");
    let (key, beside) = (key_in(&way), way.join("beside"));
    fs::write(&beside, "")?;
    let passer = act(scene, &[&"unlink", &beside])?;
    let doer = act(scene, &[&"unlink", &key])?;
    ensure!(!key.exists() && !beside.exists(), "they are still there");
    let Some(event) = told(scene, USED, &doer, DELETED)? else { return Ok(()) };
    about(&event, &key)?;
    is(&event, "file.type", "file")?;
    ensure!(scene.settled(&scene.folder(USED))?.by(passer.pid).is_empty(), "who passed by did nothing");
    Ok(())
}

fn made_in_its_place(scene: &Scene) -> Result<()> {
    let (key, other) = (scene.key(MADE), scene.folder(MADE).join("other"));
    fs::write(&other, BYTES)?;
    fs::remove_file(&key)?;
    symlink("other", &key)?;
    becomes_a_key(scene, &key, &other)
}

fn renamed_over_a_file(scene: &Scene) -> Result<()> {
    let name = "a_link_that_is_renamed_over_a_key";
    let (key, other) = (scene.key(name), scene.folder(name).join("other"));
    fs::write(&other, BYTES)?;
    let doer = turn(scene, &key, Path::new("other"))?;
    if let Some(event) = told(scene, name, &doer, REPLACED)? {
        about(&event, &key)?;
        is(&event, "file.type", "file")?;
    }
    becomes_a_key(scene, &key, &other)
}
