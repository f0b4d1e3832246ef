//! A key's contents and attributes are changed.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::Event;

use super::{Told, about, act, act_on, is_absent, told, told_among, told_in_vain, try_in_vain};
use crate::{
    Sentence,
    grounds::Grounds,
    scene::{BYTES, NOBODY, Scene, is, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_key_that_is_truncated_by_its_path", truncated),
    ("a_key_that_is_truncated_through_anothers_descriptor", ftruncated),
    ("a_key_that_is_truncated_through_io_uring", ring_ftruncated),
    ("a_hole_punched_in_a_key_through_anothers_descriptor", punched),
    ("a_hole_punched_in_a_key_through_io_uring", ring_punched),
    ("a_writer_that_also_truncates_is_told_once", overwritten),
    ("a_key_that_cp_overwrites_is_told_once", by_cp),
    ("a_key_whose_mode_changes", mode),
    ("a_key_whose_mode_changes_through_a_descriptor", mode_by_descriptor),
    ("a_key_whose_mode_changes_by_fchmodat2", mode_by_fchmodat2),
    ("a_key_that_changes_hands", owner),
    ("a_key_that_changes_hands_through_a_descriptor", owner_by_descriptor),
    ("a_key_whose_time_stamps_are_set", times),
    ("a_key_that_gets_an_extended_attribute", xattr),
    ("a_key_that_gets_an_extended_attribute_through_a_descriptor", xattr_by_descriptor),
    ("a_key_that_gets_an_extended_attribute_through_io_uring", ring_xattr),
    ("a_key_that_loses_an_extended_attribute", no_xattr),
    ("a_key_that_gets_an_access_list", acl),
    ("a_key_that_loses_its_access_list", no_acl),
    ("a_key_that_is_made_immutable", immutable),
    ("a_key_that_is_made_append_only", append_only),
    ("a_folder_of_keys_whose_mode_changes", folder_mode),
    ("a_folder_of_keys_that_changes_hands", folder_owner),
    ("a_folder_of_keys_that_gets_an_access_list", folder_acl),
    ("the_folder_of_a_key_whose_mode_changes", nest_mode),
    ("a_key_in_an_overlay_whose_mode_changes", overlay_mode),
    ("a_key_in_an_overlay_with_a_former_keys_number_in_the_layer_whose_mode_changes", overlay_reborn),
    ("keys_on_other_file_systems_whose_mode_changes", other_file_systems),
    ("a_change_of_mode_that_is_refused", mode_refused),
    ("a_change_of_hands_that_is_refused", owner_refused),
    ("a_truncation_that_is_refused", truncation_refused),
];

const LIMITS: &[&str] = &["tamper-attributes"];
const SIZE: Told = Told { action: "key-modified", deed: "size", limits: LIMITS };
const WRITTEN: Told =
    Told { action: "key-modified", deed: "write", limits: &["inherited-descriptor", "data-without-open"] };
const MODE: Told = Told { action: "key-permissions-changed", deed: "mode", limits: LIMITS };
const OWNER: Told = Told { action: "key-permissions-changed", deed: "owner", limits: LIMITS };
const TIMES: Told = Told { action: "key-attributes-changed", deed: "times", limits: LIMITS };
const XATTR: Told = Told { action: "key-attributes-changed", deed: "xattr", limits: &["tamper-xattr"] };
const ACL: Told = Told { action: "key-permissions-changed", deed: "acl", limits: &["tamper-acl"] };
const FLAGS: Told = Told { action: "key-attributes-changed", deed: "flags", limits: &["inode-flags"] };

/// What was, and what is.
fn changed(event: &Event, what: &str, before: &str, after: &str) -> Result<()> {
    let shown = |when: &str| {
        let field = event.field(&format!("dkimwatch.change.{when}.{what}")).cloned().unwrap_or_default();
        field.as_str().map_or_else(|| field.to_string(), str::to_owned)
    };
    let shown = (shown("before"), shown("after"));
    ensure!(shown == (before.to_owned(), after.to_owned()), "{what}: {shown:?}, not {before} and {after}\n{event}");
    Ok(())
}

fn truncated(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_truncated_by_its_path";
    let key = scene.key(name);
    let doer = act(scene, &[&"truncate", &key, &"4"])?;
    ensure!(fs::metadata(&key)?.len() == 4, "it was not cut");
    let Some(event) = told(scene, name, &doer, SIZE)? else { return Ok(()) };
    about(&event, &key)?;
    changed(&event, "size", &BYTES.len().to_string(), "4")
}

/// The key, opened for writing by the sentence.
fn for_writing(scene: &Scene, name: &str) -> Result<fs::File> {
    fs::OpenOptions::new().write(true).open(scene.key(name)).context("open")
}

fn ftruncated(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_truncated_through_anothers_descriptor";
    let doer = act_on(scene, for_writing(scene, name)?, &[&"ftruncate", &"4"])?;
    ensure!(fs::metadata(scene.key(name))?.len() == 4, "it was not cut");
    let Some(event) = told(scene, name, &doer, SIZE)? else { return Ok(()) };
    changed(&event, "size", &BYTES.len().to_string(), "4")
}

fn ring_ftruncated(scene: &Scene) -> Result<()> {
    let name = "a_key_that_is_truncated_through_io_uring";
    let doer = match act_on(scene, for_writing(scene, name)?, &[&"ring-ftruncate", &"4"]) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "io_uring has no such request here (6.9)");
            return Ok(());
        }
        doer => doer?,
    };
    ensure!(fs::metadata(scene.key(name))?.len() == 4, "it was not cut");
    told(scene, name, &doer, SIZE).map(drop)
}

