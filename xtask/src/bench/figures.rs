//! What was counted, what was promised, and the table of both.

use serde::{Deserialize, Serialize};

use super::open_loop::Work;

/// A program set that `dkimwatch bench-attach` knows.
pub(super) struct Program {
    /// Its name there.
    pub(super) name: &'static str,
    /// The empty ones at the same hooks, where this is a backend.
    pub(super) empty: Option<&'static str>,
    /// How many times their cost it may have, for an open.
    pub(super) promise: Option<f64>,
}

/// In the order in which they are measured.
pub(super) const PROGRAMS: [Program; 6] = [
    Program { name: "empty-lsm", empty: None, promise: None },
    Program { name: "empty-fentry", empty: None, promise: None },
    Program { name: "empty-tracepoint", empty: None, promise: None },
    Program { name: "lsm", empty: Some("empty-lsm"), promise: Some(2.0) },
    Program { name: "fentry", empty: Some("empty-fentry"), promise: Some(2.0) },
    // Nothing is promised: an armed system call tracepoint costs by itself more than its program.
    Program { name: "tracepoint", empty: Some("empty-tracepoint"), promise: None },
];

/// What all that is measured, an open, a read, a mapping, failed opens, a process and a plain call, may cost together: this
/// many times the empty programs. Promised where [`Program::promise`] is something.
const TOGETHER: f64 = 3.0;

/// The row of auditd with a watch rule.
pub(super) const AUDITD: &str = "auditd";

/// lsm and fentry add less than this part of what auditd adds.
const PART_OF_AUDITD: f64 = 1.0 / 3.0;

/// What one guest counted, in instructions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Figures {
    /// The kernel's release.
    pub(super) release: String,
    /// One open and close with nothing attached.
    pub(super) baseline: u64,
    /// One a program, and auditd's.
    pub(super) rows: Vec<Row>,
    /// Other work than opening a file.
    pub(super) more: Vec<More>,
}

/// What a program adds to work other than opening a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct More {
    /// The program's name.
    pub(super) program: String,
    /// What is done, see [`Work`].
    pub(super) work: String,
    /// One round before it was attached, or after, whichever is less.
    pub(super) before: u64,
    /// The same while it was.
    pub(super) with: u64,
}

/// One program's figures.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Row {
    /// The program's name.
    pub(super) name: String,
    /// One open and close before it was attached.
    pub(super) before: u64,
    /// The same while it was.
    pub(super) with: Option<u64>,
    /// And after.
    pub(super) after: Option<u64>,
    /// Why it was not measured.
    pub(super) refused: Option<String>,
}

impl Row {
    /// A row of something that did not start.
    pub(super) fn refused(name: &str, before: u64, why: String) -> Self {
        Self { name: name.to_owned(), before, with: None, after: None, refused: Some(why) }
    }

    /// Instructions that it adds to one open and close; `None`: it was not measured.
    pub(super) fn added(&self) -> Option<i64> {
        Some(self.with?.cast_signed() - self.before.cast_signed())
    }

    /// For the guest's output.
    pub(super) fn line(&self) -> String {
        match (self.with, &self.refused) {
            (Some(with), _) => format!("{}: {} -> {with}", self.name, self.before),
            (None, Some(why)) => format!("{}: {why}", self.name),
            (None, None) => format!("{}: not measured", self.name),
        }
    }
}

impl Figures {
    fn added(&self, name: &str) -> Option<i64> {
        self.rows.iter().find(|row| row.name == name)?.added()
    }

    /// How many times `other`'s cost `name` has.
    fn times(&self, name: &str, other: &str) -> Option<f64> {
        ratio(self.added(name)?, self.added(other)?)
    }

    /// Instructions that a program adds to one of each work; `None`: not all of it was measured.
    fn added_together(&self, name: &str) -> Option<i64> {
        let works = Work::ALL.into_iter().filter(|work| *work != Work::Open);
        works.map(|work| self.added_to(name, work)).chain([self.added(name)]).sum()
    }

