//! `dkimwatch config check`: is the configuration right, and what does it mean?

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    config::{self, Loaded, Signer},
    escape,
    exit::Outcome,
    host::Host,
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
    /// Check the configuration and print in short what it means.
    ///
    /// Exits with 0 if it is right, 2 if it is not; the message names file, line, key, value and remedy.
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
    check(args, &Host::here(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn check(args: &CheckArgs, host: &Host, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Outcome> {
    match config::load(args.config.as_deref(), host) {
        Ok(loaded) => {
            meaning(&loaded, out)?;
            for note in &loaded.notes {
                writeln!(err, "note: {}: {}", note.place, note.text)?;
            }
            Ok(Outcome::Quiet)
        }
        Err(error) => {
            writeln!(err, "dkimwatch: {error}")?;
            Ok(Outcome::Usage)
        }
    }
}

/// The settings in short.
fn meaning(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let settings = &loaded.settings;
    match &loaded.file {
        Some(file) => writeln!(out, "{} is right, and means:", escape::path(file))?,
        None => writeln!(out, "there is no {}; the defaults mean:", config::DEFAULT_PATH)?,
    }
    let asked = if settings.keys.discover { "the signers on this host are asked" } else { "no signer is asked" };
    writeln!(out, "keys: {asked}")?;
    for path in &settings.keys.paths {
        writeln!(out, "  and {}", escape::path(path))?;
    }
    writeln!(out, "  anyone may read beside them: {}", words(&settings.keys.public, "nothing"))?;
    for signer in &settings.signers {
        let origin = if signer.built_in { "built in" } else { "configured" };
        reader(&format!("signer {} ({origin})", escape::text(signer.name.as_bytes())), signer, out)?;
    }
    for tool in &settings.maintenance {
        reader(&format!("maintenance {}", escape::text(tool.name.as_bytes())), tool, out)?;
    }
    Ok(())
}

fn reader(title: &str, reader: &Signer, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{title}: {}", escape::path(&reader.executable))?;
    if let Some(script) = &reader.script {
        write!(out, " running {}", escape::path(script))?;
    }
    write!(out, ", as {}", words(&reader.users, "any user"))?;
    if !reader.units.is_empty() {
        write!(out, ", in {}", words(&reader.units, ""))?;
    }
    if !reader.containers.is_empty() {
        write!(out, ", in container {}", words(&reader.containers, ""))?;
    }
    if !reader.images.is_empty() {
        write!(out, ", in a container of {}", words(&reader.images, ""))?;
    }
    let keys: Vec<_> = reader.keys.iter().map(|key| escape::path(key)).collect();
    writeln!(out, ", reads {}", if keys.is_empty() { "all keys".to_owned() } else { keys.join(", ") })
}

fn words(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn check_text(text: &str) -> (Outcome, String, String) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("dkimwatch.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = CheckArgs { config: Some(file) };
        let outcome = check(&args, &Host::at(root.path()), &mut out, &mut err).unwrap();
        (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn says_what_is_meant() {
        let (outcome, out, err) = check_text(
            "[keys]\ndiscover = false\npaths = [\"/srv/*.key\"]\npublic = []\n\
             [[signer]]\nname = \"opendkim\"\nexecutable = \"/opt/o\"\nusers = [0]\ncontainers = [\"0123456789ab\"]\n\
             [[maintenance]]\nname = \"backup\"\nexecutable = \"/opt/b\"\nkeys = [\"/srv\"]\n",
        );
        assert_eq!(outcome, Outcome::Quiet);
        let said: Vec<_> = out.lines().skip(1).filter(|line| !line.contains("built in")).collect();
        assert_eq!(
            said,
            [
                "keys: no signer is asked",
                "  and /srv/*.key",
                "  anyone may read beside them: nothing",
                "signer opendkim (configured): /opt/o, as 0, in container 0123456789ab, reads all keys",
                "maintenance backup: /opt/b, as any user, reads /srv",
            ]
        );
        assert_eq!(out.lines().filter(|line| line.contains("built in")).count(), 4);
        assert_eq!(err.lines().count(), 3, "the glob, the tool and its folder are not there yet: {err}");
    }

    #[test]
    fn a_wrong_one_is_a_usage_error() {
        let (outcome, out, err) = check_text("[keys]\nfoo = 1\n");
        assert_eq!((outcome, out.as_str()), (Outcome::Usage, ""));
        assert!(
            err.starts_with("dkimwatch: /")
                && err.contains(":2: keys: unknown key `foo`; known here: discover, paths, public"),
            "{err}"
        );
    }
}