fn punched_by(scene: &Scene, name: &'static str, how: &str) -> Result<()> {
    let doer = match act_on(scene, for_writing(scene, name)?, &[&how]) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "io_uring has no such request here");
            return Ok(());
        }
        doer => doer?,
    };
    let events = scene.settled(&scene.folder(name))?;
    ensure!(fs::read(scene.key(name))?.starts_with(&[0; 8]), "there is no hole");
    told_among(scene, name, &events, &doer, WRITTEN).map(drop)
}

fn punched(scene: &Scene) -> Result<()> {
    punched_by(scene, "a_hole_punched_in_a_key_through_anothers_descriptor", "punch")
}

fn ring_punched(scene: &Scene) -> Result<()> {
    punched_by(scene, "a_hole_punched_in_a_key_through_io_uring", "ring-punch")
}

fn overwritten(scene: &Scene) -> Result<()> {
    let name = "a_writer_that_also_truncates_is_told_once";
    let doer = act(scene, &[&"overwrite", &scene.key(name)])?;
    let events = scene.settled(&scene.folder(name))?;
    ensure!(fs::metadata(scene.key(name))?.len() == 19, "it was not written");
    let event = events.by(doer.pid).one("the writer")?.clone();
    is(&event, "event.action", "key-modified")
}

fn by_cp(scene: &Scene) -> Result<()> {
    let name = "a_key_that_cp_overwrites_is_told_once";
    let (key, new) = (scene.key(name), scene.folder(name).join("new"));
    fs::write(&new, "another key")?;
    let pid = run(Command::new("cp").args([&new, &key]))?;
    let events = scene.settled(&scene.folder(name))?;
    ensure!(fs::read_to_string(&key)? == "another key", "it was not overwritten");
    is(events.by(pid).one("by cp")?, "event.action", "key-modified")
}

fn mode(scene: &Scene) -> Result<()> {
    let name = "a_key_whose_mode_changes";
    let key = scene.key(name);
    let doer = act(scene, &[&"chmod", &key, &"666"])?;
    ensure!(fs::metadata(&key)?.mode() & 0o7777 == 0o666, "the mode did not change");
    let Some(event) = told(scene, name, &doer, MODE)? else { return Ok(()) };
    about(&event, &key)?;
    changed(&event, "mode", "0644", "0666")
}

