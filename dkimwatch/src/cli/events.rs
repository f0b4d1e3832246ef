//! `dkimwatch events`: reads the journal, or follows it as it is written.

use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use crate::{
    config, escape,
    exit::Outcome,
    judge::Verdict,
    print::{Colour, harmful, told},
    record::{self, Entry, ReadOut},
    report::when,
};

/// How often a followed journal is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Reads the journal.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The journal's folder, or a copy of it
    #[arg(long, value_name = "DIR", default_value = config::FOLDER)]
    pub journal: PathBuf,
    /// Only from this time on: 2026-11-28, "2026-11-28 14:00", RFC 3339, or how long ago: 90m, 2h, 7d, 4w
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<i64>,
    /// Only until before this time; a day alone is meant with all its hours
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: Option<i64>,
    /// Only of this key: its path, or its domain, or domain/selector
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only accesses that were judged so
    #[arg(long, value_enum)]
    pub verdict: Option<Judged>,
    /// Go on with what is written from now on
    #[arg(long)]
    pub follow: bool,
    /// Lines for people, or one ECS 9 object a line
    #[arg(long, value_enum, default_value_t = super::watch::Format::Pretty)]
    pub format: super::watch::Format,
}

/// `--verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Judged {
    /// By an expected signer.
    Expected,
    /// By declared maintenance.
    Maintenance,
    /// By anybody else.
    Unexpected,
}

impl Judged {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Expected => Verdict::Expected,
            Self::Maintenance => Verdict::Maintenance,
            Self::Unexpected => Verdict::Unexpected,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let mut entries = match record::entries(&args.journal, args.since) {
        Ok(entries) => entries,
        Err(error) => {
            writeln!(io::stderr().lock(), "dkimwatch: {error}")?;
            return Ok(Outcome::Usage);
        }
    };
    let out = &mut io::stdout().lock();
    let colour = if out.is_terminal() { Colour::of_terminal() } else { Colour::Never };
    // What is behind a follower is read like any other journal's.
    loop {
        let read = if args.follow { entries.next_written() } else { entries.next().transpose() };
        match read {
            Ok(Some(ReadOut::Entry(entry))) => show(args, &entry, colour, out)?,
            Ok(Some(ReadOut::Damage { segment, bytes })) => {
                let path = escape::path(&args.journal);
                writeln!(
                    io::stderr().lock(),
                    "dkimwatch: {path}: {bytes} bytes of segment {segment} are no entry; see dkimwatch journal verify"
                )?;
            }
            Ok(None) if args.follow => {
                out.flush()?;
                // Nothing is lost by a look that comes late: the journal is there.
                std::thread::park_timeout(LOOK);
            }
            Ok(None) => break,
            Err(error) => {
                writeln!(io::stderr().lock(), "dkimwatch: {error}")?;
                return Ok(Outcome::Usage);
            }
        }
    }
    out.flush()?;
    Ok(Outcome::Quiet)
}

fn show(args: &Args, entry: &Entry, colour: Colour, out: &mut impl Write) -> io::Result<()> {
    let in_time =
        args.since.is_none_or(|since| entry.unix_ns >= since) && args.until.is_none_or(|until| entry.unix_ns < until);
    let is_judged = args.verdict.is_none_or(|judged| entry.verdict == Some(judged.verdict()));
    if !in_time || !is_judged {
        return Ok(());
    }
    // What was written by another version, or altered, is shown as it lies.
    let event: Value = serde_json::from_slice(&entry.event).unwrap_or_default();
    if args.key.as_ref().is_some_and(|key| !is_of(key, &event)) {
        return Ok(());
    }
    match args.format {
        super::watch::Format::Ecs => writeln!(out, "{}", one_line(&entry.event, &event)),
        super::watch::Format::Pretty => told(&event, entry.unix_ns.into(), colour, out),
    }
}

fn since(text: &str) -> Result<i64, when::NoTime> {
    when::parse(text, when::End::Since, when::now())
}

fn until(text: &str) -> Result<i64, when::NoTime> {
    when::parse(text, when::End::Until, when::now())
}

/// An event as it was written, if it is one JSON object on a line of its own, as ours are; else what can be made of it. What somebody
/// altered neither makes two lines of one, nor reaches a terminal as a command.
fn one_line(bytes: &[u8], event: &Value) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if event.is_object() && text.chars().all(is_plain) => text.to_owned(),
        _ if event.is_object() => event.to_string().chars().fold(String::new(), |mut line, char| {
            // Outside of strings JSON has none of these.
            let mut units = [0; 2];
            if is_plain(char) {
                line.push(char);
            } else {
                char.encode_utf16(&mut units).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
            }
            line
        }),
        _ => serde_json::json!({"error": {"message": "this entry of the journal is no event", "code": escape::text(bytes)}}).to_string(),
    }
}

/// Whether a terminal shows it, and does nothing else.
fn is_plain(char: char) -> bool {
    !harmful(char)
}

/// Whether an event is of a key.
fn is_of(key: &str, event: &Value) -> bool {
    let text = |name: &str| event.pointer(name).and_then(Value::as_str);
    let (path, domain, selector) =
        (text("/dkimwatch/key/path"), text("/dkimwatch/key/domain"), text("/dkimwatch/key/selector"));
    path == Some(key)
        || domain == Some(key)
        || key.split_once('/').is_some_and(|(one, other)| domain == Some(one) && selector == Some(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_named_by_path_domain_or_selector() {
        let event =
            json!({"dkimwatch": {"key": {"path": "/k/a.private", "domain": "example.org", "selector": "mail"}}});
        for key in ["/k/a.private", "example.org", "example.org/mail"] {
            assert!(is_of(key, &event), "{key}");
        }
        for other in ["/k/b.private", "example.net", "example.org/old", "mail", ""] {
            assert!(!is_of(other, &event), "{other}");
        }
        assert!(!is_of("example.org", &Value::Null));
    }

    #[test]
    fn what_was_altered_stays_one_line() {
        for bytes in [
            b"{\"a\":\"\xc2\x9b2J\xe2\x80\xae\x7f\"}".as_slice(),
            b"{\"a\":\n1}\n{}",
            b"{\n}",
            b"\x1b]0;x\x07",
            b"[1]",
            b"",
        ] {
            let event: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let line = one_line(bytes, &event);
            assert!(!line.contains(harmful), "{line:?}");
            assert!(serde_json::from_str::<Value>(&line).expect("JSON").is_object(), "{line}");
        }
        let ours = br#"{"event":{"reason":"a \\x1b"}}"#;
        assert_eq!(one_line(ours, &serde_json::from_slice(ours).expect("JSON")).as_bytes(), ours);
    }
}
