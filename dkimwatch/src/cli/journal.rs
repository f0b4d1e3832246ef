//! `dkimwatch journal`: verify, setup-sealing, info.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    config, escape,
    exit::Outcome,
    print::rfc3339,
    record::{self, JournalError, VerificationKey, Verified},
};

/// Works on the journal.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do with it.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Check every entry against its checksum, its place, the chain and the seal, and name the first one that is not as it was.
    ///
    /// Reads only; needs no privilege where the files can be read, and works on a copy on another machine. Without the verification key
    /// the seal is not checked: whoever was root on the host could have written all of it anew.
    ///
    /// Exits with 0 if all is well, 1 with findings, 2 if there is no journal or the key is none.
    Verify(VerifyArgs),
    /// Seal the journal from its next segment on, and print the verification key, once.
    ///
    /// The key is kept off this host: who has it can write the journal anew. `dkimwatch run` is stopped for this.
    ///
    /// Exits with 0, and with 2 if it is sealed already or cannot be.
    SetupSealing(SealArgs),
    /// Say what the journal holds, and since when.
    ///
    /// Exits with 0, and with 2 if there is none.
    Info(InfoArgs),
}

/// The arguments of `journal verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The journal's folder
    #[arg(long, value_name = "DIR", default_value = config::FOLDER)]
    pub journal: PathBuf,
    /// File with the verification key, as `journal setup-sealing` printed it
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The verification key itself; others on this machine can see it in the list of processes
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    pub key: Option<String>,
}

/// The arguments of `journal setup-sealing`.
#[derive(Clone, Debug, clap::Args)]
pub struct SealArgs {
    /// The journal's folder
    #[arg(long, value_name = "DIR", default_value = config::FOLDER)]
    pub journal: PathBuf,
    /// Draw a new key although there is one: the old one verifies what was sealed until now
    #[arg(long)]
    pub renew: bool,
}

/// The arguments of `journal info`.
#[derive(Clone, Debug, clap::Args)]
pub struct InfoArgs {
    /// The journal's folder
    #[arg(long, value_name = "DIR", default_value = config::FOLDER)]
    pub journal: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let out = &mut io::stdout().lock();
    let done = match &args.verb {
        Verb::Verify(args) => verify(args, out),
        Verb::SetupSealing(args) => seal(args, out),
        Verb::Info(args) => info(args, out),
    };
    match done {
        Ok(outcome) => Ok(outcome),
        Err(Fault::Told(sentence)) => {
            writeln!(io::stderr().lock(), "dkimwatch: {sentence}")?;
            Ok(Outcome::Usage)
        }
        Err(Fault::Output(error)) => Err(error.into()),
    }
}

/// Why a command did not do what it should.
enum Fault {
    /// In a sentence.
    Told(String),
    /// The output is closed.
    Output(io::Error),
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Told(error.to_string())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn key(args: &VerifyArgs) -> Result<Option<VerificationKey>, Fault> {
    let text = match (&args.key, &args.key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| Fault::Told(format!("{} cannot be read: {error}", escape::path(file))))?,
        (None, None) => return Ok(None),
    };
    text.parse().map(Some).map_err(|error: record::NoKey| Fault::Told(error.to_string()))
}

fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<Outcome, Fault> {
    let key = key(args)?;
    let found = record::verify(&args.journal, key.as_ref())?;
    summary(&args.journal, &found, out)?;
    match (&key, found.unchecked) {
        (Some(_), _) => writeln!(out, "sealed    {} of {} entries carry the seal", found.sealed, found.entries)?,
        (None, 0) => writeln!(out, "sealed    no: whoever was root on the host could have written it anew")?,
        (None, count) => writeln!(
            out,
            "sealed    {count} of {} entries say so, which was NOT checked: give the verification key with --key-file",
            found.entries
        )?,
    }
    if let Some(segment) = found.renewed {
        writeln!(out, "renewed   from segment {segment} on another key seals: verify that with the newer one")?;
    }
    for (first, last, unix_ns) in &found.trimmed {
        writeln!(out, "removed   segments {first} to {last} at {}, for their age or size", rfc3339((*unix_ns).into()))?;
    }
    if found.is_whole() {
        let by = if key.is_some() { "checksums, chain and seal agree" } else { "checksums and chain agree" };
        writeln!(out, "whole     {by}")?;
        return Ok(Outcome::Quiet);
    }
    for (at, finding) in found.findings.iter().enumerate() {
        writeln!(out, "{}  {finding}", if at == 0 { "FIRST   " } else { "then    " })?;
    }
    if found.more > 0 {
        writeln!(out, "then      {} more", found.more)?;
    }
    Ok(Outcome::Findings)
}

fn summary(folder: &std::path::Path, found: &Verified, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "journal   {}", escape::path(folder))?;
    writeln!(
        out,
        "holds     {} entries in {} segment{}, {} of them alerts",
        found.entries,
        found.segments,
        if found.segments == 1 { "" } else { "s" },
        found.alerts
    )?;
    if let Some((first, last)) = found.span {
        let time = |unix_ns: i64| rfc3339(unix_ns.into());
        writeln!(out, "from      entry {} at {}", first.seq, time(first.unix_ns))?;
        writeln!(out, "to        entry {} at {}", last.seq, time(last.unix_ns))?;
    }
    Ok(())
}

fn seal(args: &SealArgs, out: &mut impl Write) -> Result<Outcome, Fault> {
    let (key, notices) = record::set_up_sealing(&args.journal, args.renew)?;
    writeln!(out, "{key}")?;
    let mut err = io::stderr().lock();
    for notice in notices {
        writeln!(err, "dkimwatch: {}", notice.reason())?;
    }
    writeln!(
        err,
        "This is the verification key of {}. It is shown once and is kept nowhere on this host: copy it to another one, or onto paper.\nWho has it can write the journal anew, so not into a backup of this host. The journal is sealed from the next start of `dkimwatch run` on.",
        escape::path(&args.journal)
    )?;
    Ok(Outcome::Quiet)
}

fn info(args: &InfoArgs, out: &mut impl Write) -> Result<Outcome, Fault> {
    let found = record::verify(&args.journal, None)?;
    summary(&args.journal, &found, out)?;
    let bytes = record::size_on_disk(&args.journal)?;
    writeln!(out, "on disk   {} KiB", bytes.div_ceil(1_024))?;
    let sealed = match found.unchecked {
        0 => "no".to_owned(),
        count => format!("{count} of {} entries", found.entries),
    };
    writeln!(out, "sealed    {sealed}")?;
    let findings = found.findings.len() as u64 + found.more;
    writeln!(out, "findings  {findings}{}", if findings == 0 { "" } else { ": see dkimwatch journal verify" })?;
    Ok(Outcome::Quiet)
}
