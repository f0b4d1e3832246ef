//! Attribution beats disguise.

use std::{fs, process::Command};

use anyhow::{Result, ensure};

use crate::{
    Sentence,
    scene::{NOBODY, SIGNER_UID, Scene, alarms, as_user, counts, is, run, stranger},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_copy_with_the_signers_name_is_a_stranger", copy_named_signer),
    ("a_process_renamed_to_the_signer_is_a_stranger", renamed),
    ("a_process_that_becomes_the_signers_user_is_a_stranger", becomes_user),
    ("the_signers_program_as_another_user_is_no_signer", wrong_user),
    ("a_program_mounted_over_the_signers_path_is_a_stranger", mounted_over),
];

fn copy_named_signer(scene: &Scene) -> Result<()> {
    let name = "a_copy_with_the_signers_name_is_a_stranger";
    let copy = scene.folder(name).join("signer");
    fs::copy(scene.signer(), &copy)?;
    as_user(SIGNER_UID, &copy, &[scene.key(name).as_os_str()])?;
    let event = scene.one(name)?;
    alarms(&event)?;
    is(&event, "process.executable", &copy.display().to_string())
}

fn renamed(scene: &Scene) -> Result<()> {
    let name = "a_process_renamed_to_the_signer_is_a_stranger";
    run(Command::new(stranger()?).args(["--name", "signer"]).arg(scene.key(name)))?;
    let event = scene.one(name)?;
    alarms(&event)?;
    // What it calls itself is shown, and believed by nobody.
    is(&event, "process.name", "signer").or_else(|_| is(&event, "process.name", "stranger"))
}

fn becomes_user(scene: &Scene) -> Result<()> {
    let name = "a_process_that_becomes_the_signers_user_is_a_stranger";
    let uid = SIGNER_UID.to_string();
    run(Command::new(stranger()?).args(["--gid", uid.as_str(), "--uid", uid.as_str()]).arg(scene.key(name)))?;
    let event = scene.one(name)?;
    alarms(&event)?;
    counts(&event, "process.real_user.id", SIGNER_UID)
}

fn wrong_user(scene: &Scene) -> Result<()> {
    let name = "the_signers_program_as_another_user_is_no_signer";
    as_user(NOBODY, scene.signer(), &[scene.key(name).as_os_str()])?;
    let event = scene.one(name)?;
    alarms(&event)?;
    let rule = event.text("rule.id").unwrap_or_default();
    ensure!(rule.starts_with("signer-mismatch/"), "rule.id is {rule}\n{event}");
    Ok(())
}

fn mounted_over(scene: &Scene) -> Result<()> {
    let name = "a_program_mounted_over_the_signers_path_is_a_stranger";
    let other = scene.folder(name).join("other");
    fs::copy(scene.signer(), &other)?;
    let script = "mount --bind \"$0\" \"$1\" && exec setpriv --reuid \"$3\" --clear-groups \"$1\" \"$2\"";
    run(Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([other.as_path(), scene.signer().as_path(), scene.key(name).as_path()])
        .arg(SIGNER_UID.to_string()))?;
    alarms(&scene.one(name)?)
}
