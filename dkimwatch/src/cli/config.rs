//! `dkimwatch config check`: is the configuration right, and what does it mean?

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    config::{self, Loaded, Signer},
    exit::Outcome,
    host::Host,
    shown,
};

/// Works on the configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do with it.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Checks it and prints in short what it means; exit code 0 if it is right, 2 if not
    Check(CheckArgs),
}

/// The arguments of `config check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration file [default: /etc/dkimwatch/dkimwatch.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Verb::Check(args) = &args.verb;
    match config::load(args.config.as_deref(), &Host::here()) {
        Ok(loaded) => {
            meaning(&loaded, &mut io::stdout().lock())?;
            let mut err = io::stderr().lock();
            for note in &loaded.notes {
                writeln!(err, "note: {}: {}", note.place, note.text)?;
            }
            Ok(Outcome::Quiet)
        }
        Err(error) => {
            writeln!(io::stderr().lock(), "dkimwatch: {error}")?;
            Ok(Outcome::Usage)
        }
    }
}

/// The settings in short.
fn meaning(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let settings = &loaded.settings;
    match &loaded.file {
        Some(file) => writeln!(out, "{} is right, and means:", shown::path(file))?,
        None => writeln!(out, "there is no {}; the defaults mean:", config::DEFAULT_PATH)?,
    }
    let asked = if settings.keys.discover { "the signers on this host are asked" } else { "no signer is asked" };
    writeln!(out, "keys: {asked}")?;
    for path in &settings.keys.paths {
        writeln!(out, "  and {}", shown::path(path))?;
    }
    writeln!(out, "  anyone may read beside them: {}", words(&settings.keys.public, "nothing"))?;
    for signer in &settings.signers {
        let origin = if signer.built_in { "built in" } else { "configured" };
        reader(&format!("signer {} ({origin})", shown::bytes(signer.name.as_bytes())), signer, out)?;
    }
    for tool in &settings.maintenance {
        reader(&format!("maintenance {}", shown::bytes(tool.name.as_bytes())), tool, out)?;
    }
    Ok(())
}

fn reader(title: &str, reader: &Signer, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{title}: {}", shown::path(&reader.executable))?;
    if let Some(script) = &reader.script {
        write!(out, " running {}", shown::path(script))?;
    }
    write!(out, ", as {}", words(&reader.users, "any user"))?;
    if !reader.units.is_empty() {
        write!(out, ", in {}", words(&reader.units, ""))?;
    }
    if !reader.containers.is_empty() {
        write!(out, ", in container {}", words(&reader.containers, ""))?;
    }
    let keys: Vec<_> = reader.keys.iter().map(|key| shown::path(key)).collect();
    writeln!(out, ", reads {}", if keys.is_empty() { "all keys".to_owned() } else { keys.join(", ") })
}

fn words(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}
