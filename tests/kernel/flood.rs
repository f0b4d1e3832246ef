//! A flood hides nobody.

use std::{fs::File, process::Command};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Missing;

use crate::{
    Sentence,
    scene::{Scene, alarms, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[("in_a_flood_of_opens_each_is_told_and_one_other_reader_is_found", flood)];

fn flood(scene: &Scene) -> Result<()> {
    // An emulated machine tells of two hundred a second.
    const OPENS: usize = 1_000;
    let name = "in_a_flood_of_opens_each_is_told_and_one_other_reader_is_found";
    let key = scene.key(name);
    for _ in 0..OPENS / 2 {
        File::open(&key)?;
    }
    let pid = run(Command::new("cat").arg(&key))?;
    for _ in 0..OPENS / 2 {
        File::open(&key)?;
    }
    let said = scene.settled(name, &key)?;
    alarms(said.by(pid).one("the one other reader")?)?;
    let count = format!("{} events for {OPENS} opens and one", said.len());
    if said.len() < OPENS + 1 {
        return Err(Missing(count).into());
    }
    ensure!(said.len() == OPENS + 1, "{count}");
    Ok(())
}
