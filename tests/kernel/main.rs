//! What the kernel side promises, as sentences, each run against a real watch on this kernel.
//!
//! `DKIMWATCH_BACKEND` forces a backend (default: the first that works), `DKIMWATCH_DISK` names a folder on a file system
//! of its own (default: the system's temporary folder).
//!
//! At the end one line, `SEES` and a JSON object, says what became of each sentence here; `cargo xtask test` makes
//! `docs/coverage.md` of it.

mod alias;
mod benign;
mod blame;
mod bodies;
mod born;
mod command;
mod data;
mod devices;
mod disguise;
mod filesystems;
mod flood;
mod grounds;
mod hijack;
mod itself;
mod loot;
mod memory;
mod monitor;
mod refused;
mod roads;
mod scene;
mod sees;
mod summed;
mod tamper;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use scene::Scene;
use sees::Sees;

/// A sentence: a key of its own, and what is then true.
type Sentence = (&'static str, fn(&Scene) -> anyhow::Result<()>);

/// Sentences about one subject.
struct Group {
    /// The heading of their table in `docs/coverage.md`.
    title: &'static str,
    /// The word there for one that holds.
    held: &'static str,
    sentences: &'static [Sentence],
    /// They start a service of their own.
    service: bool,
}

/// Ways to a key, each of which is to be seen.
const fn seen(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "seen", sentences, service: false }
}

/// What is to give no event.
const fn silent(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "silent", sentences, service: false }
}

/// Other promises.
const fn holds(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "holds", sentences, service: false }
}

/// By a service that is started for them.
const fn by_service(group: Group) -> Group {
    Group { service: true, ..group }
}

/// Does nothing: see [`left_out`].
fn nothing(_: &Scene) -> anyhow::Result<()> {
    Ok(())
}

/// Whether sentences about a service are for other columns: an emulated machine takes minutes for them (`DKIMWATCH_SERVICE`).
fn left_out() -> bool {
    std::env::var_os("DKIMWATCH_SERVICE").is_some_and(|word| word == "elsewhere")
}

/// In the order in which they are tried. The flood is late: what it leaves behind makes every later wait longer.
const GROUPS: &[Group] = &[
    seen("The right process is blamed", blame::SENTENCES),
    seen("Disguises", disguise::SENTENCES),
    seen("A hijacked signer", hijack::SENTENCES),
    holds("What looks hijacked and is the signer", itself::SENTENCES),
    seen("A key by any other name", alias::SENTENCES),
    seen("Roads to a key", roads::SENTENCES),
    seen("Bodies of readers", bodies::SENTENCES),
    seen("Data without an open", data::SENTENCES),
    seen("File systems", filesystems::SENTENCES),
    seen("Keys that are born", born::SENTENCES),
    seen("Attempts that are refused", refused::SENTENCES),
    seen("A signer's memory", memory::SENTENCES),
    seen("Around the file system", devices::SENTENCES),
    by_service(silent("What leaves the watch alone", monitor::SILENT)),
    by_service(seen("Hands on the watch", monitor::SENTENCES)),
    silent("What is no attempt at a key", refused::SILENT),
    seen("Tampering with names", tamper::NAMES),
    seen("Tampering with contents and attributes", tamper::CONTENTS),
    seen("Mounts over keys", tamper::MOUNTS),
    silent("What is no mount over a key", tamper::SILENT),
    silent("What reaches no data", data::SILENT),
    silent("What leaves a signer's memory alone", memory::SILENT),
    silent("What is no access", benign::SENTENCES),
    by_service(holds("Expected traffic in sum", summed::SENTENCES)),
    holds("Floods", flood::SENTENCES),
    holds("Floods of attempts", refused::FLOODS),
    holds("Commands", command::SENTENCES),
    by_service(holds("Who may end the watch", summed::ENDINGS)),
];

#[expect(clippy::print_stderr, reason = "a test program's complaint")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sentences =
        || GROUPS.iter().flat_map(|group| group.sentences.iter().map(|(name, body)| (*name, *body, group.service)));
    let names: Vec<&str> = sentences().map(|(name, ..)| name).collect();
    let scene = match if arguments.list { None } else { Some(Scene::set(&names)) }.transpose() {
        Ok(scene) => scene.map(Arc::new),
        Err(error) => {
            eprintln!("the scene could not be set: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let sees = Arc::new(Sees::default());
    let trials = sentences()
        .map(|(name, body, service)| {
            let (scene, sees) = (scene.clone(), Arc::clone(&sees));
            Trial::test(name, move || {
                let scene = scene.ok_or("no scene was set")?;
                let is_left_out = service && left_out();
                if is_left_out {
                    scene.absent(name, "tried in other columns: DKIMWATCH_SERVICE=everywhere tries it in all of them");
                }
                let body = if is_left_out { nothing } else { body };
                sees.told(name, &scene, body).map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(scene) = &scene {
        sees.print(scene, GROUPS);
    }
    let closing = scene.and_then(Arc::into_inner).map(Scene::close).transpose();
    if let Err(error) = closing {
        eprintln!("the watch did not end well: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
