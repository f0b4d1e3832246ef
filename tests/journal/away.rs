//! While nobody runs: the kernel goes on watching, and whoever is started next tells what it saw.

use std::{
    env, fs,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Steady, program};

use super::{HOST, Lab, PATIENCE};

/// `DKIMWATCH_AWAY`, seconds: 60 as the long pass has it.
fn away() -> Duration {
    Duration::from_secs(env::var("DKIMWATCH_AWAY").ok().and_then(|away| away.parse().ok()).unwrap_or(2))
}

/// Runs a command to its end and says which process it was.
fn ran(command: &mut Command) -> Result<u32> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id();
    child.wait()?;
    Ok(pid)
}

fn pinned(pins: &Path) -> usize {
    fs::read_dir(pins).map_or(0, |sessions| {
        sessions.flatten().map(|session| fs::read_dir(session.path()).map_or(0, Iterator::count)).sum()
    })
}

#[test]
fn what_strangers_do_while_nobody_runs_is_in_the_journal_afterwards() -> Result<()> {
    const NOBODY: u32 = 65_534;
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let rotated = lab.folder.path().join("rotated");
    lab.command().start()?.stop()?;

    let (began, away) = (Instant::now(), away());
    let mut opened = Vec::new();
    let mut refused = Vec::new();
    while opened.len() < 4 || began.elapsed() < away {
        opened.push(("/usr/bin/head", ran(Command::new("/usr/bin/head").arg(&lab.key))?));
        refused.push(ran(Command::new("/usr/bin/cat").arg(&lab.key).uid(NOBODY).gid(NOBODY))?);
        thread::park_timeout(away / 20);
    }
    // The key that was there is rotated away, and read; another one is in its place.
    let renamed = ran(Command::new("/usr/bin/mv").arg(&lab.key).arg(&rotated))?;
    opened.push(("/usr/bin/cat", ran(Command::new("/usr/bin/cat").arg(&rotated))?));
    fs::remove_file(&rotated)?;
    fs::write(&lab.key, "another private key\n")?;
    opened.push(("/usr/bin/tail", ran(Command::new("/usr/bin/tail").arg(&lab.key))?));
    println!("{} strangers while nobody ran for {:?}", opened.len() + refused.len() + 1, began.elapsed());

    let told = lab.command().start()?.stop()?.events;
    let events = lab.events()?;
    for (executable, pid) in &opened {
        let of: Vec<&Event> =
            events.iter().filter(|event| event.action() == "key-opened" && event.pid() == Some(*pid)).collect();
        let [event] = of.as_slice() else { anyhow::bail!("{executable} {pid}: {of:?}") };
        ensure!(event.is_alert() && event.is_about(&lab.key), "{event}");
        ensure!(event.text("process.executable") == Some(executable), "{event}");
        ensure!(event.text("user.id") == Some("0"), "{event}");
    }
    for pid in &refused {
        let of: Vec<&Event> = events.iter().filter(|event| event.pid() == Some(*pid)).collect();
        let [event] = of.as_slice() else { anyhow::bail!("refused {pid}: {of:?}") };
        ensure!(event.action() == "key-open-denied" && event.text("user.id") == Some("65534"), "{event}");
    }
    let rename = events.iter().find(|event| event.action() == "key-renamed").context("the rename")?;
    ensure!(rename.pid() == Some(renamed), "{rename}");
    told.only(|event| event.action() == "watch-resumed").exactly(1, "it says that it goes on")?;
    told.only(|event| event.action() == "events-lost").exactly(0, "nothing is lost")?;
    ensure!(pinned(&lab.pins()) > 10, "one session's pins are there");
    ensure!(fs::read_dir(lab.pins())?.count() == 1, "and of no other");
    // For an investigator it is one watch.
    let report =
        Command::new(program()?).args(["report", "--format", "json", "--journal"]).arg(&lab.journal).output()?;
    let report: serde_json::Value = serde_json::from_slice(&report.stdout)?;
    let gaps = report.pointer("/gaps").and_then(serde_json::Value::as_array).context("gaps")?;
    // This test wrote and removed its configuration; the last watch was ended.
    let kind = |gap: &serde_json::Value| gap.pointer("/kind").and_then(|kind| kind.as_str()).map(str::to_owned);
    let kinds: Vec<String> = gaps.iter().filter_map(kind).filter(|kind| kind != "monitor-tampered").collect();
    ensure!(kinds == ["not-watched"], "{gaps:?}");
    Ok(())
}

