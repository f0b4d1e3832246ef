//! What a thief got: no sentence counts as a road that did not lead to the bytes.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::scene::{BYTES, Scene, counts, is};

/// A reader, as it says of itself by the host's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loot {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its parent.
    pub parent: u32,
    /// What it got.
    bytes: String,
}

impl Loot {
    /// Whether it got the key.
    pub(crate) fn has_key(&self) -> bool {
        self.bytes == BYTES
    }
}

/// The thief, on the keys' own disk, where every user may run it.
pub(crate) fn thief(scene: &Scene) -> Command {
    Command::new(scene.thief())
}

/// Runs a thief that must come back with the key, and says who read it.
pub(crate) fn stolen(command: &mut Command) -> Result<Loot> {
    let mut loot = shown(command)?;
    ensure!(loot.len() == 1, "{} readers instead of one: {loot:?}", loot.len());
    let loot = loot.remove(0);
    ensure!(loot.has_key(), "it did not get the key: {loot:?}");
    Ok(loot)
}

/// Runs a thief and returns all that it showed, in order; the last reader must have got the key.
pub(crate) fn shown(command: &mut Command) -> Result<Vec<Loot>> {
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::piped()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    let loot = parsed(&String::from_utf8_lossy(&output.stdout));
    ensure!(loot.last().is_some_and(Loot::has_key), "nobody got the key: {loot:?} {said}");
    Ok(loot)
}

/// Runs a thief that changes something and takes nothing, and says who it was.
pub(crate) fn done(command: &mut Command) -> Result<Loot> {
    let output = command.stderr(Stdio::piped()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    let mut doers = parsed(&String::from_utf8_lossy(&output.stdout));
    ensure!(doers.len() == 1, "{} doers instead of one: {doers:?}", doers.len());
    Ok(doers.remove(0))
}

/// `pid tid parent`, a newline, the bytes; and again.
fn parsed(text: &str) -> Vec<Loot> {
    let mut loot: Vec<Loot> = Vec::new();
    for line in text.split_inclusive('\n') {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(pid)), Some(Ok(tid)), Some(Ok(parent)), None) => {
                loot.push(Loot { pid, tid, parent, bytes: String::new() });
            }
            _ => {
                if let Some(last) = loot.last_mut() {
                    last.bytes.push_str(line);
                }
            }
        }
    }
    loot
}

/// One access to the sentence's key, and by this very reader; it raised an alarm.
pub(crate) fn blamed(scene: &Scene, name: &str, loot: &Loot) -> Result<Event> {
    let event = scene.one(name)?;
    names(&event, loot)?;
    crate::scene::alarms(&event)?;
    is(&event, "process.executable", &scene.thief().display().to_string())?;
    Ok(event)
}

/// The event is about this reader.
pub(crate) fn names(event: &Event, loot: &Loot) -> Result<()> {
    counts(event, "process.pid", loot.pid)?;
    counts(event, "process.thread.id", loot.tid)?;
    counts(event, "process.parent.pid", loot.parent)
}

/// Exactly one event by this process among those.
pub(crate) fn one_by(events: &Events, loot: &Loot) -> Result<Event> {
    let event = events.by(loot.pid).one("by the reader")?.clone();
    names(&event, loot)?;
    Ok(event)
}
