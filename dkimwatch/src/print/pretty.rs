//! Lines for people: one an access; a stranger's has its reason and its command line below, indented.

use std::{fmt::Write as _, io::Write, os::unix::ffi::OsStrExt as _};

use unicode_width::UnicodeWidthStr as _;

use super::{Printer, State, time};
use crate::{
    attribute::AttributedAccess,
    containers::Enrichment,
    decode::{Args, Process},
    escape,
    judge::{JudgedAccess, JudgedKey, Verdict, severity},
};

/// Whether the output takes colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ECMA-48 escape sequences, around text of ours only.
    Always,
    /// Plain text.
    Never,
}

impl Colour {
    /// For a terminal, unless the user wants none (<https://no-color.org>).
    #[must_use]
    pub fn of_terminal() -> Self {
        let none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if none { Self::Never } else { Self::Always }
    }
}

/// Writes lines for people.
#[derive(Debug)]
pub struct Pretty<W> {
    out: W,
    colour: Colour,
}

impl<W: Write> Pretty<W> {
    /// Onto an output.
    pub const fn new(out: W, colour: Colour) -> Self {
        Self { out, colour }
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn painted(&self, paint: &str, text: &str) -> String {
        painted(self.colour, paint, text)
    }
}

pub(super) fn painted(colour: Colour, paint: &str, text: &str) -> String {
    match colour {
        Colour::Always => format!("{paint}{text}{PLAIN}"),
        Colour::Never => text.to_owned(),
    }
}

const PLAIN: &str = "\x1b[0m";
pub(super) const CALM: &str = "\x1b[32m";
pub(super) const NOTED: &str = "\x1b[33m";
pub(super) const ALARM: &str = "\x1b[1;97;41m";
pub(super) const STATE: &str = "\x1b[36m";

/// Columns, in character cells. A longer text pushes the rest of its own line.
pub(super) const ACTION: usize = 15;
pub(super) const KEY: usize = 24;
pub(super) const USER: usize = 12;

impl<W: Write> Printer for Pretty<W> {
    fn access(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        let attributed = &judged.attributed;
        let (mark, badge, paint) = match judged.verdict {
            Verdict::Expected => ("  ", "expected", CALM),
            Verdict::Maintenance => ("  ", "maintenance", CALM),
            Verdict::Unexpected if judged.severity >= severity::HIGH => ("!!", "STRANGER", ALARM),
            Verdict::Unexpected => ("! ", "unexpected", NOTED),
        };
        let badge = self.painted(paint, &format!("{mark} {badge:11}"));
        let mut line = format!(
            "{} {badge} {} {} {} {}",
            time::plain(attributed.unix_ns),
            padded(judged.action.name(), ACTION),
            padded(&key(&judged.key), KEY),
            padded(&user(attributed), USER),
            chain(attributed),
        );
        if let Some(place) = place(attributed) {
            let _ = write!(line, "  in {place}");
        }
        line.push('\n');
        let refused = judged.verdict != Verdict::Unexpected && judged.severity > severity::NONE;
        if judged.verdict == Verdict::Unexpected || refused {
            let _ = writeln!(line, "{:26}{} ({}, {})", "", judged.reason, judged.rule, severity::name(judged.severity));
        }
        if let Some(args) = attributed.access.process.args.known().filter(|_| judged.verdict == Verdict::Unexpected) {
            let _ = writeln!(line, "{:26}command line: {}", "", command(args));
        }
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }

    fn follow_up(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        let attributed = &judged.attributed;
        let Some(container) = &attributed.container else { return Ok(()) };
        let mut line = format!("{} {:14} {}: ", time::plain(attributed.unix_ns), "   container", container.short_id());
        match &attributed.enrichment {
            Enrichment::Failed(why) => line.push_str(why),
            _ => line.push_str(&judged.reason),
        }
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }

    fn state(&mut self, state: &State) -> std::io::Result<()> {
        let is_alarm = match state {
            State::Lost(_) => true,
            State::Journal(noted) => noted.notice.is_grave(),
            State::Started(_) | State::Heartbeat(_) | State::Resumed(_) | State::Stopped(_) | State::Summarised(_) => {
                false
            }
        };
        let (mark, paint) = if is_alarm { ("!!", ALARM) } else { ("  ", STATE) };
        let badge = self.painted(paint, &format!("{mark} {:11}", state.action()));
        let mut line = format!("{} {badge}  {}\n", time::plain(state.unix_ns()), state.reason());
        if let State::Started(started) = state {
            for watched in &started.keys {
                let _ = writeln!(line, "{:26}key     {}", "", key_with_path(watched));
            }
            for folder in &started.folders {
                let _ = writeln!(line, "{:26}folder  {}", "", escape::word(folder.as_os_str().as_bytes()));
            }
            for blind in &started.blind_spots {
                let _ = writeln!(line, "{:26}unseen  {}", "", escape::text(blind.as_bytes()));
            }
        }
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
    }
}

/// A text and the blanks up to its column's end, by the cells that a terminal gives it.
pub(super) fn padded(text: &str, cells: usize) -> String {
    let blanks = cells.saturating_sub(text.width());
    format!("{text}{:blanks$}", "")
}

/// Domain and selector, where known; else the path.
fn key(key: &JudgedKey) -> String {
    match (&key.domain, &key.selector) {
        (Some(domain), Some(selector)) => {
            format!("{}/{}", escape::text(domain.as_bytes()), escape::text(selector.as_bytes()))
        }
        _ => escape::word(key.path.as_os_str().as_bytes()),
    }
}

fn key_with_path(watched: &JudgedKey) -> String {
    let (name, path) = (key(watched), escape::word(watched.path.as_os_str().as_bytes()));
    if name == path { path } else { format!("{} {path}", padded(&name, KEY)) }
}

fn user(attributed: &AttributedAccess) -> String {
    let Some(creds) = attributed.access.process.creds.known() else { return "?".to_owned() };
    let shown = |name: &Option<String>, uid: u32| name.clone().unwrap_or_else(|| uid.to_string());
    // In a container the host's name for that number is somebody else's.
    let inner = attributed.inner_ids().and_then(|ids| ids.real_user).and_then(|id| attributed.inner_user(id));
    let real = inner.map_or_else(|| shown(&attributed.names.real_user, creds.uid), str::to_owned);
    if creds.euid == creds.uid { real } else { format!("{real}>{}", shown(&attributed.names.user, creds.euid)) }
}

/// The process and its forebears, nearest first: `/usr/bin/cat[4242] < bash[4000] < sshd[3990]`.
fn chain(attributed: &AttributedAccess) -> String {
    let process = &attributed.access.process;
    let mut chain = match &attributed.executable.path {
        Some(path) => escape::word(path),
        None => format!("({})", escape::word(&process.comm)),
    };
    let _ = write!(chain, "[{}]", process.pid);
    for ancestor in &process.ancestors {
        let _ = write!(chain, " < {}[{}]", escape::word(&ancestor.comm), ancestor.pid);
    }
    chain.push_str(cut(process));
    chain
}

/// The command line, each argument a word.
fn command(args: &Args) -> String {
    let mut words: Vec<String> = args.list.iter().map(|arg| escape::word(arg)).collect();
    if args.cut {
        words.push("…".to_owned());
    }
    words.join(" ")
}

const fn cut(process: &Process) -> &'static str {
    if process.ancestors_cut { " < …" } else { "" }
}

fn place(attributed: &AttributedAccess) -> Option<String> {
    match (&attributed.container, &attributed.unit) {
        (Some(container), _) => {
            let name = attributed.enrichment.details().and_then(|details| details.name.as_deref());
            let name = name.map_or_else(|| container.short_id().to_owned(), |name| escape::word(name.as_bytes()));
            Some(format!("{}:{name}", container.runtime))
        }
        (None, unit) => unit.clone(),
    }
}
