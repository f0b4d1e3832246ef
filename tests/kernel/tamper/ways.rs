//! A folder is renamed in which a key lies, and not right in it: the key's path leads to nothing, or to what is put there.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use super::{Told, about, act, is_absent, links::becomes_a_key, other_path, told, told_among};
use crate::{
    Sentence,
    grounds::Grounds,
    loot::Loot,
    scene::{BYTES, Scene, is},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    (RENAMED, renamed),
    (REPLACED, replaced),
    (LINKED, linked),
    (EXCHANGED, exchanged),
    (BY_RING, by_ring),
    (BY_32_BITS, by_32_bits),
    (OWN_BY_RING, own_by_ring),
    (OWN_BY_32_BITS, own_by_32_bits),
    (BEHIND_ANOTHER, behind_another),
    (BEHIND_A_LOOK, behind_a_look),
    (BESIDE_ANOTHER, beside_another),
    (FILE_SYSTEMS, on_file_systems),
    (FROM_BELOW, from_below),
    (PUBLIC, with_a_public_file),
];

pub(crate) const SILENT: &[Sentence] = &[(BESIDE, beside), (IN_ROOTS, in_roots)];

const RENAMED: &str = "a_folder_above_a_keys_own_that_is_renamed";
const REPLACED: &str = "a_folder_above_a_keys_own_that_another_takes_the_place_of";
const LINKED: &str = "a_folder_above_a_keys_own_that_a_link_takes_the_place_of";
const EXCHANGED: &str = "a_folder_above_a_keys_own_that_changes_places_with_another";
const BY_RING: &str = "a_folder_above_a_keys_own_that_is_renamed_through_io_uring";
const BY_32_BITS: &str = "a_folder_above_a_keys_own_that_is_renamed_by_a_32_bit_system_call";
const OWN_BY_RING: &str = "a_keys_own_folder_that_is_renamed_through_io_uring";
const OWN_BY_32_BITS: &str = "a_keys_own_folder_that_is_renamed_by_a_32_bit_system_call";
const BEHIND_ANOTHER: &str = "a_folder_above_a_keys_own_that_is_renamed_a_moment_after_what_lies_in_it";
const BEHIND_A_LOOK: &str = "a_folder_above_a_keys_own_by_a_link_that_is_renamed_right_before_the_watch_looks";
const BESIDE_ANOTHER: &str =
    "a_folder_above_a_keys_own_that_is_renamed_after_somebody_else_did_something_in_the_keys_own";
const FILE_SYSTEMS: &str = "folders_above_keys_on_other_file_systems_that_change_places_with_others";
const FROM_BELOW: &str = "a_key_that_is_put_in_place_from_a_folder_that_leads_to_another";
const PUBLIC: &str = "a_folder_above_a_keys_own_that_changes_places_with_a_public_file";
const IN_ROOTS: &str = "what_is_renamed_in_the_root_of_a_file_system";
const BESIDE: &str = "folders_that_are_renamed_beside_those_above_a_key";

const WAS_RENAMED: Told = Told { action: "key-renamed", deed: "rename", limits: &["tamper-names"] };
const CHANGED_PLACES: Told = Told { action: "key-replaced", deed: "exchange", limits: &["tamper-names"] };

/// Each sentence's key, two folders deep, and another file at the same place below another folder.
pub(crate) fn lay(root: &Path) -> Result<Vec<PathBuf>> {
    let mut keys = Vec::new();
    for (name, _) in SENTENCES.iter().chain(SILENT) {
        for way in ["above", "other"] {
            fs::create_dir_all(root.join(name).join(way).join("own"))?;
            fs::write(key_in(&root.join(name).join(way)), BYTES)?;
        }
        keys.push(key_in(&root.join(name).join("above")));
    }
    // Its path in the file system is not the one that it is watched by.
    let led = root.join(BEHIND_A_LOOK).join("led");
    symlink("above", &led)?;
    keys.retain(|key| !key.starts_with(root.join(BEHIND_A_LOOK)));
    keys.push(key_in(&led));
    // The folder beside a key leads to another, and holds none itself.
    let above = root.join(FROM_BELOW).join("above");
    fs::create_dir_all(above.join("way/further"))?;
    for key in ["awaited.private", "way/further/deep.private"] {
        fs::write(above.join(key), BYTES)?;
        keys.push(above.join(key));
    }
    Ok(keys)
}

fn key_in(way: &Path) -> PathBuf {
    way.join("own/deep.private")
}

