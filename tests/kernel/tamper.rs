//! Tampering: each deed is really done, and told once, of whoever did it.

mod contents;
mod links;
mod mounts;
mod names;
mod uncovered;
mod ways;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use dkimwatch_tests::support::{Event, Events, Missing};

use crate::{
    Sentence,
    loot::{Loot, done, one_by, thief},
    scene::{NOBODY, Scene, alarms, counts, is},
};

pub(crate) const NAMES: &[Sentence] = names::SENTENCES;
pub(crate) const LINKS: &[Sentence] = links::SENTENCES;
pub(crate) const WAYS: &[Sentence] = ways::SENTENCES;
pub(crate) const CONTENTS: &[Sentence] = contents::SENTENCES;
pub(crate) const MOUNTS: &[Sentence] = mounts::SENTENCES;
pub(crate) const UNCOVERED: &[Sentence] = uncovered::SENTENCES;
pub(crate) const SILENT: &[Sentence] = mounts::SILENT;
pub(crate) const BESIDE: &[Sentence] = ways::SILENT;

/// What the watch is to be told of beside the keys that each sentence has.
pub(crate) fn lay(root: &Path) -> Result<Vec<PathBuf>> {
    Ok([links::lay(root)?, ways::lay(root)?].concat())
}

pub(crate) use uncovered::{bound, mounts};

/// What a deed is told as, and the limits of which one explains that it is not.
#[derive(Clone, Copy)]
struct Told {
    action: &'static str,
    deed: &'static str,
    limits: &'static [&'static str],
}

/// What was done to a key is told by its effect.
const KIND: &str = "tamper-kind";

/// A backend that sees an inode change and not how names it so.
const CHANGED: &str = "changed";

/// Does a deed as root: who did it.
fn act(scene: &Scene, words: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Loot> {
    done(with(thief(scene).arg("do"), words))
}

/// As [`act`], to an open file.
fn act_on(scene: &Scene, file: fs::File, words: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Loot> {
    done(with(thief(scene).arg("do").stdin(file), words))
}

/// Tries a deed as nobody, who is refused.
fn try_in_vain(scene: &Scene, words: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Loot> {
    done(with(thief(scene).args(["refused", &NOBODY.to_string()]), words))
}

fn with<'c>(command: &'c mut Command, words: &[&dyn AsRef<std::ffi::OsStr>]) -> &'c mut Command {
    words.iter().fold(command, |command, word| command.arg(word.as_ref()))
}

/// The system call, or the request of io_uring, is not of this kernel.
fn is_absent(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    [
        "Function not implemented",
        "io_uring: Invalid argument",
        "io_uring_setup: system call 425: Operation not permitted",
    ]
    .iter()
    .any(|sign| said.contains(sign))
}

/// The limit, of these, by which a deed may go untold here.
fn excuse(scene: &Scene, limits: &[&'static str]) -> Option<&'static str> {
    limits.iter().copied().find(|id| scene.unseen(id))
}

/// The one event about this doer; `None` where a limit is named instead. What the sentence itself does (`std::process::id()`)
/// is told too, and nobody else's doing. What only a path says comes
/// a moment later than the rest, as the path is looked at first.
fn told(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told) -> Result<Option<Event>> {
    const TRIES: usize = 20;
    let settled = || scene.settled(&scene.folder(name));
    let mut events = settled()?;
    for _ in 0..TRIES {
        if !events.by(doer.pid).is_empty() || excuse(scene, wanted.limits).is_some() {
            break;
        }
        events = settled()?;
    }
    told_among(scene, name, &events, doer, wanted)
}

fn told_among(scene: &Scene, name: &'static str, events: &Events, doer: &Loot, wanted: Told) -> Result<Option<Event>> {
    let strangers = events.only(|event| ![Some(doer.pid), Some(std::process::id())].contains(&event.pid()));
    let strangers = strangers.only(|event| event.verdict() != "expected");
    ensure!(strangers.is_empty(), "somebody else:\n{strangers}");
    match (events.by(doer.pid).is_empty(), excuse(scene, wanted.limits)) {
        (true, Some(limit)) => {
            scene.limited(name, limit);
            return Ok(None);
        }
        (true, _) => return Err(Missing(format!("neither told nor named\n{events}")).into()),
        (false, _) => {}
    }
    let event = events.by(doer.pid).one("by the doer")?.clone();
    counts(&event, "process.parent.pid", doer.parent)?;
    // A request to io_uring may be done by a worker, which is a thread of the process.
    if event.field("dkimwatch.process.io_worker") != Some(&true.into()) {
        counts(&event, "process.thread.id", doer.tid)?;
    }
    alarms(&event)?;
    is(&event, "process.executable", &scene.thief().display().to_string())?;
    if event.text("dkimwatch.deed") == Some(CHANGED) && wanted.deed != CHANGED {
        ensure!(scene.backend() == "tracepoint", "this backend knows what was done\n{event}");
        ensure!(scene.unseen(KIND), "how it changed is not told, and no limit named\n{event}");
        scene.limited(name, KIND);
        return Ok(None);
    }
    is(&event, "event.action", wanted.action)?;
    is(&event, "dkimwatch.deed", wanted.deed)?;
    is(&event, "event.outcome", "success")?;
    Ok(Some(event))
}

/// The one event about nobody's attempt.
fn told_in_vain(scene: &Scene, name: &'static str, doer: &Loot, wanted: Told, errno: &str) -> Result<()> {
    let events = scene.settled(&scene.folder(name))?;
    if let (true, Some(limit)) = (events.by(doer.pid).is_empty(), excuse(scene, wanted.limits)) {
        scene.limited(name, limit);
        return Ok(());
    }
    let event = one_by(&events, doer)?;
    alarms(&event)?;
    is(&event, "event.action", wanted.action)?;
    is(&event, "dkimwatch.deed", wanted.deed)?;
    is(&event, "event.outcome", "failure")?;
    is(&event, "dkimwatch.errno", errno)?;
    counts(&event, "user.id", NOBODY)
}

/// The event is about this key.
fn about(event: &Event, key: &Path) -> Result<()> {
    is(event, "dkimwatch.key.path", &key.display().to_string())
}

/// The second path of a deed. It may begin at the root of its file system, as the kernel's functions on names know no mount.
fn other_path(event: &Event, path: &Path) -> Result<()> {
    let other = event.text("dkimwatch.other_path").unwrap_or_default();
    ensure!(!other.is_empty() && path.ends_with(other.trim_start_matches('/')), "other_path is {other:?}\n{event}");
    Ok(())
}
