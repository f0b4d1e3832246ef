//! What is no access stays silent.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    Sentence,
    scene::{NOBODY, Scene, as_user, is, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("listing_and_asking_about_a_key_is_silent", listing),
    ("the_public_record_beside_a_key_is_silent", public_record),
    ("another_file_beside_a_key_is_silent", neighbour),
    ("a_folder_with_the_number_of_a_removed_folder_of_keys_is_none", reused),
    ("ten_thousand_questions_about_a_key_are_silent", questions),
    ("a_thousand_reads_of_what_lies_beside_a_key_are_silent", beside),
    ("tools_that_measure_and_search_folders_are_silent", tools),
    ("looking_at_every_file_and_process_around_a_key_is_silent", around),
    ("a_backup_that_was_declared_is_maintenance_and_no_alert", backup),
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
    let said = scene.settled(&key)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn public_record(scene: &Scene) -> Result<()> {
    let name = "the_public_record_beside_a_key_is_silent";
    let record = scene.whole(name).join("mail.txt");
    fs::write(&record, "mail._domainkey IN TXT \"v=DKIM1; k=rsa; p=\"")?;
    as_user(NOBODY, "cat", &[record.as_os_str()])?;
    let said = scene.settled(&scene.whole(name))?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

/// A file system gives the number of what was removed to what is made next.
fn reused(scene: &Scene) -> Result<()> {
    let name = "a_folder_with_the_number_of_a_removed_folder_of_keys_is_none";
    let (inside, beside) = (scene.whole(name).join("inside"), scene.folder(name).join("beside"));
    fs::create_dir(&inside)?;
    let number = fs::metadata(&inside)?.ino();
    // The watch has looked.
    scene.settled(&inside)?;
    fs::remove_dir(&inside)?;
    fs::create_dir(&beside)?;
    if fs::metadata(&beside)?.ino() != number {
        scene.absent(name, "a file system that does not use an inode number again at once");
        return Ok(());
    }
    let other = beside.join("harmless");
    fs::write(&other, "")?;
    as_user(NOBODY, "cat", &[other.as_os_str()])?;
    fs::rename(&other, beside.join("renamed"))?;
    fs::remove_file(beside.join("renamed"))?;
    let said = scene.settled(&beside)?;
    let limits = ["tamper-names", "tamper-folder-removed"];
    match limits.into_iter().find(|limit| scene.unseen(limit)) {
        Some(limit) if !said.is_empty() => scene.limited(name, limit),
        _ => ensure!(said.is_empty(), "{said}"),
    }
    Ok(())
}

fn neighbour(scene: &Scene) -> Result<()> {
    let name = "another_file_beside_a_key_is_silent";
    let other = scene.folder(name).join("KeyTable");
    fs::write(&other, "mail example.org:mail:/etc/dkimkeys/mail.private")?;
    as_user(NOBODY, "cat", &[other.as_os_str()])?;
    let said = scene.settled(&other)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn questions(scene: &Scene) -> Result<()> {
    /// Each round asks seventeen questions, see the thief's `ask`.
    const ROUNDS: u32 = 600;
    let name = "ten_thousand_questions_about_a_key_are_silent";
    let asker = run(crate::loot::thief(scene).arg("ask").arg(scene.key(name)).arg(ROUNDS.to_string()))?;
    let said = scene.settled(&scene.folder(name))?;
    ensure!(said.by(asker).is_empty() && scene.settled(&scene.key(name))?.is_empty(), "{said}");
    Ok(())
}

fn beside(scene: &Scene) -> Result<()> {
    let name = "a_thousand_reads_of_what_lies_beside_a_key_are_silent";
    let (record, table) = (scene.whole(name).join("mail.txt"), scene.folder(name).join("KeyTable"));
    fs::write(&record, "mail._domainkey IN TXT \"v=DKIM1; k=rsa; p=\"")?;
    fs::write(&table, "mail example.org:mail:/etc/dkimkeys/mail.private")?;
    for _ in 0..500 {
        ensure!(fs::read(&record)?.starts_with(b"mail"), "the record");
        ensure!(fs::read(&table)?.starts_with(b"mail"), "the table");
    }
    for quiet in [scene.whole(name), scene.key(name), table] {
        let said = scene.settled(&quiet)?;
        ensure!(said.is_empty(), "{said}");
    }
    Ok(())
}

fn tools(scene: &Scene) -> Result<()> {
    let name = "tools_that_measure_and_search_folders_are_silent";
    let (folder, key) = (scene.folder(name), scene.key(name));
    fs::write(scene.whole(name).join("born.private"), "a key")?;
    let made = scene.settled(&scene.whole(name))?.len();
    run(Command::new("du").arg("-a").arg(&folder))?;
    run(Command::new("find").arg(&folder).args(["-name", "*.private", "-newer", "/proc/self", "-o", "-size", "+0"]))?;
    run(Command::new("ls").arg("-lRZ").arg(&folder))?;
    run(Command::new("stat").arg(&key))?;
    run(Command::new("sh").args(["-c", "test -r \"$0\" && test -s \"$0\" && [ -f \"$0\" ]"]).arg(&key))?;
    run(Command::new("readlink").arg("-f").arg(&key))?;
    run(Command::new("tar").args(["--create", "--file=/dev/null", "--no-recursion"]).arg(&folder))?;
    ensure!(scene.settled(&scene.whole(name))?.len() == made, "{}", scene.settled(&scene.whole(name))?);
    let said = scene.settled(&key)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn around(scene: &Scene) -> Result<()> {
    let name = "looking_at_every_file_and_process_around_a_key_is_silent";
    let (folder, key) = (scene.folder(name), scene.key(name));
    let looker = run(crate::loot::thief(scene).arg("look-around").arg(&key).arg("2"))?;
    // As people call them, where they are installed; what they find is not asked here.
    for (tool, arguments) in [("lsof", &["+D"][..]), ("fuser", &["-v"]), ("ps", &["auxf"]), ("getfacl", &["-R"])] {
        let mut command = Command::new(tool);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        if tool != "ps" {
            command.arg(&folder);
        }
        let _ = command.status();
    }
    run(Command::new("find").arg(&folder).args(["-ls"]))?;
    let said = scene.settled(&key)?;
    ensure!(said.is_empty(), "{said}");
    let about = scene.watch.events_where(|event| event.pid() == Some(looker));
    ensure!(about.is_empty(), "{about}");
    Ok(())
}

fn backup(scene: &Scene) -> Result<()> {
    let name = "a_backup_that_was_declared_is_maintenance_and_no_alert";
    let loot = crate::loot::stolen(Command::new(scene.backup()).arg("openat").arg(scene.key(name)))?;
    let event = scene.one(name)?;
    crate::loot::names(&event, &loot)?;
    is(&event, "dkimwatch.verdict", "maintenance")?;
    is(&event, "event.kind", "event")?;
    // The same program as another user is nobody's backup.
    as_user(NOBODY, scene.backup(), &["openat".as_ref(), scene.key(name).as_os_str()])?;
    let said = scene.settled(&scene.key(name))?;
    ensure!(said.alerts().len() == 1 && said.len() == 2, "{said}");
    Ok(())
}
