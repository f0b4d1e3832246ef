//! `dkimwatch report`: what the journals say of the keys, for people after a breach.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    escape,
    exit::Outcome,
    judge::Verdict,
    record::{JournalError, VerificationKey, mark_reported},
    report::{Filter, Format, KeyPattern, Question, report, when},
};

mod output;

/// The arguments of `report`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of a journal, or of a copy of one, of this host or another (may be given several times)
    #[arg(long, value_name = "DIR", required = true)]
    pub journal: Vec<PathBuf>,
    /// From this time on: 2026-11-28, "2026-11-28 14:00", RFC 3339, or how long ago: 90m, 2h, 7d, 4w
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until before this time; a day alone is meant with all its hours
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only accesses to this key, the keys of this folder, or those that fit a glob
    #[arg(long, value_name = "PATH")]
    pub key: Option<PathBuf>,
    /// Only accesses to keys of this domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Only accesses with this verdict
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub verdict: Option<Wanted>,
    /// Only accesses by this user, by name or number: effective, real, or who logged in
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only accesses by this program, by its path or its name
    #[arg(long, value_name = "PROGRAM")]
    pub process: Option<String>,
    /// Only accesses from this container, by its name or the beginning of its id
    #[arg(long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// File with the key that `journal setup-sealing` printed, which verifies the seals (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub verification_key_file: Vec<PathBuf>,
    /// For a terminal, for programs, for spreadsheets, or for a browser and a printer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to this file, which only its owner may read, and replace it once the report is complete
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `--verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// By expected signers.
    Expected,
    /// By declared maintenance.
    Maintenance,
    /// By anybody else.
    Unexpected,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    run_at(args, when::now(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn run_at(args: &Args, now: i64, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut complain = |sentence: &str, outcome| {
        writeln!(err, "dkimwatch: {sentence}")?;
        Ok(outcome)
    };
    let question = match question(args, now) {
        Ok(question) => question,
        Err(sentence) => return complain(&sentence, Outcome::Usage),
    };
    // Before the journals are read, which can take a minute.
    if let Some(Err(error)) = args.output.as_deref().map(output::check) {
        return complain(&error.to_string(), Outcome::Usage);
    }
    let report = match report(&question) {
        Ok(report) => report,
        Err(error) => {
            let outcome = if is_none(&error) { Outcome::Usage } else { Outcome::Blind };
            return complain(&error.to_string(), outcome);
        }
    };
    match &args.output {
        None => {
            let mut out = io::BufWriter::new(out);
            report.write(args.format, &mut out)?;
            out.flush()?;
        }
        Some(path) => output::write(path, |file| report.write(args.format, file))?,
    }
    if !report.selective && args.since.is_none() && args.until.is_none() {
        // Retention waits for this.
        for (folder, seal) in question.journals.iter().zip(&report.journals) {
            seal.span.iter().for_each(|(_, last)| mark_reported(folder, last.seq));
        }
    }
    Ok(match (report.is_blind(), report.has_findings()) {
        (true, _) => Outcome::Blind,
        (false, true) => Outcome::Findings,
        (false, false) => Outcome::Quiet,
    })
}

/// There is no journal, rather than one that cannot be read.
fn is_none(error: &JournalError) -> bool {
    match error {
        JournalError::Empty(_) => true,
        JournalError::File { error, .. } => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}

fn question(args: &Args, now: i64) -> Result<Question, String> {
    let time = |flag: &str, text: &Option<String>, end| {
        let time = text.as_deref().map(|text| when::parse(text, end, now)).transpose();
        time.map_err(|error| format!("{flag} {error}"))
    };
    let since = time("--since", &args.since, when::End::Since)?;
    let until = time("--until", &args.until, when::End::Until)?;
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        let (since, until) = (when::plain(since), when::plain(until));
        return Err(format!("--since ({since}) is not before --until ({until}): no time lies between"));
    }
    let mut journals: Vec<PathBuf> = Vec::new();
    for journal in &args.journal {
        // Twice the same folder is one journal.
        let real = journal.canonicalize().unwrap_or_else(|_| journal.clone());
        if !journals.contains(&real) {
            journals.push(real);
        }
    }
    let keys = args.verification_key_file.iter().map(verification_key).collect::<Result<_, _>>()?;
    let filter = Filter {
        since,
        until,
        key: args.key.as_deref().map(KeyPattern::new).transpose()?,
        domain: args.domain.clone(),
        verdict: args.verdict.map(|wanted| match wanted {
            Wanted::Expected => Verdict::Expected,
            Wanted::Maintenance => Verdict::Maintenance,
            Wanted::Unexpected => Verdict::Unexpected,
        }),
        user: args.user.clone(),
        process: args.process.clone(),
        container: args.container.clone(),
    };
    Ok(Question { journals, keys, filter, now })
}

fn verification_key(path: &PathBuf) -> Result<VerificationKey, String> {
    let shown = escape::path(path);
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--verification-key-file {shown} cannot be read: {error}"))?;
    text.parse().map_err(|error| format!("--verification-key-file {shown}: {error}"))
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
