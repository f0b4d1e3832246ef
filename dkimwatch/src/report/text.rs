//! The report for a terminal: the verdict first, what to do next, and then what it rests on.

use std::io::{Result, Write};

use unicode_width::UnicodeWidthStr as _;

use super::{
    Report,
    advice::Advice,
    gaps::Gap,
    ledger::{KeyFacts, Reader},
    shown::Shown,
    stranger::Stranger,
    verdict::{bearing_words, counted_u64, key_words},
    when::{plain, short},
};
use crate::judge::severity;

/// Columns of a line; a word that is longer stands out.
const WIDTH: usize = 100;

/// Writes the report.
pub(super) fn write(report: &Report, to: &mut dyn Write) -> Result<()> {
    let out = &mut Lines { to };
    out.line(&format!("DKIM key report, {}", report.range))?;
    for one in &report.selection {
        out.line(&format!("only {one}"))?;
    }
    out.line("")?;
    out.wrapped("", &report.headline.title.as_str().to_uppercase())?;
    for sentence in &report.headline.sentences {
        out.wrapped("  ", sentence.as_str())?;
    }
    if !report.advice.is_empty() {
        out.heading("What to do")?;
        report.advice.iter().try_for_each(|advice| out.advice(advice))?;
    }
    out.heading("Keys and their readers")?;
    if report.keys.is_empty() {
        out.line("  No key was read, and no watch names one.")?;
    }
    report.keys.iter().try_for_each(|key| out.key(key))?;
    if report.crowded_out.all() > 0 {
        let count = counted_u64(report.crowded_out.all(), "access", "accesses");
        out.wrapped("  ", &format!("{count} of further keys and readers are counted, and not listed."))?;
    }
    out.heading("Accesses that nobody expected")?;
    if report.strangers.is_empty() {
        out.line("  None.")?;
    }
    report.strangers.iter().try_for_each(|stranger| out.stranger(stranger))?;
    if report.strangers_left_out > 0 {
        let more = counted_u64(report.strangers_left_out, "more is", "more are");
        out.wrapped("  ", &format!("{more} counted above, and not listed one by one."))?;
    }
    out.heading("Gaps in the watching")?;
    if report.gaps.is_empty() {
        out.line("  None is known.")?;
    }
    report.gaps.iter().try_for_each(|gap| out.gap(gap))?;
    if report.gaps_left_out > 0 {
        out.line(&format!("  {} more.", report.gaps_left_out))?;
    }
    report.notes.iter().try_for_each(|note| out.wrapped("  ", note.as_str()))?;
    out.heading("The journals")?;
    for journal in &report.journals {
        out.wrapped("  ", &format!("{}: {}", journal.folder, journal.trust.sentence()))?;
        if let Some((first, last)) = journal.span {
            let alerts = counted_u64(journal.alerts, "unexpected access", "unexpected accesses");
            out.wrapped(
                "    ",
                &format!(
                    "entries {} to {}, {} to {}; {alerts}, {} entries sealed",
                    first.seq,
                    last.seq,
                    plain(first.unix_ns),
                    plain(last.unix_ns),
                    journal.sealed
                ),
            )?;
        }
        journal.findings.iter().try_for_each(|finding| out.wrapped("    ", finding.as_str()))?;
        if journal.more > 0 {
            out.line(&format!("    and {} more findings", journal.more))?;
        }
    }
    report.troubles.iter().try_for_each(|trouble| out.wrapped("  ", trouble.as_str()))?;
    out.line("")?;
    out.line(&format!("Made {} by dkimwatch {}.", plain(report.made), env!("CARGO_PKG_VERSION")))
}

struct Lines<'o> {
    to: &'o mut dyn Write,
}

