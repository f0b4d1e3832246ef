//! What this kernel and this backend let the watch see: the line that `docs/coverage.md` is made of.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::Missing;
use serde_json::{Value, json};

use crate::{
    Group, command,
    scene::{Ending, Scene},
};

/// What became of the sentences that were tried, and how long each took.
#[derive(Default)]
pub(crate) struct Sees(Mutex<BTreeMap<&'static str, (Outcome, Duration)>>);

enum Outcome {
    Held,
    /// It ended short of the event, in a way that can be explained.
    Ended(Ending),
    Failed,
}

impl Sees {
    /// Tries a sentence and keeps what became of it. One that panics leaves nothing, and shows as not run.
    pub(crate) fn told(
        &self,
        name: &'static str,
        scene: &Scene,
        sentence: impl FnOnce(&Scene) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let passed_before = scene.passed_by();
        let done = match sentence(scene) {
            Ok(()) => ending(name, scene),
            // Where the kernel preempts itself, what a sentence does can pass a program by: the watch says so at once. What
            // it told and ought not to have is no such thing.
            Err(error) if error.is::<Missing>() && scene.passes_by_since(passed_before) => {
                Ok(Some(Ending::Limit("passed-by")))
            }
            Err(error) => Err(error),
        };
        let outcome = match &done {
            Ok(None) => Outcome::Held,
            Ok(Some(ending)) => Outcome::Ended(ending.clone()),
            Err(_) => Outcome::Failed,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (outcome, start.elapsed()));
        done.map(drop)
    }

    /// Prints the line.
    #[expect(clippy::print_stdout, reason = "the line is for `cargo xtask test`, which reads this program's output")]
    pub(crate) fn print(&self, scene: &Scene, groups: &[Group]) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sentence = |name: &&'static str| {
            let (outcome, took) = match told.get(name) {
                None => (json!("missing"), Duration::ZERO),
                Some((Outcome::Held, took)) => (json!("held"), *took),
                Some((Outcome::Failed, took)) => (json!("failed"), *took),
                Some((Outcome::Ended(Ending::Limit(id)), took)) => (json!({ "limit": id }), *took),
                Some((Outcome::Ended(Ending::Absent(why)), took)) => (json!({ "absent": why }), *took),
            };
            json!({ "name": name, "outcome": outcome, "milliseconds": took.as_millis() })
        };
        let groups: Vec<Value> = groups
            .iter()
            .map(|Group { title, held, sentences, .. }| {
                let sentences: Vec<Value> = sentences.iter().map(|(name, _)| sentence(name)).collect();
                json!({ "title": title, "held": held, "sentences": sentences })
            })
            .collect();
        let started = |field: &str| scene.started.field(field).cloned().unwrap_or_default();
        let line = json!({
            "kernel": rustix::system::uname().release().to_string_lossy(),
            "backend": scene.backend(),
            "hooks": started("dkimwatch.hooks"),
            "blind_spots": started("dkimwatch.blind_spots"),
            "refused": command::refused(),
            "groups": groups,
        });
        println!("SEES {line}");
    }
}

/// How a sentence ended that did not come to its event. A limit that the watch has not named is a failure: nothing is
/// silently unseen.
fn ending(name: &str, scene: &Scene) -> Result<Option<Ending>> {
    let ending = scene.ending(name);
    if let Some(Ending::Limit(id)) = &ending {
        ensure!(scene.unseen(id), "it ended in the limit {id}, which the watch does not name");
    }
    Ok(ending)
}