/// The key, opened for reading by the sentence.
fn for_reading(scene: &Scene, name: &str) -> Result<fs::File> {
    fs::File::open(scene.key(name)).context("open")
}

fn mode_by_descriptor(scene: &Scene) -> Result<()> {
    let name = "a_key_whose_mode_changes_through_a_descriptor";
    let doer = act_on(scene, for_reading(scene, name)?, &[&"fchmod", &"666"])?;
    ensure!(fs::metadata(scene.key(name))?.mode() & 0o7777 == 0o666, "the mode did not change");
    let Some(event) = told(scene, name, &doer, MODE)? else { return Ok(()) };
    changed(&event, "mode", "0644", "0666")
}

fn mode_by_fchmodat2(scene: &Scene) -> Result<()> {
    let name = "a_key_whose_mode_changes_by_fchmodat2";
    let doer = match act(scene, &[&"fchmodat2", &scene.key(name), &"666"]) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "no fchmodat2 (6.6)");
            return Ok(());
        }
        doer => doer?,
    };
    let Some(event) = told(scene, name, &doer, MODE)? else { return Ok(()) };
    changed(&event, "mode", "0644", "0666")
}

fn owner(scene: &Scene) -> Result<()> {
    let name = "a_key_that_changes_hands";
    let key = scene.key(name);
    let doer = act(scene, &[&"chown", &key, &NOBODY.to_string()])?;
    ensure!(fs::metadata(&key)?.uid() == NOBODY, "the owner did not change");
    let Some(event) = told(scene, name, &doer, OWNER)? else { return Ok(()) };
    changed(&event, "uid", "0", &NOBODY.to_string())
}

fn owner_by_descriptor(scene: &Scene) -> Result<()> {
    let name = "a_key_that_changes_hands_through_a_descriptor";
    let doer = act_on(scene, for_reading(scene, name)?, &[&"fchown", &NOBODY.to_string()])?;
    ensure!(fs::metadata(scene.key(name))?.uid() == NOBODY, "the owner did not change");
    let Some(event) = told(scene, name, &doer, OWNER)? else { return Ok(()) };
    changed(&event, "uid", "0", &NOBODY.to_string())
}

fn times(scene: &Scene) -> Result<()> {
    let name = "a_key_whose_time_stamps_are_set";
    let key = scene.key(name);
    let doer = act(scene, &[&"times", &key])?;
    ensure!(fs::metadata(&key)?.mtime() == 1_000_000_000, "they were not set");
    told(scene, name, &doer, TIMES).map(drop)
}

/// `user.*` attributes need a file system with them.
const ATTRIBUTE: &str = "trusted.dkimwatch";

fn xattr(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_an_extended_attribute";
    let doer = act(scene, &[&"xattr", &scene.key(name), &ATTRIBUTE, &"value"])?;
    let Some(event) = told(scene, name, &doer, XATTR)? else { return Ok(()) };
    is(&event, "dkimwatch.attribute", ATTRIBUTE)
}

fn xattr_by_descriptor(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_an_extended_attribute_through_a_descriptor";
    let doer = act_on(scene, for_reading(scene, name)?, &[&"fxattr", &ATTRIBUTE, &"value"])?;
    let Some(event) = told(scene, name, &doer, XATTR)? else { return Ok(()) };
    is(&event, "dkimwatch.attribute", ATTRIBUTE)
}

fn ring_xattr(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_an_extended_attribute_through_io_uring";
    match act(scene, &[&"ring-xattr", &scene.key(name), &ATTRIBUTE, &"value"]) {
        Err(error) if is_absent(&error) => {
            scene.absent(name, "io_uring has no such request here (5.19)");
            Ok(())
        }
        doer => told(scene, name, &doer?, XATTR).map(drop),
    }
}

