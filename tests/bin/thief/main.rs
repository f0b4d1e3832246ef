//! A thief of our own: reads a file by one of the roads that a monitor may overlook, and proves that it got the bytes.
//!
//! `thief ROAD ARGUMENT…` prints what [`loot::show`] says: who read (as the host numbers it), then the file's bytes. Exit
//! code 0 when it got them, 1 when the road is closed; the reason goes to standard error.

mod bodies;
mod compat;
mod data;
mod lies;
mod look;
mod loot;
mod memory;
mod monitor;
mod raw;
mod reads;
mod ring;
mod signer;
mod steady;
mod tamper;
mod uring;
mod ways;

use std::{env, ffi::OsString, io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The test that started it shows this; where even that fails, the exit code remains.
            let _ = writeln!(std::io::stderr(), "thief: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A road and how it is taken.
type Road = (&'static str, fn(&[OsString]) -> Result<()>);

fn run() -> Result<()> {
    take(env::args_os().skip(1))
}

/// Takes the road that the first argument names.
fn take(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let wanted = arguments.next().context("which road?")?;
    let arguments: Vec<OsString> = arguments.collect();
    let roads = [
        ways::ROADS,
        bodies::ROADS,
        compat::ROADS,
        data::ROADS,
        lies::ROADS,
        look::ROADS,
        memory::ROADS,
        monitor::ROADS,
        signer::ROADS,
        steady::ROADS,
        tamper::ROADS,
    ];
    let road = roads.into_iter().flatten().find(|(name, _)| wanted == *name);
    let (_, take) = road.with_context(|| format!("no such road: {}", wanted.display()))?;
    take(&arguments)
}

/// The argument at a place.
fn argument(arguments: &[OsString], at: usize) -> Result<&OsString> {
    arguments.get(at).with_context(|| format!("argument {} is missing", at + 1))
}

/// A number at a place.
fn number(arguments: &[OsString], at: usize) -> Result<u32> {
    argument(arguments, at)?.to_str().and_then(|text| text.parse().ok()).context("not a number")
}