    fn added_to(&self, name: &str, work: Work) -> Option<i64> {
        let found = self.more.iter().find(|more| more.program == name && more.work == work.name())?;
        Some(found.with.cast_signed() - found.before.cast_signed())
    }

    /// What was promised and does not hold, or could not be shown to.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut promise = |name: &str, other: &str, most: f64| match self.times(name, other) {
            Some(times) if times <= most => {}
            Some(times) => {
                broken.push(format!("{}: {name} costs {times:.2} times {other}, {most:.2} at most", self.release))
            }
            None => broken.push(format!("{}: {name} could not be compared with {other}", self.release)),
        };
        for program in &PROGRAMS {
            if let (Some(empty), Some(most)) = (program.empty, program.promise) {
                promise(program.name, empty, most);
                promise(program.name, AUDITD, PART_OF_AUDITD);
            }
        }
        for program in PROGRAMS.iter().filter(|program| program.promise.is_some()) {
            let Some(empty) = program.empty else { continue };
            let together = self.added_together(program.name).zip(self.added_together(empty));
            let what = format!("{}: all that {} adds to one of each work", self.release, program.name);
            match together.and_then(|(own, other)| ratio(own, other)) {
                Some(times) if times <= TOGETHER => {}
                Some(times) => broken.push(format!("{what} is {times:.2} times {empty}, {TOGETHER:.2} at most")),
                None => broken.push(format!("{what} could not be compared with {empty}")),
            }
        }
        broken
    }

    /// The table, as Markdown.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "### Linux {}\n\nOne open and close of a file that nobody watches: {} instructions. Added to it:\n\n\
             | program | instructions | × its empty programs | part of auditd |\n|---|---:|---:|---:|\n",
            self.release,
            thousands(self.baseline.cast_signed())
        );
        for row in &self.rows {
            let added = match (row.added(), &row.refused) {
                (Some(added), _) => thousands(added),
                (None, Some(why)) => format!("– ({})", why.lines().next().unwrap_or_default()),
                (None, None) => "–".to_owned(),
            };
            let empty = PROGRAMS.iter().find(|program| program.name == row.name).and_then(|program| program.empty);
            let ratio = |other: Option<&str>| {
                other
                    .and_then(|other| self.times(&row.name, other))
                    .map_or(String::new(), |times| format!("{times:.2}"))
            };
            let auditd = Some(AUDITD).filter(|_| row.name != AUDITD);
            table += &format!("| {} | {added} | {} | {} |\n", row.name, ratio(empty), ratio(auditd));
        }
        table + &self.more_table()
    }

    /// The table of other work.
    fn more_table(&self) -> String {
        if self.more.is_empty() {
            return String::new();
        }
        let works = || Work::ALL.into_iter().filter(|work| *work != Work::Open);
        let mut table = "\nAdded to other work that has to do with no key:\n\n| program |".to_owned();
        works().for_each(|work| table += &format!(" {} |", heading(work)));
        table += " all, and an open | × its empty programs |\n|---|---:|---:|";
        works().for_each(|_| table += "---:|");
        for row in self.rows.iter().filter(|row| row.with.is_some()) {
            table += &format!("\n| {} |", row.name);
            for work in works() {
                let added = self.added_to(&row.name, work).map(thousands);
                table += &format!(" {} |", added.unwrap_or_else(|| "–".to_owned()));
            }
            let together = self.added_together(&row.name);
            let empty = PROGRAMS.iter().find(|program| program.name == row.name).and_then(|program| program.empty);
            let other = empty.and_then(|empty| self.added_together(empty));
            let times = together.zip(other).and_then(|(own, other)| ratio(own, other));
            table += &format!(
                " {} | {} |",
                together.map_or_else(|| "–".to_owned(), thousands),
                times.map_or_else(String::new, |times| format!("{times:.2}"))
            );
        }
        table + "\n"
    }
}