fn no_xattr(scene: &Scene) -> Result<()> {
    let name = "a_key_that_loses_an_extended_attribute";
    let key = scene.key(name);
    rustix::fs::setxattr(&key, ATTRIBUTE, b"value", rustix::fs::XattrFlags::empty())?;
    let doer = act(scene, &[&"no-xattr", &key, &ATTRIBUTE])?;
    let Some(event) = told(scene, name, &doer, XATTR)? else { return Ok(()) };
    is(&event, "dkimwatch.attribute", ATTRIBUTE)
}

fn acl(scene: &Scene) -> Result<()> {
    let name = "a_key_that_gets_an_access_list";
    let key = scene.key(name);
    let doer = act(scene, &[&"acl", &key, &NOBODY.to_string()])?;
    // The mask is where the group's bits were.
    ensure!(fs::metadata(&key)?.mode() & 0o7777 == 0o640, "no access list");
    let Some(event) = told(scene, name, &doer, ACL)? else { return Ok(()) };
    is(&event, "dkimwatch.attribute", "system.posix_acl_access")?;
    changed(&event, "mode", "0644", "0640")
}

fn no_acl(scene: &Scene) -> Result<()> {
    let name = "a_key_that_loses_its_access_list";
    let key = scene.key(name);
    run(Command::new(scene.backup()).args(["do", "acl"]).arg(&key).arg(NOBODY.to_string()))?;
    let doer = act(scene, &[&"no-acl", &key])?;
    let events = scene.settled(&scene.folder(name))?.by(doer.pid);
    let Some(event) = told_among(scene, name, &events, &doer, ACL)? else { return Ok(()) };
    is(&event, "dkimwatch.attribute", "system.posix_acl_access")
}

fn flags(scene: &Scene, name: &'static str, how: &str, flag: &str) -> Result<()> {
    let key = scene.key(name);
    let acted = act_on(scene, for_reading(scene, name)?, &[&how]);
    run(Command::new("chattr").arg("-ia").arg(&key))?;
    let doer = match acted {
        Err(error) if format!("{error:#}").contains("not supported") => {
            scene.absent(name, "a file system without such flags");
            return Ok(());
        }
        doer => doer?,
    };
    let events = scene.settled(&scene.folder(name))?.by(doer.pid);
    let Some(event) = told_among(scene, name, &events, &doer, FLAGS)? else { return Ok(()) };
    if event.field("dkimwatch.change.after.flags").is_some() {
        changed(&event, "flags", "0x0", flag)?;
    }
    Ok(())
}

fn immutable(scene: &Scene) -> Result<()> {
    // `S_IMMUTABLE` and `S_APPEND` of the kernel's own.
    flags(scene, "a_key_that_is_made_immutable", "immutable", "0x8")
}

fn append_only(scene: &Scene) -> Result<()> {
    flags(scene, "a_key_that_is_made_append_only", "extended-flags", "0x4")
}

/// About the folder, not a key in it.
fn of_folder(event: &Event) -> Result<()> {
    ensure!(event.field("dkimwatch.folder_changed") == Some(&true.into()), "not the folder's\n{event}");
    Ok(())
}

fn folder_mode(scene: &Scene) -> Result<()> {
    let name = "a_folder_of_keys_whose_mode_changes";
    let doer = act(scene, &[&"chmod", &scene.whole(name), &"777"])?;
    let Some(event) = told(scene, name, &doer, MODE)? else { return Ok(()) };
    of_folder(&event)?;
    changed(&event, "mode", "0755", "0777")
}

fn folder_owner(scene: &Scene) -> Result<()> {
    let name = "a_folder_of_keys_that_changes_hands";
    let doer = act(scene, &[&"chown", &scene.whole(name), &NOBODY.to_string()])?;
    let Some(event) = told(scene, name, &doer, OWNER)? else { return Ok(()) };
    of_folder(&event)?;
    changed(&event, "uid", "0", &NOBODY.to_string())
}

