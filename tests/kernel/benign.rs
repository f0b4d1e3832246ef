//! What is no access stays silent.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    Sentence,
    scene::{NOBODY, Scene, as_user, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("listing_and_asking_about_a_key_is_silent", listing),
    ("the_public_record_beside_a_key_is_silent", public_record),
    ("another_file_beside_a_key_is_silent", neighbour),
];

fn listing(scene: &Scene) -> Result<()> {
    let name = "listing_and_asking_about_a_key_is_silent";
    let key = scene.key(name);
    for _ in 0..100 {
        fs::metadata(&key)?;
        fs::read_dir(scene.folder(name))?.count();
        drop(openat(CWD, &key, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    }
    run(Command::new("ls").arg("-la").arg(scene.folder(name)))?;
    run(Command::new("stat").arg(&key))?;
    run(Command::new("test").arg("-r").arg(&key))?;
    run(Command::new("find").arg(scene.folder(name)))?;
    let said = scene.settled(name, &key)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn public_record(scene: &Scene) -> Result<()> {
    let name = "the_public_record_beside_a_key_is_silent";
    let record = scene.whole(name).join("mail.txt");
    fs::write(&record, "mail._domainkey IN TXT \"v=DKIM1; k=rsa; p=\"")?;
    as_user(NOBODY, "cat", &[record.as_os_str()])?;
    let said = scene.settled(name, &scene.whole(name))?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn neighbour(scene: &Scene) -> Result<()> {
    let name = "another_file_beside_a_key_is_silent";
    let other = scene.folder(name).join("KeyTable");
    fs::write(&other, "mail example.org:mail:/etc/dkimkeys/mail.private")?;
    as_user(NOBODY, "cat", &[other.as_os_str()])?;
    let said = scene.settled(name, &other)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}