#[expect(clippy::cast_precision_loss, reason = "instructions of one work: far below 2^52")]
fn ratio(own: i64, other: i64) -> Option<f64> {
    (other > 0).then(|| own as f64 / other as f64)
}

/// In the table's head.
const fn heading(work: Work) -> &'static str {
    match work {
        Work::Open => "an open",
        Work::Read => "a `pread`",
        Work::Map => "`mmap`, a page fault, `munmap`",
        Work::Missing => "an open of nothing (`ENOENT`)",
        Work::Denied => "an open that is refused (`EACCES`)",
        Work::Process => "`true`: fork, exec, wait",
        Work::Call => "`getppid`",
    }
}

/// `12345` as `12,345`.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(added: &[(&str, u64)]) -> Figures {
        let row = |(name, added): &(&str, u64)| Row {
            name: (*name).to_owned(),
            before: 10_000,
            with: Some(10_000 + added),
            after: Some(10_000),
            refused: None,
        };
        Figures { release: "6.1".to_owned(), baseline: 10_000, rows: added.iter().map(row).collect(), more: Vec::new() }
    }

    /// The same cost of each other work.
    fn others(name: &str, added: u64) -> impl Iterator<Item = More> {
        Work::ALL.into_iter().filter(|work| *work != Work::Open).map(move |work| More {
            program: name.to_owned(),
            work: work.name().to_owned(),
            before: 1_000,
            with: 1_000 + added,
        })
    }

    #[test]
    fn promises_are_compared_with_the_figures() {
        let all = [("empty-lsm", 180), ("empty-fentry", 200), ("lsm", 360), ("fentry", 300), ("auditd", 1_900)];
        let mut kept = figures(&all);
        for (name, added) in all {
            kept.more.extend(others(name, added));
        }
        assert_eq!(kept.broken(), Vec::<String>::new());
        let mut broken = kept.clone();
        broken.rows[2].with = Some(10_365);
        broken.rows[4].with = Some(10_900);
        broken.more.retain(|more| more.program != "lsm");
        broken.more.extend(others("lsm", 700));
        assert_eq!(
            broken.broken(),
            [
                "6.1: lsm costs 2.03 times empty-lsm, 2.00 at most",
                "6.1: lsm costs 0.41 times auditd, 0.33 at most",
                "6.1: all that lsm adds to one of each work is 3.62 times empty-lsm, 3.00 at most",
            ]
        );
    }

    #[test]
    fn what_was_not_measured_is_no_kept_promise() {
        let mut figures = figures(&[("empty-lsm", 180), ("empty-fentry", 200), ("fentry", 300), ("auditd", 1_900)]);
        figures.rows.push(Row::refused("lsm", 10_000, "the kernel refused it\nat length".to_owned()));
        figures.more.extend(others("fentry", 300).chain(others("empty-fentry", 200)));
        assert_eq!(figures.broken().len(), 3, "each of lsm's promises");
        assert!(figures.table().contains("| lsm | – (the kernel refused it) |  |  |\n"), "{}", figures.table());
    }

    #[test]
    fn the_table_shows_what_was_added() {
        let table = figures(&[("empty-lsm", 180), ("lsm", 1_360), ("auditd", 2_720)]).table();
        assert!(table.contains("10,000 instructions"), "{table}");
        assert!(table.contains("| lsm | 1,360 | 7.56 | 0.50 |\n"), "{table}");
    }

    #[test]
    fn other_work_has_a_table_of_its_own() {
        let mut figures = figures(&[("lsm", 300)]);
        assert!(!figures.table().contains("other work"), "nothing was measured");
        figures.more.push(More { program: "lsm".into(), work: "read".into(), before: 1_000, with: 3_150 });
        assert!(figures.table().ends_with("| lsm | 2,150 | – | – | – | – | – | – |  |\n"), "{}", figures.table());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [thousands(0), thousands(-999), thousands(-1000), thousands(1_234_567)],
            ["0", "-999", "-1,000", "1,234,567"]
        );
    }
}