fn folder_acl(scene: &Scene) -> Result<()> {
    let name = "a_folder_of_keys_that_gets_an_access_list";
    let doer = act(scene, &[&"acl", &scene.whole(name), &NOBODY.to_string()])?;
    let Some(event) = told(scene, name, &doer, ACL)? else { return Ok(()) };
    of_folder(&event)
}

fn nest_mode(scene: &Scene) -> Result<()> {
    let name = "the_folder_of_a_key_whose_mode_changes";
    let doer = act(scene, &[&"chmod", &scene.folder(name), &"777"])?;
    let Some(event) = told(scene, name, &doer, MODE)? else { return Ok(()) };
    of_folder(&event)?;
    changed(&event, "mode", "0755", "0777")
}

fn overlay_mode(scene: &Scene) -> Result<()> {
    let name = "a_key_in_an_overlay_whose_mode_changes";
    let key = scene.grounds.layer("merged").join("keys").join(name);
    fs::write(&key, BYTES)?;
    let doer = act(scene, &[&"chmod", &key, &"666"])?;
    let events = scene.settled(&key)?;
    told_among(scene, name, &events, &doer, MODE).map(drop)
}

/// The file in the layer, which is changed with it, has the number of a key that is no more.
fn overlay_reborn(scene: &Scene) -> Result<()> {
    let name = "a_key_in_an_overlay_with_a_former_keys_number_in_the_layer_whose_mode_changes";
    for number in 0..16 {
        let former = scene.whole(name).join("former");
        fs::write(&former, BYTES)?;
        let inode = fs::metadata(&former)?.ino();
        fs::remove_file(&former)?;
        let file = format!("keys/reborn-{number}");
        let key = scene.grounds.layer("merged").join(&file);
        fs::write(&key, BYTES)?;
        if fs::metadata(scene.grounds.layer("upper").join(&file))?.ino() == inode {
            let doer = act(scene, &[&"chmod", &key, &"666"])?;
            let events = scene.settled(&key)?;
            return told_among(scene, name, &events, &doer, MODE).map(drop);
        }
    }
    scene.absent(name, "a file system that does not use an inode number again at once");
    Ok(())
}

fn other_file_systems(scene: &Scene) -> Result<()> {
    let name = "keys_on_other_file_systems_whose_mode_changes";
    for kind in Grounds::KINDS {
        let key = scene.grounds.at(kind).join("keys/key.private");
        let doer = act(scene, &[&"chmod", &key, &"666"])?;
        let events = scene.settled(&key)?.by(doer.pid);
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        if let Some(event) = told_among(scene, name, &events, &doer, MODE)? {
            changed(&event, "mode", "0644", "0666")?;
        }
    }
    Ok(())
}

fn mode_refused(scene: &Scene) -> Result<()> {
    let name = "a_change_of_mode_that_is_refused";
    let doer = try_in_vain(scene, &[&"chmod", &scene.key(name), &"666"])?;
    told_in_vain(scene, name, &doer, MODE, "EPERM")
}

fn owner_refused(scene: &Scene) -> Result<()> {
    let name = "a_change_of_hands_that_is_refused";
    let doer = try_in_vain(scene, &[&"chown", &scene.key(name), &NOBODY.to_string()])?;
    told_in_vain(scene, name, &doer, OWNER, "EPERM")
}

/// Refused before the file system is asked (`vfs_truncate()`, the inode's permission).
fn truncation_refused(scene: &Scene) -> Result<()> {
    let name = "a_truncation_that_is_refused";
    let key = scene.key(name);
    let doer = try_in_vain(scene, &[&"truncate", &key, &"4"])?;
    ensure!(fs::metadata(&key)?.len() == BYTES.len() as u64, "it was cut");
    told_in_vain(scene, name, &doer, Told { limits: &["tamper-truncation"], ..SIZE }, "EACCES")
}