#[test]
fn a_signer_that_was_upgraded_meanwhile_is_no_stranger() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let signer = lab.folder.path().join("signer");
    fs::copy("/usr/bin/head", &signer)?;
    fs::set_permissions(&signer, fs::Permissions::from_mode(0o755))?;
    let config = format!("{}[[signer]]\nname = \"signer\"\nexecutable = {signer:?}\n", lab.config());
    lab.command().config(&config).start()?.stop()?;
    let before = ran(Command::new(&signer).arg(&lab.key))?;
    let new = lab.folder.path().join("signer.new");
    fs::copy("/usr/bin/tail", &new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &signer)?;
    let stranger = ran(Command::new("/usr/bin/head").arg(&lab.key))?;
    let told = lab.command().config(&config).start()?.stop()?.events;
    let alerts: Vec<Option<u32>> =
        told.only(|event| event.is_alert() && event.is_about(&lab.key)).iter().map(Event::pid).collect();
    ensure!(alerts == [Some(stranger)], "{alerts:?}");
    let recorded = lab.events()?;
    ensure!(recorded.iter().any(|event| event.pid() == Some(before) && !event.is_alert()), "the old program's access");
    Ok(())
}

#[test]
fn a_signers_opens_are_counted_while_nobody_runs() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let program = lab.folder.path().join("signer");
    fs::copy(env!("CARGO_BIN_EXE_thief"), &program)?;
    let config = format!("{}[[signer]]\nname = \"own\"\nexecutable = {program:?}\n", lab.config());
    let mut signer = Steady::start(&program)?;
    let open = |signer: &mut Steady, count: u32| signer.ask(&format!("open {} {count}", lab.key.display()));
    let mut opened = 0;
    // Ended in order, and killed.
    for is_killed in [false, true, false] {
        let watch = lab.command().config(&config).start()?;
        for _ in 0..50 {
            opened += open(&mut signer, 10)?;
            thread::park_timeout(Duration::from_millis(2));
        }
        // The memo is written each second.
        thread::park_timeout(Duration::from_millis(1_500));
        if is_killed {
            watch.kill().map(drop)?
        } else {
            watch.stop().map(drop)?
        }
        opened += open(&mut signer, 5_000)?;
    }
    let watch = lab.command().config(&config).start()?;
    opened += open(&mut signer, 10)?;
    watch.stop()?;
    let events = lab.events()?;
    let full =
        events.iter().filter(|event| event.action() == "key-opened" && event.pid() == Some(signer.pid())).count();
    let sums: Vec<_> = events.iter().filter(|event| event.action() == "key-opens-summarised").collect();
    let counted: u64 = sums.iter().filter_map(|event| event.number("dkimwatch.summarised.count")).sum();
    println!("{opened} opens by a signer over four watches: {full} events, {counted} counted in {} sums", sums.len());
    let told = full as u64 + counted;
    // In the moment in which one watch takes over from another both may tell.
    ensure!((opened..=opened + 6).contains(&told), "{opened} opened, {told} told");
    ensure!(counted > 15_000, "{counted} counted");
    ensure!(sums.iter().all(|sum| sum.is_about(&lab.key) && sum.text("rule.id") == Some("signer/own")), "{sums:?}");
    ensure!(!events.iter().any(|event| event.action() == "events-lost"), "nothing is lost");
    Ok(())
}

#[test]
fn who_killed_the_watch_is_told_by_the_next_one() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let watch = lab.command().start()?;
    let theft = ran(Command::new("/usr/bin/head").arg(&lab.key))?;
    let kill = ran(Command::new("/bin/kill").args(["-KILL", &watch.pid().to_string()]))?;
    watch.kill()?;
    let told = lab.command().start()?.stop()?.events;
    let events = lab.events()?;
    let killed = events.iter().find(|event| event.pid() == Some(kill)).context("who killed it")?;
    ensure!(killed.action() == "monitor-tampered" && killed.is_alert(), "{killed}");
    ensure!(killed.text("dkimwatch.signal.name") == Some("SIGKILL"), "{killed}");
    ensure!(events.iter().any(|event| event.pid() == Some(theft)), "the theft just before");
    // What the next one did to the former's rings, pins and journal is nobody's doing.
    let own = told.only(|event| event.text("process.name") == Some("dkimwatch"));
    own.exactly(0, "the watch itself")
}

#[test]
fn without_a_memo_accesses_are_told_all_the_same() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let folder = lab.folder.path().join("keys");
    fs::create_dir(&folder)?;
    fs::write(folder.join("b.private"), "another private key\n")?;
    // Tags are others than the next watch will give them.
    let config =
        lab.config().replace("paths = [", &format!("paths = [\"/etc/hostname\", {:?}, ", folder.join("b.private")));
    for wrong in [None, Some("[1, 2"), Some("{\"version\":9}")] {
        lab.command().config(&config).start()?.stop()?;
        let pid = ran(Command::new("/usr/bin/head").arg(&lab.key))?;
        for memo in fs::read_dir(&lab.journal)?
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"away-"))
        {
            match wrong {
                None => fs::remove_file(memo.path())?,
                Some(wrong) => fs::write(memo.path(), wrong)?,
            }
        }
        let told = lab.command().start()?.stop()?.events;
        let of = told.only(|event| event.pid() == Some(pid));
        ensure!(of.iter().all(|event| event.is_about(&lab.key)), "{of:?}");
        of.exactly(1, "the stranger")?;
    }
    Ok(())
}