/// The one event about who gave the folder another name.
fn told_of_folder(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told) -> Result<Option<Event>> {
    let told = told(scene, name, doer, wanted)?;
    if let Some(event) = &told {
        about(event, &key_in(&scene.folder(name).join("above")))?;
        ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
        is(event, "file.type", "dir")?;
    }
    Ok(told)
}

/// Renames the folder.
fn rename(scene: &Scene, name: &'static str) -> Result<()> {
    let (above, away) = (scene.folder(name).join("above"), scene.folder(name).join("away"));
    let doer = act(scene, &[&"rename", &above, &away])?;
    ensure!(!above.exists() && key_in(&away).exists(), "it was not renamed");
    let Some(event) = told_of_folder(scene, name, &doer, WAS_RENAMED)? else { return Ok(()) };
    is(&event, "file.path", &above.display().to_string())?;
    other_path(&event, &away)
}

fn renamed(scene: &Scene) -> Result<()> {
    rename(scene, RENAMED)?;
    // What is in it stays watched.
    becomes_a_key(scene, &key_in(&scene.folder(RENAMED).join("above")), &key_in(&scene.folder(RENAMED).join("away")))
}

fn replaced(scene: &Scene) -> Result<()> {
    rename(scene, REPLACED)?;
    let above = scene.folder(REPLACED).join("above");
    fs::rename(scene.folder(REPLACED).join("other"), &above)?;
    becomes_a_key(scene, &key_in(&above), &key_in(&above))
}

fn linked(scene: &Scene) -> Result<()> {
    rename(scene, LINKED)?;
    let (above, other) = (scene.folder(LINKED).join("above"), scene.folder(LINKED).join("other"));
    symlink("other", &above)?;
    becomes_a_key(scene, &key_in(&above), &key_in(&other))
}

fn exchanged(scene: &Scene) -> Result<()> {
    let (above, other) = (scene.folder(EXCHANGED).join("above"), scene.folder(EXCHANGED).join("other"));
    fs::write(other.join("sign"), "")?;
    let doer = act(scene, &[&"exchange", &above, &other])?;
    ensure!(above.join("sign").exists(), "they did not change places");
    if let Some(event) = told_of_folder(scene, EXCHANGED, &doer, CHANGED_PLACES)? {
        other_path(&event, &other)?;
    }
    becomes_a_key(scene, &key_in(&above), &key_in(&above))
}

/// All that is told about a path and below by a doer, once that is something: what is in doubt is looked at a moment later, whether or
/// not a limit is named for what is not told at all.
fn told_by_and_by(scene: &Scene, path: &Path, doer: &Loot) -> Result<Events> {
    let tries = if scene.unseen("tamper-names") { 12 } else { 40 };
    for _ in 1..tries {
        let events = scene.settled(path)?.by(doer.pid);
        if !events.is_empty() {
            return Ok(events);
        }
    }
    Ok(scene.settled(path)?.by(doer.pid))
}

/// By another road than a system call whose end is seen.
fn by(scene: &Scene, name: &'static str, deed: &str, folder: &str) -> Result<()> {
    let (folder, away) = (scene.folder(name).join(folder), scene.folder(name).join("away"));
    let doer = match act(scene, &[&deed, &folder, &away]) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "io_uring has no such request here");
            return Ok(());
        }
        doer => doer?,
    };
    ensure!(!folder.exists() && away.exists(), "it was not renamed");
    told_by_and_by(scene, &scene.folder(name), &doer)?;
    let Some(event) = told_of_folder(scene, name, &doer, WAS_RENAMED)? else { return Ok(()) };
    is(&event, "file.path", &folder.display().to_string())
}

fn by_ring(scene: &Scene) -> Result<()> {
    by(scene, BY_RING, "ring-rename", "above")
}

fn by_32_bits(scene: &Scene) -> Result<()> {
    by(scene, BY_32_BITS, "int80-rename", "above")
}

fn own_by_ring(scene: &Scene) -> Result<()> {
    by(scene, OWN_BY_RING, "ring-rename", "above/own")
}

fn own_by_32_bits(scene: &Scene) -> Result<()> {
    by(scene, OWN_BY_32_BITS, "int80-rename", "above/own")
}

/// Whoever did something like it a moment before, which came to nothing.
fn behind_another(scene: &Scene) -> Result<()> {
    let folder = scene.folder(BEHIND_ANOTHER);
    let (above, away) = (folder.join("above"), folder.join("away"));
    let (one, other) = (above.join("one"), above.join("other"));
    fs::create_dir(&one)?;
    let doer = act(scene, &[&"int80-renames", &one, &other, &above, &away])?;
    ensure!(!above.exists() && away.join("other").exists(), "they were not renamed");
    told_by_and_by(scene, &folder, &doer)?;
    let Some(event) = told_of_folder(scene, BEHIND_ANOTHER, &doer, WAS_RENAMED)? else { return Ok(()) };
    is(&event, "file.path", &above.display().to_string())
}

