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
    /// Each has a folder as well that is watched as a whole.
    folders: bool,
    /// The variable that says that they are tried in other columns, where an emulated machine takes long for them.
    variable: Option<&'static str>,
}

/// Ways to a key, each of which is to be seen.
const fn seen(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "seen", sentences, folders: false, variable: None }
}

/// What is to give no event.
const fn silent(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "silent", sentences, folders: false, variable: None }
}

/// Other promises.
const fn holds(title: &'static str, sentences: &'static [Sentence]) -> Group {
    Group { title, held: "holds", sentences, folders: false, variable: None }
}

/// With a folder that is watched as a whole.
const fn with_folders(group: Group) -> Group {
    Group { folders: true, ..group }
}

/// By a service that is started for them.
const fn by_service(group: Group) -> Group {
    Group { variable: Some("DKIMWATCH_SERVICE"), ..group }
}

/// The same whatever the backend of the column.
const fn once_a_kernel(group: Group) -> Group {
    Group { variable: Some("DKIMWATCH_ONCE"), ..group }
}

/// Of which another kernel says nothing new.
const fn on_some_kernels(group: Group) -> Group {
    Group { variable: Some("DKIMWATCH_COMMANDS"), ..group }
}

impl Group {
    /// The variable, where it says so now.
    fn left_out(&self) -> Option<&'static str> {
        self.variable.filter(|variable| std::env::var_os(variable).is_some_and(|word| word == "elsewhere"))
    }
}

/// Does nothing: see [`Group::left_out`].
fn nothing(_: &Scene) -> anyhow::Result<()> {
    Ok(())
}

/// In the order in which they are tried. The flood is late: what it leaves behind makes every later wait longer.
const GROUPS: &[Group] = &[
    seen("The right process is blamed", blame::SENTENCES),
    seen("Disguises", disguise::SENTENCES),
    seen("A hijacked signer", hijack::SENTENCES),
    holds("What looks hijacked and is the signer", itself::SENTENCES),
    once_a_kernel(holds("A signer's unit and its package", itself::ELSEWHERE)),
    seen("A key by any other name", alias::SENTENCES),
    with_folders(seen("Roads to a key", roads::SENTENCES)),
    seen("Bodies of readers", bodies::SENTENCES),
    seen("Data without an open", data::SENTENCES),
    with_folders(seen("File systems", filesystems::SENTENCES)),
    with_folders(seen("Keys that are born", born::SENTENCES)),
    with_folders(seen("Attempts that are refused", refused::SENTENCES)),
    seen("A signer's memory", memory::SENTENCES),
    once_a_kernel(seen("A signer's memory, by a debugger", memory::BY_DEBUGGER)),
    seen("Around the file system", devices::SENTENCES),
    by_service(silent("What leaves the watch alone", monitor::SILENT)),
    by_service(seen("Hands on the watch", monitor::SENTENCES)),
    with_folders(silent("What is no attempt at a key", refused::SILENT)),
    with_folders(seen("Tampering with names", tamper::NAMES)),
    seen("Tampering with links", tamper::LINKS),
    with_folders(seen("Tampering with the folders above", tamper::WAYS)),
    with_folders(seen("Tampering with contents and attributes", tamper::CONTENTS)),
    with_folders(seen("Mounts over keys", tamper::MOUNTS)),
    seen("Mounts with keys", tamper::UNCOVERED),
    with_folders(silent("What is no mount over a key", tamper::SILENT)),
    silent("What leaves the folders above alone", tamper::BESIDE),
    silent("What reaches no data", data::SILENT),
    silent("What leaves a signer's memory alone", memory::SILENT),
    with_folders(silent("What is no access", benign::SENTENCES)),
    by_service(holds("Expected traffic in sum", summed::SENTENCES)),
    holds("Floods", flood::SENTENCES),
    with_folders(holds("Floods of attempts", refused::FLOODS)),
    on_some_kernels(holds("Commands", command::SENTENCES)),
    by_service(holds("Who may end the watch", summed::ENDINGS)),
];

#[expect(clippy::print_stderr, reason = "a test program's complaint")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sentences =
        || GROUPS.iter().flat_map(|group| group.sentences.iter().map(|(name, body)| (*name, *body, group.left_out())));
    // What is tried elsewhere needs no key here: each look at what is watched asks about every one.
    let names: Vec<&str> = sentences().filter(|(.., left_out)| left_out.is_none()).map(|(name, ..)| name).collect();
    let with_folders = GROUPS.iter().filter(|group| group.folders).flat_map(|group| group.sentences);
    let folders: Vec<&str> = with_folders.map(|(name, _)| *name).collect();
    let scene = match if arguments.list { None } else { Some(Scene::set(&names, &folders)) }.transpose() {
        Ok(scene) => scene.map(Arc::new),
        Err(error) => {
            eprintln!("the scene could not be set: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let sees = Arc::new(Sees::default());
    let trials = sentences()
        .map(|(name, body, left_out)| {
            let (scene, sees) = (scene.clone(), Arc::clone(&sees));
            Trial::test(name, move || {
                let scene = scene.ok_or("no scene was set")?;
                if let Some(variable) = left_out {
                    scene.absent(name, format!("tried in other columns: {variable}=here tries it in all of them"));
                }
                let body = if left_out.is_some() { nothing } else { body };
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
