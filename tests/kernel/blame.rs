//! The right process is blamed, with everything that was true of it at that moment.

use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Sentence,
    scene::{NOBODY, Scene, alarms, as_user, counts, is, is_open, resolved, run, stranger},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("when_nobody_cats_a_key_there_is_one_alert_with_all_of_it", cat_by_nobody),
    ("a_declared_signer_is_expected_and_no_alert", declared_signer),
    ("a_thread_is_blamed_as_its_process", thread),
    ("many_readers_that_end_at_once_are_each_blamed", short_lived),
    ("a_reader_that_executes_something_else_at_once_is_blamed_as_what_it_was", exec_at_once),
    ("a_child_that_never_executed_runs_what_its_parent_executed", fork_without_exec),
    ("a_process_older_than_the_watch_is_blamed_with_its_executable", elder),
    ("a_writer_that_empties_the_key_modified_it", truncated),
    ("data_through_an_inherited_descriptor_is_a_read_by_its_reader_or_a_named_limit", inherited),
];

fn cat_by_nobody(scene: &Scene) -> Result<()> {
    let name = "when_nobody_cats_a_key_there_is_one_alert_with_all_of_it";
    let key = scene.key(name);
    let pid = as_user(NOBODY, "cat", &[key.as_os_str()])?;
    let event = scene.one(name)?;
    alarms(&event)?;
    is_open(&event)?;
    is(&event, "event.outcome", "success")?;
    is(&event, "file.path", &key.display().to_string())?;
    counts(&event, "process.pid", pid)?;
    counts(&event, "user.id", NOBODY)?;
    counts(&event, "process.real_user.id", NOBODY)?;
    counts(&event, "process.parent.pid", std::process::id())?;
    is(&event, "process.executable", &resolved("cat")?)?;
    is(&event, "process.name", "cat")?;
    is(&event, "threat.technique.id", "T1552.004").or_else(|_| {
        let ids = event.field("threat.technique.id").and_then(|ids| ids.as_array().cloned()).unwrap_or_default();
        ensure!(ids.iter().any(|id| id == "T1552.004"), "no T1552.004\n{event}");
        Ok(())
    })?;
    let args = event.field("process.args").and_then(|args| args.as_array().cloned()).context("process.args")?;
    ensure!(args.len() == 2 && args.get(1).is_some_and(|path| *path == key.display().to_string()), "args {args:?}");
    is(&event, "dkimwatch.backend", scene.backend())
}

fn declared_signer(scene: &Scene) -> Result<()> {
    let name = "a_declared_signer_is_expected_and_no_alert";
    as_user(crate::scene::SIGNER_UID, scene.signer(), &[scene.key(name).as_os_str()])?;
    let event = scene.one(name)?;
    is(&event, "dkimwatch.verdict", "expected")?;
    is(&event, "event.kind", "event")?;
    is(&event, "rule.id", "signer/scene")
}

fn thread(scene: &Scene) -> Result<()> {
    let name = "a_thread_is_blamed_as_its_process";
    let key = scene.key(name);
    let tid = std::thread::spawn(move || {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        std::fs::read(key).map(|_| tid)
    });
    let tid = tid.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    let event = scene.one(name)?;
    counts(&event, "process.pid", std::process::id())?;
    counts(&event, "process.thread.id", u32::try_from(tid)?)
}

fn short_lived(scene: &Scene) -> Result<()> {
    // An emulated machine starts thirteen programs a second.
    const FEWEST: usize = 30;
    const MOST: usize = 1_000;
    const LONG: Duration = Duration::from_secs(1);
    let name = "many_readers_that_end_at_once_are_each_blamed";
    let key = scene.key(name);
    let mut pids = Vec::new();
    let start = Instant::now();
    while pids.len() < FEWEST || pids.len() < MOST && start.elapsed() < LONG {
        pids.push(run(Command::new(stranger()?).arg(&key))?);
    }
    let events = scene.settled(&key)?;
    events.exactly(pids.len(), "each reader")?;
    let wanted = std::fs::canonicalize(stranger()?)?.display().to_string();
    for (event, pid) in events.iter().zip(pids) {
        counts(event, "process.pid", pid)?;
        is(event, "process.executable", &wanted)?;
        counts(event, "process.parent.pid", std::process::id())?;
    }
    Ok(())
}

fn exec_at_once(scene: &Scene) -> Result<()> {
    let name = "a_reader_that_executes_something_else_at_once_is_blamed_as_what_it_was";
    let pid = run(Command::new("sh").args(["-c", "exec 3< \"$0\"; exec true"]).arg(scene.key(name)))?;
    let event = scene.one(name)?;
    counts(&event, "process.pid", pid)?;
    is(&event, "process.executable", &resolved("sh")?)
}

fn fork_without_exec(scene: &Scene) -> Result<()> {
    let name = "a_child_that_never_executed_runs_what_its_parent_executed";
    let parent = run(Command::new("sh").args(["-c", "(read -r line < \"$0\"; :); :"]).arg(scene.key(name)))?;
    let event = scene.one(name)?;
    counts(&event, "process.parent.pid", parent)?;
    is(&event, "process.executable", &resolved("sh")?)
}

fn elder(scene: &Scene) -> Result<()> {
    let name = "a_process_older_than_the_watch_is_blamed_with_its_executable";
    let key = scene.key(name);
    let mut elder = scene.elder.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?;
    writeln!(elder.stdin.as_mut().context("its input")?, "{}", key.display())?;
    let at = key.display().to_string();
    scene
        .watch
        .wait_for("the elder", crate::scene::PATIENCE, |event| event.text("dkimwatch.key.path") == Some(at.as_str()))?;
    let event = scene.one(name)?;
    counts(&event, "process.pid", elder.id())?;
    is(&event, "process.executable", &resolved("sh")?)
}

fn truncated(scene: &Scene) -> Result<()> {
    let name = "a_writer_that_empties_the_key_modified_it";
    run(Command::new("sh").args(["-c", ": > \"$0\""]).arg(scene.key(name)))?;
    is(&scene.one(name)?, "event.action", "key-modified")
}

fn inherited(scene: &Scene) -> Result<()> {
    let name = "data_through_an_inherited_descriptor_is_a_read_by_its_reader_or_a_named_limit";
    let key = scene.key(name);
    let opened = std::fs::File::open(&key)?;
    let pid = run(Command::new("cat").stdin(opened))?;
    let events = scene.settled(&key)?;
    let readers = events.by(pid);
    if readers.is_empty() && scene.unseen("inherited-descriptor") {
        scene.limited(name, "inherited-descriptor");
        return Ok(());
    }
    let event = readers.one("the reader")?;
    is(event, "event.action", "key-read")?;
    is(event, "process.executable", &resolved("cat")?)?;
    events.exactly(2, "the opener, the reader, and nobody else")?;
    Ok(())
}