/// What the watch finds gone before it has looked who did it, is told all the same.
fn behind_a_look(scene: &Scene) -> Result<()> {
    let folder = scene.folder(BEHIND_A_LOOK);
    let (above, away) = (folder.join("above"), folder.join("away"));
    let doer = act(scene, &[&"int80-rename", &above, &away])?;
    // What is born in a folder of keys makes it look at once.
    fs::write(away.join("own/born"), BYTES)?;
    ensure!(!above.exists() && away.exists(), "it was not renamed");
    told_by_and_by(scene, &folder, &doer)?;
    let Some(event) = told(scene, BEHIND_A_LOOK, &doer, WAS_RENAMED)? else { return Ok(()) };
    about(&event, &key_in(&folder.join("led")))?;
    ensure!(event.text("file.path").is_some_and(|path| path.ends_with("/above")), "another\n{event}");
    Ok(())
}

/// Whoever did something in a folder did not rename the one above it, by which it is elsewhere too.
fn beside_another(scene: &Scene) -> Result<()> {
    let folder = scene.folder(BESIDE_ANOTHER);
    let (above, away) = (folder.join("above"), folder.join("away"));
    fs::write(above.join("own/harmless"), "")?;
    let beside = act(scene, &[&"int80-rename", &above.join("own/harmless"), &above.join("own/as-harmless")])?;
    let doer = act(scene, &[&"rename", &above, &away])?;
    ensure!(away.join("own/as-harmless").exists(), "they were not renamed");
    told_by_and_by(scene, &folder, &doer)?;
    let told = told_of_folder(scene, BESIDE_ANOTHER, &doer, WAS_RENAMED)?;
    // Beyond the last look at what is in doubt.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        let events = scene.settled(&folder)?.by(beside.pid);
        ensure!(events.is_empty(), "that was another one's deed:\n{events}");
    }
    let Some(event) = told else { return Ok(()) };
    is(&event, "file.path", &above.display().to_string())
}

/// Some write a change of names down at the folder that holds them alone: XFS does.
fn on_file_systems(scene: &Scene) -> Result<()> {
    for kind in Grounds::KINDS {
        let (deep, other) = (scene.grounds.at(kind).join("deep"), scene.grounds.at(kind).join("other-deep"));
        if kind == "xfs" {
            changes_places(scene, "int80-exchange", [&deep, &other], &deep)?;
        }
        changes_places(scene, "exchange", [&deep, &other], &deep)?;
        if kind == "xfs" {
            changes_places(scene, "exchange", [&other, &deep], &deep)?;
            // Longer than what is kept of a path.
            let long = other.with_file_name("./".repeat(300) + "other-deep");
            changes_places(scene, "exchange", [&deep, &long], &deep)?;
            symlink("keys", &other)?;
            changes_places(scene, "exchange", [&other, &deep], &deep)?;
        }
    }
    let own = scene.grounds.at("xfs").join("deep/own");
    let (key, beside) = (own.join("key.private"), own.join("beside"));
    fs::write(&beside, "another key")?;
    let doer = act(scene, &[&"exchange", &key, &beside])?;
    ensure!(fs::read_to_string(&beside)? == BYTES, "they did not change places");
    let events = told_by_and_by(scene, &key, &doer)?;
    let told = told_among(scene, FILE_SYSTEMS, &events, &doer, CHANGED_PLACES)?;
    act(scene, &[&"exchange", &key, &beside])?;
    let Some(event) = told else { return Ok(()) };
    about(&event, &key)?;
    is(&event, "file.type", "file")
}