#[test]
fn what_the_rings_could_not_hold_is_told_as_lost() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    lab.command().start()?.stop()?;
    let opens: u64 = 6_000;
    for _ in 0..opens {
        fs::File::open(&lab.key)?;
    }
    let told = lab.command().start()?.stop()?.events;
    let opened = told.only(|event| event.action() == "key-opened").len() as u64;
    let lost = told.only(|event| event.action() == "events-lost");
    let sum: u64 = lost.iter().filter_map(|event| event.number("dkimwatch.lost.count")).sum();
    println!("of {opens} opens while nobody ran the ring held {opened}, and {sum} were told as lost");
    // Beside the opens, what this test did to the configuration.
    ensure!((opens..=opens + 200).contains(&(opened + sum)) && opened > 3_000, "{opened} told, {sum} lost");
    ensure!(
        lost.iter()
            .all(|event| event.text("dkimwatch.lost.hook").is_some() && event.number("dkimwatch.lost.cpu").is_some()),
        "{lost:?}"
    );
    ensure!(lost.iter().all(|event| event.text("event.start") < event.text("event.end")), "{lost:?}");
    // It is told once.
    let again = lab.command().start()?.stop()?.events;
    again.only(|event| event.action() == "events-lost").exactly(0, "once")
}

#[test]
fn nothing_is_left_where_it_is_not_to_be() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let unload = || -> Result<std::process::Output> {
        Ok(Command::new(program()?).args(["unload", "--pins"]).arg(lab.pins()).output()?)
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let first = unload()?;
    ensure!(first.status.success() && said(&first).contains("nothing was left"), "{first:?}");
    // Not while it runs.
    let watch = lab.command().start()?;
    let refused = unload()?;
    ensure!(refused.status.code() == Some(3), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("another dkimwatch that runs holds it"), "{refused:?}");
    // What removes its pins does not end it.
    for session in fs::read_dir(lab.pins())? {
        for pin in fs::read_dir(session?.path())? {
            let pin = pin?;
            if !pin.file_type()?.is_dir() {
                fs::remove_file(pin.path())?;
            }
        }
    }
    let pid = ran(Command::new("/usr/bin/head").arg(&lab.key))?;
    watch.wait_for("the stranger", PATIENCE, |event| event.pid() == Some(pid))?;
    watch.stop()?;
    // What was left goes, with what it held.
    lab.command().start()?.stop()?;
    let held = ran(Command::new("/usr/bin/head").arg(&lab.key))?;
    let done = unload()?;
    ensure!(done.status.success() && said(&done).contains("the keys are not watched any more"), "{done:?}");
    ensure!(!lab.pins().exists(), "nothing is left");
    let told = lab.command().start()?.stop()?.events;
    told.only(|event| event.pid() == Some(held)).exactly(0, "it went with the rings")?;
    // And nothing is left at all where that is asked for.
    unload()?;
    let plain = dkimwatch_tests::support::WatchCommand::new().service().config(lab.config());
    let said = plain.start()?.stop()?.events;
    ensure!(!lab.pins().exists(), "nothing is left");
    let started = said.only(|event| event.action() == "watch-started");
    ensure!(
        started
            .iter()
            .any(|event| event.to_string().contains("away: nothing is seen while dkimwatch run does not run")),
        "{started:?}"
    );
    Ok(())
}

#[test]
fn pins_of_others_are_not_taken() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    // A folder that others can write, one that is on no BPF file system, and a link: the watch begins, and says what it cannot.
    let open = lab.pins();
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    let plain = lab.folder.path().join("plain");
    let link = lab.folder.path().join("link");
    symlink(&plain, &link)?;
    for pins in [&open, &plain, &link] {
        let command = dkimwatch_tests::support::WatchCommand::new().service().config(lab.config());
        let told = command.pins(pins).start()?.stop()?.events;
        let started = told.only(|event| event.action() == "watch-started");
        ensure!(started.iter().any(|event| event.to_string().contains("away: ")), "{started:?}");
    }
    ensure!(!plain.exists(), "nothing is made where it is of no use");
    // A link to a folder of somebody else's pins, in a place that is everybody's to write; and that folder itself.
    let others = lab.bpf.0.path().join("others");
    fs::DirBuilder::new().mode(0o700).create(&others)?;
    for name in ["progs", "0123456789abcdeg"] {
        fs::create_dir(others.join(name))?;
    }
    let led = lab.bpf.0.path().join("led");
    symlink(&others, &led)?;
    let command = || dkimwatch_tests::support::WatchCommand::new().service().config(lab.config());
    let told = command().pins(&led).start()?.stop()?.events;
    let started = told.only(|event| event.action() == "watch-started");
    ensure!(started.iter().any(|event| event.to_string().contains("no link to one")), "{started:?}");
    ensure!(fs::read_dir(&others)?.count() == 2, "it was not followed");
    command().pins(&others).start()?.stop()?;
    ensure!(fs::read_dir(&others)?.count() == 3, "its own beside them");
    let unloaded = Command::new(program()?).args(["unload", "--pins"]).arg(&others).output()?;
    ensure!(unloaded.status.success() && fs::read_dir(&others)?.count() == 2, "{unloaded:?}");
    Ok(())
}
