//! The report as one table (RFC 4180): a line for each access that nobody expected, each reader, each gap and each journal.
//!
//! Spreadsheets take a cell that begins with `=`, `+`, `-` or `@` for a formula, and run it as the table is opened. A key's path, a
//! command line and a container's name are whoever's choice, so such a cell gets an apostrophe before it, which spreadsheets read as
//! "this is text".

use std::io::{Result, Write};

use super::{Report, ledger::KeyFacts, shown::Shown, when::rfc3339};
use crate::judge::severity;

const COLUMNS: [&str; 22] = [
    "line",
    "bearing",
    "first",
    "last",
    "count",
    "host",
    "domain",
    "selector",
    "key",
    "action",
    "outcome",
    "severity",
    "rule",
    "user",
    "uid",
    "executable",
    "command_line",
    "ancestors",
    "container",
    "unit",
    "event_id",
    "text",
];

/// Writes the report.
pub(super) fn write(report: &Report, to: &mut dyn Write) -> Result<()> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(to);
    table.write_record(COLUMNS)?;
    for line in lines(report) {
        table.write_record(line.0.iter().map(|cell| safe(cell)))?;
    }
    table.flush()
}

/// A cell that no spreadsheet takes for a formula. Tabs and line ends, which can hide one, are escaped in every [`Shown`].
fn safe(cell: &str) -> String {
    let first = cell.trim_start().chars().next();
    // The full-width forms are taken for the plain ones in some languages.
    if first.is_some_and(|c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%')) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

struct Line([String; COLUMNS.len()]);

impl Line {
    fn new(kind: &str) -> Self {
        Self(std::array::from_fn(|at| if at == 0 { kind.to_owned() } else { String::new() }))
    }

    fn with(mut self, column: &str, value: impl ToString) -> Self {
        let at = COLUMNS.iter().position(|known| *known == column);
        debug_assert!(at.is_some(), "{column} is a column");
        if let Some(cell) = at.and_then(|at| self.0.get_mut(at)) {
            *cell = value.to_string();
        }
        self
    }

    fn known(self, column: &str, value: Option<&Shown>) -> Self {
        match value {
            Some(value) => self.with(column, value),
            None => self,
        }
    }
}

fn lines(report: &Report) -> impl Iterator<Item = Line> + '_ {
    let head = Line::new("verdict")
        .with("bearing", report.headline.level.name())
        .with("count", report.counts.all())
        .with("text", &report.headline.title);
    let strangers = report.strangers.iter().map(|one| {
        let join = |texts: &mut dyn Iterator<Item = String>| texts.collect::<Vec<_>>().join(" ");
        Line::new("access")
            .with("bearing", one.bearing.name())
            .with("first", rfc3339(one.unix_ns))
            .with("last", rfc3339(one.unix_ns))
            .with("count", 1)
            .with("host", &one.host)
            .known("domain", one.domain.as_ref())
            .known("selector", one.selector.as_ref())
            .with("key", &one.key)
            .with("action", &one.action)
            .with("outcome", &one.outcome)
            .with("severity", severity::name(one.severity))
            .with("rule", &one.rule)
            .known("user", one.user.as_ref())
            .known("uid", one.uid.as_ref())
            .with("executable", one.program())
            .with("command_line", join(&mut one.args.iter().map(ToString::to_string)))
            .with("ancestors", join(&mut one.ancestors.iter().map(|each| format!("{}[{}]", each.name, each.pid))))
            .known("container", one.container_name.as_ref().or(one.container.as_ref()))
            .known("unit", one.unit.as_ref())
            .with("event_id", &one.id)
            .with("text", &one.reason)
    });
    let readers = report.keys.iter().flat_map(|key| key.readers.iter().map(move |one| (key, one))).map(|(key, one)| {
        let actions: Vec<_> = one.actions().into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        of_key(Line::new("reader"), key)
            .with("bearing", one.counts.gravest().name())
            .with("first", rfc3339(one.span.first))
            .with("last", rfc3339(one.span.last))
            .with("count", one.counts.all())
            .with("action", actions.join(" "))
            .with("rule", &one.rule)
            .known("user", one.user.as_ref())
            .known("uid", one.uid.as_ref())
            .with("executable", &one.executable)
            .known("container", one.container_name.as_ref().or(one.container.as_ref()))
            .known("unit", one.unit.as_ref())
    });
    let gaps = report.gaps.iter().map(|gap| {
        Line::new("gap")
            .with("bearing", gap.kind.name())
            .with("first", gap.from.map(rfc3339).unwrap_or_default())
            .with("last", gap.until.map(rfc3339).unwrap_or_default())
            .with("count", gap.count)
            .with("host", &gap.host)
            .with("text", &gap.text)
    });
    let journals = report.journals.iter().map(|journal| {
        let findings: Vec<_> = journal.findings.iter().map(ToString::to_string).collect();
        Line::new("journal")
            .with("bearing", journal.trust.name())
            .with("first", journal.span.map(|(first, _)| rfc3339(first.unix_ns)).unwrap_or_default())
            .with("last", journal.span.map(|(_, last)| rfc3339(last.unix_ns)).unwrap_or_default())
            .with("count", journal.entries)
            .with("key", &journal.folder)
            .with("text", findings.join("; "))
    });
    std::iter::once(head).chain(strangers).chain(readers).chain(gaps).chain(journals)
}

fn of_key(line: Line, key: &KeyFacts) -> Line {
    line.with("host", &key.host)
        .known("domain", key.domain.as_ref())
        .known("selector", key.selector.as_ref())
        .with("key", &key.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1", "|x", "%0"] {
            assert!(safe(formula).starts_with('\''), "{formula}");
        }
        for text in ["", "/etc/dkimkeys/a", "a=b", "1-2", "rsync -a"] {
            assert_eq!(safe(text), text);
        }
    }
}