/// A folder that leads to a key changes places with what is at the other path, or with a folder that is made there; which is told. Then
/// all is put where it was.
fn changes_places(scene: &Scene, deed: &str, paths: [&Path; 2], deep: &Path) -> Result<()> {
    // By its effect, where the end of a call is not seen.
    let wanted = if deed == "exchange" || scene.backend() != "tracepoint" { CHANGED_PLACES } else { WAS_RENAMED };
    let [one, another] = paths;
    let other = if one == deep { another } else { one };
    if other.symlink_metadata().is_err() {
        fs::create_dir(other)?;
    }
    let before = deep.symlink_metadata()?.ino();
    let doer = act(scene, &[&deed, &one, &another])?;
    ensure!(other.symlink_metadata()?.ino() == before, "{deed} {}: they did not change places", one.display());
    let events = told_by_and_by(scene, &deep.join("own"), &doer)?;
    let told = told_among(scene, FILE_SYSTEMS, &events, &doer, wanted);
    if let Some(event) = told.with_context(|| format!("{deed} {}", one.display()))? {
        // The other one leads to a key, too, once it has been looked at.
        let path = event.text("file.path").unwrap_or_default().trim_start_matches('/');
        ensure!([deep, other].iter().any(|one| one.ends_with(path)), "another\n{event}");
    }
    match fs::remove_dir(deep) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => fs::remove_file(deep)?,
        removed => removed?,
    }
    fs::rename(other, deep)?;
    // The watch has looked.
    let key = deep.join("own/key.private");
    becomes_a_key(scene, &key, &key)
}

/// A file of a public name, which was in a folder of keys once, is no cover.
fn with_a_public_file(scene: &Scene) -> Result<()> {
    let folder = scene.folder(PUBLIC);
    let (inside, outside, above) = (scene.whole(PUBLIC).join("e.txt"), folder.join("e.txt"), folder.join("above"));
    fs::write(&inside, "")?;
    fs::rename(&inside, &outside)?;
    let doer = act(scene, &[&"exchange", &outside, &above])?;
    ensure!(above.is_file() && key_in(&outside).exists(), "they did not change places");
    let Some(event) = told_of_folder(scene, PUBLIC, &doer, CHANGED_PLACES)? else { return Ok(()) };
    is(&event, "file.path", &above.display().to_string())
}

/// The folder that a file comes from and the one that it is put in both matter, and one lies in the other.
fn from_below(scene: &Scene) -> Result<()> {
    let above = scene.folder(FROM_BELOW).join("above");
    let (from, to) = (above.join("way/new"), above.join("awaited.private"));
    fs::write(&from, BYTES)?;
    fs::remove_file(&to)?;
    let doer = act(scene, &[&"rename", &from, &to])?;
    ensure!(to.exists() && !from.exists(), "it was not put in place");
    let placed = Told { action: "key-created", deed: "place", limits: &["tamper-names"] };
    let Some(event) = told(scene, FROM_BELOW, &doer, placed)? else { return Ok(()) };
    about(&event, &to)?;
    other_path(&event, &from)
}

/// The root of a file system has no name, and whatever is renamed in it changes it.
fn in_roots(scene: &Scene) -> Result<()> {
    for kind in Grounds::KINDS {
        let root = scene.grounds.at(kind);
        fs::write(root.join("a-file"), "")?;
        fs::create_dir(root.join("a-folder"))?;
        let mut doers = Vec::new();
        for name in ["a-file", "a-folder"] {
            doers.push(act(scene, &[&"rename", &root.join(name), &root.join("renamed")])?);
            doers.push(act(scene, &[&"int80-rename", &root.join("renamed"), &root.join(name)])?);
        }
        fs::remove_file(root.join("a-file"))?;
        fs::remove_dir(root.join("a-folder"))?;
        for key in ["keys", "deep"] {
            let events = scene.settled(&root.join(key))?;
            let told = events.only(|event| doers.iter().any(|doer| event.pid() == Some(doer.pid)));
            ensure!(told.is_empty(), "nothing was done to a key:\n{told}");
        }
    }
    Ok(())
}

/// Ordinary work in the same folders, by each road: of a folder with the name of the one that it lies in, too.
fn beside(scene: &Scene) -> Result<()> {
    let folder = scene.folder(BESIDE);
    let doers = ["rename", "int80-rename", "ring-rename"].into_iter().map(|deed| {
        for (parent, from, to) in
            [("", "other", "others"), ("above", "above", "beside"), ("above/own", "own", "beside")]
        {
            let parent = folder.join(parent);
            fs::create_dir_all(parent.join(from))?;
            match act(scene, &[&deed, &parent.join(from), &parent.join(to)]) {
                Err(error) if is_absent(&error) => {}
                doer => drop(doer?),
            }
            let _ = fs::remove_dir_all(parent.join(to));
        }
        Ok(())
    });
    doers.collect::<Result<()>>()?;
    let found: &OsStr = "above".as_ref();
    ensure!(fs::read_dir(&folder)?.any(|entry| entry.is_ok_and(|entry| entry.file_name() == found)), "it is gone");
    // What is in doubt is looked at a moment later.
    for _ in 0..3 {
        let events = scene.settled(&folder.join("above"))?;
        ensure!(events.is_empty(), "nothing was done to a key:\n{events}");
    }
    Ok(())
}
