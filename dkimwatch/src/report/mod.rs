//! Journals → a report: was a key exposed, by whom, and what is to be done. Promise: one pass whose memory does not grow with the
//! journal, and no text of an event reaches a report but as [`Shown`].
//!
//! Journals → [`merge`] → [`gather`] → [`Report`] → `text`, `json`, `csv` or `html`.

mod advice;
mod bearing;
mod csv;
mod event;
mod filter;
mod gaps;
mod gather;
mod hours;
mod html;
mod json;
mod ledger;
mod merge;
mod seals;
mod shown;
mod stranger;
mod text;
mod timeline;
mod verdict;
pub mod when;

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use advice::{Advice, Concerned};
pub use bearing::{Bearing, Counts};
pub use filter::{Filter, KeyPattern};
pub use gaps::{Gap, GapKind};
pub use hours::Hours;
pub use ledger::{KeyFacts, Reader, Span};
pub use seals::{Seal, Trust};
pub use shown::Shown;
pub use stranger::{Forebear, Stranger};
pub use timeline::Timeline;
pub use verdict::{Headline, Level};

use crate::record::{JournalError, VerificationKey};

/// What is asked.
#[derive(Debug, Default)]
pub struct Question {
    /// The journals' folders.
    pub journals: Vec<PathBuf>,
    /// Keys that verify their seals.
    pub keys: Vec<VerificationKey>,
    /// Which accesses.
    pub filter: Filter,
    /// When the report is made, nanoseconds since the Unix epoch.
    pub now: i64,
}

/// The answer.
#[derive(Debug)]
pub struct Report {
    /// When it was made.
    pub made: i64,
    /// The range, for people.
    pub range: Shown,
    /// What it is confined to, a phrase each.
    pub selection: Vec<Shown>,
    /// It is confined to some accesses.
    pub selective: bool,
    /// The first lines.
    pub headline: Headline,
    /// What is to be done.
    pub advice: Vec<Advice>,
    /// All accesses.
    pub counts: Counts,
    /// When they were.
    pub span: Option<Span>,
    /// The keys and their readers.
    pub keys: Vec<KeyFacts>,
    /// Accesses of keys and readers that there was no room for.
    pub crowded_out: Counts,
    /// Accesses that nobody expected.
    pub strangers: Vec<Stranger>,
    /// How many more.
    pub strangers_left_out: u64,
    /// Accesses over time.
    pub timeline: Timeline,
    /// When something may have gone unseen.
    pub gaps: Vec<Gap>,
    /// How many more.
    pub gaps_left_out: u64,
    /// What else is to be known.
    pub notes: Vec<Shown>,
    /// The journals.
    pub journals: Vec<Seal>,
    /// What could not be read.
    pub troubles: Vec<Shown>,
    /// Entries whose event is none.
    pub unreadable: u64,
}

/// Makes a report. The journals are verified while they are read: two passes, side by side.
///
/// # Errors
/// A folder holds no journal, or cannot be read.
pub fn report(question: &Question) -> Result<Report, JournalError> {
    let Question { journals, keys, filter, now } = question;
    let mut entries = merge::Merged::open(journals, filter.since)?;
    let (gathered, seals) = std::thread::scope(|scope| {
        let seals =
            std::thread::Builder::new().name("verify".to_owned()).spawn_scoped(scope, || seals::check(journals, keys));
        let gathered = gather::gather(&mut entries, filter);
        let seals = match seals {
            Ok(seals) => seals.join().unwrap_or_default(),
            // No thread to be had: one after the other.
            Err(_) => seals::check(journals, keys),
        };
        (gathered, seals)
    });
    let (gaps, gaps_left_out, mut notes) = gathered.watched.close(filter);
    if entries.twice > 0 {
        let twice = verdict::counted_u64(entries.twice, "entry is", "entries are");
        notes.push(Shown::of(&format!("{twice} in two of the journals, one a copy of the other, and counted once.")));
    }
    let (mut strangers, strangers_left_out) = gathered.strangers.close();
    let crowded_out = gathered.ledger.crowded_out;
    let keys = gathered.ledger.close();
    for stranger in &mut strangers {
        let key = keys.iter().find(|key| key.path == stranger.key && key.host == stranger.host);
        stranger.odd_hour = key.is_some_and(|key| key.usual.is_odd(stranger.unix_ns));
    }
    let mut report = Report {
        made: *now,
        range: Shown::of(&filter.range()),
        selection: filter.words(),
        selective: filter.is_selective(),
        headline: Headline { level: Level::Quiet, title: Shown::default(), sentences: Vec::new() },
        advice: advice::advise(&keys),
        counts: gathered.counts,
        span: gathered.span,
        keys,
        crowded_out,
        strangers,
        strangers_left_out,
        timeline: gathered.timeline,
        gaps,
        gaps_left_out,
        notes,
        journals: seals,
        troubles: entries.troubles,
        unreadable: gathered.unreadable,
    };
    report.headline = verdict::headline(&report);
    Ok(report)
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a terminal or a mail.
    Text,
    /// One document for programs.
    Json,
    /// A table for spreadsheets.
    Csv,
    /// One page for a browser or a printer: no script, nothing that is fetched.
    Html,
}

impl Report {
    /// Whether not all can have been seen: a gap, a journal that is not whole or was not read, an entry that is no event.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        !self.gaps.is_empty()
            || !self.troubles.is_empty()
            || self.unreadable > 0
            || self.journals.iter().any(|journal| matches!(journal.trust, Trust::Broken | Trust::Unreadable))
    }

    /// Whether a person should look.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.counts.unexpected() > 0 || self.is_doubtful()
    }

    /// Whether a journal could not be read to its end.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        !self.troubles.is_empty() || self.journals.iter().any(|journal| journal.trust == Trust::Unreadable)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The output's own.
    pub fn write(&self, format: Format, to: &mut dyn std::io::Write) -> std::io::Result<()> {
        match format {
            Format::Text => text::write(self, to),
            Format::Json => json::write(self, to),
            Format::Csv => csv::write(self, to),
            Format::Html => to.write_all(html::page(self).as_bytes()),
        }
    }
}
