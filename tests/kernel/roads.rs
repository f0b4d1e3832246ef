//! Roads to a key other than opening its path: each leads to the bytes, and to one alert about whoever took it.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Sentence,
    loot::{Loot, blamed, one_by, stolen, thief},
    scene::{NOBODY, SIGNER_UID, Scene, alarms, counts, is, is_open},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("the_oldest_open_is_an_open", oldest_open),
    ("an_open_that_would_create_the_key_is_an_open", creating),
    ("openat2_beneath_a_folder_is_an_open", beneath),
    ("openat2_in_a_root_is_an_open", in_root),
    ("a_folder_held_over_a_chroot_leads_to_the_key", held_folder),
    ("a_hard_link_made_after_the_start_is_the_key", later_link),
    ("a_file_handle_leads_to_the_key_without_a_path", handle),
    ("a_32_bit_system_call_is_an_access", compat),
    ("a_mount_attached_nowhere_leads_to_the_key", detached_mount),
    ("an_idmapped_mount_shows_the_key_to_another_user", idmapped_mount),
    ("a_pivoted_root_leads_to_the_key", pivoted_root),
    ("an_ordinary_users_own_mount_leads_to_the_key", user_namespace),
    ("another_processs_root_leads_to_the_key", proc_root),
    ("another_processs_descriptor_leads_to_the_key", proc_fd),
    ("another_processs_mapping_leads_to_the_key", map_files),
    ("a_descriptor_that_fanotify_hands_out_is_an_access", fanotify),
];

/// A road with the key's path as its one argument.
fn by_path(scene: &Scene, name: &str, road: &str) -> Result<()> {
    let loot = stolen(thief(scene).arg(road).arg(scene.key(name)))?;
    is_open(&blamed(scene, name, &loot)?)
}

/// A road with the key's folder and its name there.
fn by_folder(scene: &Scene, name: &str, road: &str, more: &[&OsStr]) -> Result<()> {
    let loot = stolen(thief(scene).arg(road).arg(scene.folder(name)).arg("key.private").args(more))?;
    is_open(&blamed(scene, name, &loot)?)
}

fn oldest_open(scene: &Scene) -> Result<()> {
    by_path(scene, "the_oldest_open_is_an_open", "open")
}

fn creating(scene: &Scene) -> Result<()> {
    by_folder(scene, "an_open_that_would_create_the_key_is_an_open", "creating", &[])
}

fn beneath(scene: &Scene) -> Result<()> {
    by_folder(scene, "openat2_beneath_a_folder_is_an_open", "beneath", &[])
}

fn in_root(scene: &Scene) -> Result<()> {
    by_folder(scene, "openat2_in_a_root_is_an_open", "in-root", &[])
}

fn held_folder(scene: &Scene) -> Result<()> {
    let name = "a_folder_held_over_a_chroot_leads_to_the_key";
    by_folder(scene, name, "held-folder", &[scene.whole(name).as_os_str()])
}

fn later_link(scene: &Scene) -> Result<()> {
    let name = "a_hard_link_made_after_the_start_is_the_key";
    let link = scene.folder(name).join("elsewhere");
    fs::hard_link(scene.key(name), &link)?;
    fs::remove_file(scene.key(name))?;
    let loot = stolen(thief(scene).arg("openat").arg(&link))?;
    is(&blamed(scene, name, &loot)?, "file.path", &link.display().to_string())
}

fn handle(scene: &Scene) -> Result<()> {
    by_path(scene, "a_file_handle_leads_to_the_key_without_a_path", "handle")
}

fn compat(scene: &Scene) -> Result<()> {
    let name = "a_32_bit_system_call_is_an_access";
    let loot = stolen(thief(scene).arg("int80").arg(scene.key(name)))?;
    let events = scene.settled(&scene.key(name))?;
    if events.is_empty() && scene.unseen("data-without-open") {
        scene.limited(name, "data-without-open");
        return Ok(());
    }
    events.exactly(1, "one access")?;
    alarms(&one_by(&events, &loot)?)
}

fn detached_mount(scene: &Scene) -> Result<()> {
    by_folder(scene, "a_mount_attached_nowhere_leads_to_the_key", "detached-mount", &[])
}

fn idmapped_mount(scene: &Scene) -> Result<()> {
    let name = "an_idmapped_mount_shows_the_key_to_another_user";
    // Nobody but root may read it, by the bits on disk.
    fs::set_permissions(scene.key(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let uid = NOBODY.to_string();
    let mut road = thief(scene);
    road.arg("idmapped-mount").arg(scene.folder(name)).args(["key.private", uid.as_str()]);
    let loot = match stolen(&mut road) {
        Err(error) if format!("{error:#}").contains("mount_setattr: system call 442: Function not implemented") => {
            scene.absent(name, "no mount_setattr (5.12)");
            return Ok(());
        }
        other => other?,
    };
    let event = blamed(scene, name, &loot)?;
    counts(&event, "user.id", NOBODY)?;
    counts(&event, "process.real_user.id", NOBODY)
}

fn pivoted_root(scene: &Scene) -> Result<()> {
    by_folder(scene, "a_pivoted_root_leads_to_the_key", "pivot-root", &[])
}

fn user_namespace(scene: &Scene) -> Result<()> {
    let name = "an_ordinary_users_own_mount_leads_to_the_key";
    let folder = scene.folder(name);
    fs::write(folder.join("target"), "")?;
    let mut road = thief(scene);
    let loot = stolen(road.arg("user-namespace").arg(scene.key(name)).arg(&folder).uid(NOBODY).gid(NOBODY))?;
    let event = blamed(scene, name, &loot)?;
    // Root over there, and nobody here.
    counts(&event, "user.id", NOBODY)?;
    is(&event, "file.path", &folder.join("target").display().to_string())
}

fn proc_root(scene: &Scene) -> Result<()> {
    by_folder(scene, "another_processs_root_leads_to_the_key", "through-proc-root", &[])
}

fn proc_fd(scene: &Scene) -> Result<()> {
    by_path(scene, "another_processs_descriptor_leads_to_the_key", "through-proc-fd")
}

fn map_files(scene: &Scene) -> Result<()> {
    let name = "another_processs_mapping_leads_to_the_key";
    let key = scene.key(name);
    let mut holder = thief(scene).arg("hold-map").arg(&key).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("its output")?).read_line(&mut line)?;
    let loot = stolen(thief(scene).args(["through-map-files", &holder.id().to_string()]).arg(&key));
    drop(holder.stdin.take());
    ensure!(holder.wait()?.success() && !line.is_empty(), "the holder failed");
    let events = scene.settled(&key)?;
    events.by(holder.id()).one("the holder's open")?;
    alarms(&one_by(&events, &loot?)?)?;
    events.exactly(2, "the holder, the thief, and nobody else")?;
    Ok(())
}

fn fanotify(scene: &Scene) -> Result<()> {
    let name = "a_descriptor_that_fanotify_hands_out_is_an_access";
    let key = scene.key(name);
    let uid = SIGNER_UID.to_string();
    let loot: Loot = stolen(thief(scene).arg("fanotify").arg(&key).arg(scene.signer()).arg(&uid))?;
    let events = scene.settled(&key)?;
    let expected = events.only(|event| event.verdict() == "expected");
    expected.exactly(1, "the signer's own open")?;
    let by_thief = events.by(loot.pid);
    if by_thief.is_empty() && scene.unseen("data-without-open") {
        scene.limited(name, "data-without-open");
    } else {
        alarms(&one_by(&events, &loot)?)?;
    }
    events.exactly(1 + by_thief.len(), "the signer, the thief, and nobody else")?;
    Ok(())
}
