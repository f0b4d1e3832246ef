//! A key is the key on every file system, and nothing else is.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::Event;

use crate::{
    Sentence,
    grounds::overlay,
    loot::{Loot, one_by, stolen, thief},
    scene::{BYTES, NOBODY, PATIENCE, Scene, alarms, counts, is, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_key_on_xfs_is_seen", xfs),
    ("a_key_on_tmpfs_is_seen", tmpfs),
    ("a_key_in_a_loop_mounted_image_is_seen", image),
    ("a_file_system_mounted_twice_has_one_key", twice),
    ("a_key_in_a_btrfs_subvolume_is_seen", subvolume),
    ("keys_of_one_number_in_two_subvolumes_are_both_seen", twins),
    ("another_file_of_the_keys_number_in_another_subvolume_is_silent", same_number),
    ("a_key_in_a_btrfs_snapshot_is_the_key", snapshot),
    ("a_key_read_through_an_overlay_of_its_folder_is_told_once", through_overlay),
    ("a_key_on_an_overlay_is_told_once_before_and_after_it_is_copied_up", copied_up),
    ("a_key_removed_from_an_overlay_and_made_again_is_told_once", whiteout),
    ("a_key_on_an_overlay_that_is_read_in_the_layer_below", below_overlay),
    ("a_key_on_an_overlay_that_is_read_in_the_layer_it_was_copied_up_to", risen),
    ("a_key_on_an_overlay_that_is_read_by_another_overlay_of_its_layer", other_overlay),
    ("a_key_on_a_file_system_mounted_after_the_start_is_seen", fresh_mount),
    ("a_key_below_a_file_system_mounted_after_the_start_stays_seen", below_mount),
];

/// A stranger's `openat` of a path, as nobody.
fn by_nobody(scene: &Scene, path: &Path) -> Result<Loot> {
    stolen(thief(scene).arg("openat").arg(path).uid(NOBODY).gid(NOBODY))
}

/// The one event by this reader about a key.
fn told(scene: &Scene, key: &Path, loot: &Loot) -> Result<Event> {
    let events = scene.settled(key)?;
    let event = one_by(&events, loot)?;
    alarms(&event)?;
    counts(&event, "user.id", NOBODY)?;
    is(&event, "process.executable", &scene.thief().display().to_string())?;
    Ok(event)
}

fn plainly(scene: &Scene, key: &Path) -> Result<()> {
    let loot = by_nobody(scene, key)?;
    is(&told(scene, key, &loot)?, "file.path", &key.display().to_string())
}

fn xfs(scene: &Scene) -> Result<()> {
    plainly(scene, &scene.grounds.at("xfs").join("keys/key.private"))
}

fn tmpfs(scene: &Scene) -> Result<()> {
    plainly(scene, &scene.grounds.at("tmpfs").join("keys/key.private"))
}

fn image(scene: &Scene) -> Result<()> {
    plainly(scene, &scene.grounds.at("ext4").join("keys/key.private"))
}

fn twice(scene: &Scene) -> Result<()> {
    let name = "a_file_system_mounted_twice_has_one_key";
    let again = scene.folder(name).join("again");
    fs::create_dir(&again)?;
    run(Command::new("mount").arg(device_of(&scene.grounds.at("ext4"))?).arg(&again))?;
    let loot = by_nobody(scene, &again.join("keys/key.private"));
    run(Command::new("umount").arg("--lazy").arg(&again))?;
    let event = told(scene, &scene.grounds.at("ext4").join("keys/key.private"), &loot?)?;
    is(&event, "file.path", &again.join("keys/key.private").display().to_string())
}

/// The device that is mounted there (proc(5), `mountinfo`).
fn device_of(at: &Path) -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let place = format!(" {} ", at.display());
    let line = table.lines().find(|line| line.contains(&place));
    let source = line.and_then(|line| line.split(" - ").nth(1)).and_then(|rest| rest.split(' ').nth(1));
    source.map(PathBuf::from).with_context(|| format!("nothing is mounted at {place}"))
}

fn subvolume(scene: &Scene) -> Result<()> {
    plainly(scene, &scene.grounds.at("btrfs").join("keys/key.private"))
}

