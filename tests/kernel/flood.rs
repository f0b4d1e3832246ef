//! A flood hides nobody.

use std::{
    fs::File,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Missing;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    Sentence,
    scene::{Scene, alarms, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("in_a_flood_of_opens_each_is_told_and_one_other_reader_is_found", flood),
    ("a_theft_in_a_crowd_at_the_hook_is_told", crowd),
];

fn flood(scene: &Scene) -> Result<()> {
    // An emulated machine tells of a hundred a second; for a flood in earnest, see the service's own tests.
    const OPENS: usize = 200;
    let name = "in_a_flood_of_opens_each_is_told_and_one_other_reader_is_found";
    let key = scene.key(name);
    for _ in 0..OPENS / 2 {
        File::open(&key)?;
    }
    let pid = run(Command::new("cat").arg(&key))?;
    for _ in 0..OPENS / 2 {
        File::open(&key)?;
    }
    let said = scene.settled(&key)?;
    alarms(said.by(pid).one("the one other reader")?)?;
    let count = format!("{} events for {OPENS} opens and one", said.len());
    if said.len() < OPENS + 1 {
        return Err(Missing(count).into());
    }
    ensure!(said.len() == OPENS + 1, "{count}");
    Ok(())
}

/// A kernel that preempts itself does not enter a tracing program that another task on the same CPU was preempted in: who wants
/// to pass unseen sees to it that there always is one.
fn crowd(scene: &Scene) -> Result<()> {
    const CROWD: usize = 8;
    const THEFTS: usize = 60;
    let name = "a_theft_in_a_crowd_at_the_hook_is_told";
    let (key, beside) = (scene.key(name), scene.folder(name).join("beside"));
    std::fs::write(&beside, "")?;
    let over = AtomicBool::new(false);
    let stolen = thread::scope(|threads| {
        for _ in 0..CROWD {
            threads.spawn(|| {
                while on_the_first_cpu(&beside).is_ok() && !over.load(Ordering::Relaxed) {
                    for _ in 0..100 {
                        let _ = File::open(&beside);
                    }
                }
            });
        }
        let thief = threads.spawn(|| {
            (0..THEFTS).try_for_each(|_| {
                // Each member of the crowd has its turn.
                thread::yield_now();
                on_the_first_cpu(&key)
            })
        });
        let stolen = thief.join();
        over.store(true, Ordering::Relaxed);
        stolen
    });
    stolen.map_err(|_| anyhow::anyhow!("the thief has no key"))??;
    let said = scene.settled(&key)?;
    let count = format!("{} events for {THEFTS} opens", said.len());
    if said.len() < THEFTS {
        return Err(Missing(count).into());
    }
    ensure!(said.len() == THEFTS, "{count}");
    Ok(())
}

/// Opens a file, where all the others do.
fn on_the_first_cpu(path: &Path) -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    File::open(path)?;
    Ok(())
}