impl Lines<'_> {
    fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.to, "{text}")
    }

    fn heading(&mut self, text: &str) -> Result<()> {
        writeln!(self.to, "\n{text}\n{}", "-".repeat(text.width()))
    }

    /// Words in lines; those behind the first are indented by two more columns.
    fn wrapped(&mut self, indent: &str, text: &str) -> Result<()> {
        let mut line = indent.to_owned();
        let mut empty = true;
        for word in text.split(' ') {
            if !empty && line.width() + 1 + word.width() > WIDTH {
                writeln!(self.to, "{}", line.trim_end())?;
                line = format!("{indent}  ");
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        writeln!(self.to, "{}", line.trim_end())
    }

    fn advice(&mut self, advice: &Advice) -> Result<()> {
        let domain = advice.domain.as_ref().map_or("Keys whose domain is not known", Shown::as_str);
        self.line(&format!("  {domain}"))?;
        for key in &advice.keys {
            let record = key.record.as_ref().map_or(String::new(), |record| format!(", record {record}"));
            let since = key.since.map_or(String::new(), |since| format!(", {}", plain(since)));
            self.wrapped(
                "    ",
                &format!("{}: {} on {}{record}{since}", bearing_words(key.bearing), key.path.word(), key.host.word()),
            )?;
        }
        (1..)
            .zip(&advice.steps)
            .try_for_each(|(number, step): (u32, _)| self.wrapped("    ", &format!("{number}. {step}")))
    }

    fn key(&mut self, key: &KeyFacts) -> Result<()> {
        self.wrapped("  ", &format!("{}: {}", key_words(key), bearing_words(key.counts.gravest())))?;
        match key.expected {
            None => self.line("    no expected reader read it")?,
            Some(span) => {
                let counts = counted_u64(key.counts.as_expected(), "expected access", "expected accesses");
                let usual = key.usual.words().map_or(String::new(), |hours| format!(", usually {hours}"));
                let odd = match key.usual.odd() {
                    0 => String::new(),
                    odd => format!(", {odd} at other hours"),
                };
                self.wrapped("    ", &format!("{counts}, {} to {}{usual}{odd}", plain(span.first), plain(span.last)))?;
            }
        }
        key.readers.iter().try_for_each(|reader| self.reader(reader))
    }

    fn reader(&mut self, reader: &Reader) -> Result<()> {
        let place = reader.place().map_or(String::new(), |place| format!(", {place}"));
        let deeds: Vec<_> = reader.actions().into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        let Reader { executable, rule, span, .. } = reader;
        let bearing = bearing_words(reader.counts.gravest()).to_lowercase();
        let mark = if reader.counts.unexpected() > 0 { "!" } else { "-" };
        let executable = executable.word();
        self.wrapped(
            "    ",
            &format!(
                "{mark} {bearing}: {executable}, {}{place} ({rule}); {}; {} to {}",
                reader.user_words(),
                deeds.join(", "),
                short(span.first),
                short(span.last)
            ),
        )
    }

    fn stranger(&mut self, one: &Stranger) -> Result<()> {
        self.line(&format!(
            "  {}  {}  {} ({})",
            plain(one.unix_ns),
            bearing_words(one.bearing).to_uppercase(),
            one.action,
            severity::name(one.severity)
        ))?;
        self.wrapped("    ", one.reason.as_str())?;
        self.fact("who", &one.user_words())?;
        let package = one.package.as_ref().map_or(String::new(), |package| format!(", of the package {package}"));
        self.fact("program", &format!("{}{package}", one.program()))?;
        if !one.args.is_empty() {
            let words: Vec<_> = one.args.iter().map(Shown::word).collect();
            self.fact("command line", &words.join(" "))?;
        }
        self.fact("came by", &chain(one))?;
        if let Some(container) = one.container_words() {
            self.fact("container", &container)?;
        }
        if let Some(unit) = &one.unit {
            self.fact("unit", unit.as_str())?;
        }
        if let Some((pid, comm)) = &one.other {
            self.fact("other process", &format!("{comm}[{pid}]"))?;
        }
        if let Some(path) = &one.other_path {
            self.fact("other path", path.as_str())?;
        }
        if let Some(errno) = &one.errno {
            self.fact("refused with", errno.as_str())?;
        }
        if one.odd_hour {
            self.fact("hour", "none of those at which this key is usually read")?;
        }
        self.fact("event", &format!("{} on {}, rule {}", one.id, one.host, one.rule))
    }

    fn fact(&mut self, name: &str, value: &str) -> Result<()> {
        self.wrapped("    ", &format!("{name}: {value}"))
    }

    fn gap(&mut self, gap: &Gap) -> Result<()> {
        let count = if gap.count > 0 { format!(", {}", gap.count) } else { String::new() };
        self.wrapped("  ", &format!("{} on {}{count}: {}", gap.kind.name(), gap.host, gap.span()))?;
        self.wrapped("    ", gap.text.as_str())
    }
}

/// The ancestors from the first one on, and the process itself.
fn chain(one: &Stranger) -> String {
    let mut names: Vec<_> =
        one.ancestors.iter().rev().map(|each| format!("{}[{}]", each.name.word(), each.pid)).collect();
    if one.ancestors_cut {
        names.insert(0, "…".to_owned());
    }
    let own = one.name.as_ref().map_or_else(|| "?".to_owned(), Shown::word);
    names.push(format!("{own}[{}]", one.pid));
    let entry = one.entry.as_ref().map_or(String::new(), |entry| format!(" (by {entry})"));
    format!("{}{entry}", names.join(" > "))
}