/// Two files of one inode number in two subvolumes.
fn ensure_same_number(one: &Path, other: &Path) -> Result<()> {
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    ensure!(one.ino() == other.ino() && one.dev() != other.dev(), "not what this is about: {one:?} {other:?}");
    Ok(())
}

fn twins(scene: &Scene) -> Result<()> {
    let keys = ["keys", "twin"].map(|subvolume| scene.grounds.at("btrfs").join(subvolume).join("key.private"));
    let [one, other] = &keys;
    ensure_same_number(one, other)?;
    keys.iter().try_for_each(|key| plainly(scene, key))
}

fn same_number(scene: &Scene) -> Result<()> {
    let btrfs = scene.grounds.at("btrfs");
    let (plain, key) = (btrfs.join("other/plain"), btrfs.join("keys/key.private"));
    ensure_same_number(&plain, &key)?;
    let loot = by_nobody(scene, &plain)?;
    scene.settled(&btrfs)?;
    // About whatever file.
    let events = scene.watch.accesses_by(loot.pid);
    ensure!(events.is_empty(), "no key was read:\n{events}");
    // And the key of that number is watched still.
    plainly(scene, &key)
}

fn snapshot(scene: &Scene) -> Result<()> {
    let btrfs = scene.grounds.at("btrfs");
    let copy = btrfs.join("snapshot");
    run(Command::new("btrfs").args(["-q", "subvolume", "snapshot", "-r"]).arg(btrfs.join("keys")).arg(&copy))?;
    let loot = by_nobody(scene, &copy.join("key.private"))?;
    let event = told(scene, &btrfs.join("keys/key.private"), &loot)?;
    is(&event, "file.path", &copy.join("key.private").display().to_string())
}

fn through_overlay(scene: &Scene) -> Result<()> {
    let name = "a_key_read_through_an_overlay_of_its_folder_is_told_once";
    let folder = scene.folder(name);
    for part in ["upper", "work", "merged"] {
        fs::create_dir(folder.join(part))?;
    }
    let (lower, merged) = (scene.grounds.at("plain"), folder.join("merged"));
    run(&mut overlay(&lower, (&folder.join("upper"), &folder.join("work")), &merged))?;
    let loot = by_nobody(scene, &merged.join("keys/key.private"));
    run(Command::new("umount").arg("--lazy").arg(&merged))?;
    let loot = loot?;
    let events = scene.settled(&lower)?;
    if events.is_empty() && scene.unseen("data-without-open") {
        scene.limited(name, "data-without-open");
        return Ok(());
    }
    events.exactly(1, "one access")?;
    let event = one_by(&events, &loot)?;
    alarms(&event)?;
    // The reader's own, and not that of whoever mounted it.
    counts(&event, "user.id", NOBODY)
}

fn copied_up(scene: &Scene) -> Result<()> {
    let key = scene.grounds.layer("merged").join("keys/copied.private");
    let lower = by_nobody(scene, &key)?;
    // An open for writing copies the file up; the key is then another one below, and the same one here.
    let writer = run(Command::new("sh").args(["-c", ": >> \"$0\""]).arg(&key))?;
    let upper = by_nobody(scene, &key)?;
    let events = scene.settled(&key)?;
    one_by(&events, &lower)?;
    one_by(&events, &upper)?;
    events.by(writer).one("by the writer")?;
    events.exactly(3, "two readers, one writer")?;
    Ok(())
}

fn whiteout(scene: &Scene) -> Result<()> {
    let key = scene.grounds.layer("merged").join("keys/key.private");
    let before = by_nobody(scene, &key)?;
    fs::remove_file(&key)?;
    fs::write(&key, BYTES)?;
    let after = by_nobody(scene, &key)?;
    let events = scene.settled(&key)?;
    one_by(&events, &before)?;
    one_by(&events, &after)?;
    let made = events.by(std::process::id());
    ensure!(made.iter().any(|event| event.action() == "key-created"), "its making:\n{events}");
    let opened = events.only(|event| ["key-opened", "key-read"].contains(&event.action()));
    opened.exactly(2, "two readers")?;
    Ok(())
}

/// Around the overlay, as root reads the key of a container's image: it is the overlay's key, by another path.
fn below_overlay(scene: &Scene) -> Result<()> {
    let key = Path::new("keys/below.private");
    in_layer(scene, key, &scene.grounds.layer("lower").join(key))
}

