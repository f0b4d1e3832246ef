//! What the kernel side promises, as sentences, each run against a real watch on this kernel.
//!
//! `DKIMWATCH_BACKEND` forces a backend (default: the first that works), `DKIMWATCH_DISK` names a folder on a file system
//! of its own (default: the system's temporary folder).
//!
//! At the end one line, `SEES` and a JSON object, says what became of each sentence here; `cargo xtask test` makes
//! `docs/kernels.md` of it.

mod alias;
mod benign;
mod blame;
mod bodies;
mod born;
mod command;
mod disguise;
mod filesystems;
mod flood;
mod grounds;
mod loot;
mod roads;
mod scene;
mod sees;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use scene::Scene;
use sees::Sees;

/// A sentence: a key of its own, and what is then true.
type Sentence = (&'static str, fn(&Scene) -> anyhow::Result<()>);

const SENTENCES: &[&[Sentence]] = &[
    blame::SENTENCES,
    disguise::SENTENCES,
    alias::SENTENCES,
    born::SENTENCES,
    benign::SENTENCES,
    flood::SENTENCES,
    roads::SENTENCES,
    bodies::SENTENCES,
    filesystems::SENTENCES,
];

#[expect(clippy::print_stderr, reason = "a test program's complaint")]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let names: Vec<&str> = SENTENCES.iter().flat_map(|list| list.iter()).map(|(name, _)| *name).collect();
    let scene = match if arguments.list { None } else { Some(Scene::set(&names)) }.transpose() {
        Ok(scene) => scene.map(Arc::new),
        Err(error) => {
            eprintln!("the scene could not be set: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let sees = Arc::new(Sees::default());
    let mut trials: Vec<Trial> = SENTENCES
        .iter()
        .flat_map(|list| list.iter())
        .map(|(name, sentence)| {
            let (scene, sees) = (scene.clone(), Arc::clone(&sees));
            Trial::test(*name, move || {
                let scene = scene.ok_or("no scene was set")?;
                sees.told(name, || sentence(&scene)).map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    trials.extend(command::SENTENCES.iter().map(|(name, sentence)| {
        let sees = Arc::clone(&sees);
        Trial::test(*name, move || sees.told(name, sentence).map_err(|error| format!("{error:#}").into()))
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(scene) = &scene {
        let commands = command::SENTENCES.iter().map(|(name, _)| *name);
        sees.print(scene, &names.iter().copied().chain(commands).collect::<Vec<_>>());
    }
    let closing = scene.and_then(Arc::into_inner).map(Scene::close).transpose();
    if let Err(error) = closing {
        eprintln!("the watch did not end well: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