fn in_layer(scene: &Scene, key: &Path, at: &Path) -> Result<()> {
    let loot = by_nobody(scene, at)?;
    let event = told(scene, &scene.grounds.layer("merged").join(key), &loot)?;
    is(&event, "file.path", &at.display().to_string())
}

/// Its data lies elsewhere from then on; the old ones stay where they were.
fn risen(scene: &Scene) -> Result<()> {
    let key = Path::new("keys/risen.private");
    let [lower, upper, merged] = ["lower", "upper", "merged"].map(|layer| scene.grounds.layer(layer).join(key));
    run(Command::new("sh").args(["-c", ": >> \"$0\""]).arg(&merged))?;
    in_layer(scene, key, &lower)?;
    ensure!(scene.unseen("fresh-layer"), "a limit that was not named");
    until(|| {
        let loot = by_nobody(scene, &upper)?;
        Ok(!scene.settled(&merged)?.by(loot.pid).is_empty())
    })?;
    in_layer(scene, key, &upper)
}

/// The thief's own: no path leads to the key but through it.
fn other_overlay(scene: &Scene) -> Result<()> {
    let name = "a_key_on_an_overlay_that_is_read_by_another_overlay_of_its_layer";
    let folder = scene.folder(name);
    for part in ["upper", "work", "merged"] {
        fs::create_dir(folder.join(part))?;
    }
    let (lower, merged) = (scene.grounds.layer("lower"), folder.join("merged"));
    run(&mut overlay(&lower, (&folder.join("upper"), &folder.join("work")), &merged))?;
    let loot = by_nobody(scene, &merged.join("keys/below.private"));
    run(Command::new("umount").arg("--lazy").arg(&merged))?;
    let loot = loot?;
    let events = scene.settled(&scene.grounds.layer("merged").join("keys/below.private"))?.by(loot.pid);
    if events.is_empty() && scene.unseen("data-without-open") {
        scene.limited(name, "data-without-open");
        return Ok(());
    }
    let event = one_by(&events, &loot)?;
    alarms(&event)?;
    counts(&event, "user.id", NOBODY)
}

fn fresh_mount(scene: &Scene) -> Result<()> {
    let name = "a_key_on_a_file_system_mounted_after_the_start_is_seen";
    let at = scene.whole(name);
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at))?;
    let key = at.join("new.private");
    let seen = fs::write(&key, BYTES).map_err(Into::into).and_then(|()| until_seen(scene, &key));
    run(Command::new("umount").arg("--lazy").arg(&at))?;
    seen
}

/// The limit that every watch names: it takes a moment until a mount is noticed. From then on each reader is seen, once.
fn until_seen(scene: &Scene, key: &Path) -> Result<()> {
    ensure!(scene.unseen("fresh-mount"), "a limit that was not named");
    until(|| {
        let loot = by_nobody(scene, key)?;
        Ok(!scene.settled(key)?.by(loot.pid).is_empty())
    })?;
    plainly(scene, key)
}

/// Waits for what is noticed in time.
fn until(noticed: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !noticed()? {
        ensure!(Instant::now() < deadline, "it was never noticed");
        #[expect(
            clippy::disallowed_methods,
            reason = "a pause between two looks, with a deadline: nothing tells the reader"
        )]
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn below_mount(scene: &Scene) -> Result<()> {
    let name = "a_key_below_a_file_system_mounted_after_the_start_stays_seen";
    let (folder, key) = (scene.whole(name), scene.whole(name).join("new.private"));
    fs::write(&key, BYTES)?;
    // A way to it that the mount does not cover.
    let aside = scene.folder(name).join("aside");
    fs::create_dir(&aside)?;
    run(Command::new("mount").arg("--bind").arg(&folder).arg(&aside))?;
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&folder))?;
    let loot = by_nobody(scene, &aside.join("new.private"));
    run(Command::new("umount").arg("--lazy").arg(&folder))?;
    run(Command::new("umount").arg("--lazy").arg(&aside))?;
    let events = scene.settled(&scene.folder(name))?;
    alarms(&one_by(&events, &loot?)?)
}
