//! The first lines: was a key exposed, and can the answer be believed?

use super::{
    Report,
    bearing::Bearing,
    gaps::GapKind,
    ledger::{KeyFacts, Reader},
    seals::Trust,
    shown::Shown,
    when::plain,
};

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A key must be taken for stolen.
    Exposed,
    /// No key is known to be exposed, and something must be looked at.
    Look,
    /// No key is known to be exposed, and not all was seen.
    Unsure,
    /// All was as expected, all of the time.
    Quiet,
}

impl Level {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::Look => "look",
            Self::Unsure => "not-all-was-seen",
            Self::Quiet => "quiet",
        }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Headline {
    /// How grave it is.
    pub level: Level,
    /// One sentence.
    pub title: Shown,
    /// What to know beside it.
    pub sentences: Vec<Shown>,
}

/// Keys that are named in the first lines.
const NAMED: usize = 12;

/// The answer to a report.
pub(super) fn headline(report: &Report) -> Headline {
    let mut sentences = Vec::new();
    let exposed: Vec<_> = report.keys.iter().filter(|key| key.counts.exposed > 0).collect();
    for key in exposed.iter().take(NAMED) {
        sentences.push(exposure(key));
    }
    if exposed.len() > NAMED {
        sentences.push(format!(
            "And {}; all are in the list of keys.",
            counted(exposed.len() - NAMED, "more key", "more keys")
        ));
    }
    let counts = &report.counts;
    for (count, one, more, rest) in [
        (counts.changed, "access changed", "accesses changed", "a key, its names or its folder without reading it"),
        (counts.attempted, "access was", "accesses were", "tried and refused"),
        (
            counts.noted,
            "access was",
            "accesses were",
            "by an administrator's own checks and tools, or a look at a disk; if that was none of you, take those keys for exposed as well",
        ),
    ] {
        if count > 0 {
            sentences.push(format!("{} {rest}.", counted_u64(count, one, more)));
        }
    }
    doubts(report, &mut sentences);
    if report.selective {
        sentences.push("Only some accesses were asked for: this verdict is about them.".to_owned());
    }
    let (level, title) = if !exposed.is_empty() {
        let count = counted(exposed.len(), "key must be taken for stolen", "keys must be taken for stolen");
        (Level::Exposed, format!("Exposed: {count}"))
    } else if report.gaps.iter().any(|gap| gap.kind == GapKind::Tampered) {
        (Level::Look, "No key is known to be exposed; somebody laid hands on the watch itself".to_owned())
    } else if counts.unexpected() > 0 {
        (Level::Look, "No key is known to be exposed; some accesses nobody expected".to_owned())
    } else if report.is_doubtful() {
        (Level::Unsure, "No key is known to be exposed, but not all can have been seen".to_owned())
    } else {
        let accesses = counted_u64(counts.all(), "access", "accesses");
        (
            Level::Quiet,
            format!("Not exposed: {accesses} to {}, all expected", counted(report.keys.len(), "key", "keys")),
        )
    };
    Headline { level, title: Shown::of(&title), sentences: sentences.iter().map(|one| Shown::sentence(one)).collect() }
}

/// Why the answer may not be the whole one.
fn doubts(report: &Report, sentences: &mut Vec<String>) {
    let of = |kinds: &[GapKind]| report.gaps.iter().filter(|gap| kinds.contains(&gap.kind)).count();
    let unwatched = of(&[GapKind::Unwatched, GapKind::Killed, GapKind::Silent, GapKind::Before]);
    if unwatched > 0 {
        let times = counted(unwatched, "time", "times");
        sentences.push(format!("Nobody watched at {times}: who read a key then is not known."));
    }
    if of(&[GapKind::Lost, GapKind::PassedBy]) > 0 {
        let lost: u64 = report.gaps.iter().filter(|gap| gap.kind == GapKind::Lost).map(|gap| gap.count).sum();
        let passed: u64 = report.gaps.iter().filter(|gap| gap.kind == GapKind::PassedBy).map(|gap| gap.count).sum();
        let passed =
            if passed == 0 { String::new() } else { format!("; {passed} calls, of whatever file, passed a hook by") };
        sentences.push(format!("{} lost{passed}.", counted_u64(lost, "access was", "accesses were")));
    }
    let tampered = of(&[GapKind::Tampered]);
    if tampered > 0 {
        sentences.push(format!(
            "Somebody laid hands on the watch itself {}: what it saw from then on may not be all.",
            counted(tampered, "time", "times")
        ));
    }
    if of(&[GapKind::Journal]) > 0 || report.journals.iter().any(|journal| journal.trust == Trust::Broken) {
        sentences.push("A journal is not what was written: what is missing can be what mattered.".to_owned());
    }
    if report.journals.iter().any(|journal| journal.trust == Trust::Unreadable) || !report.troubles.is_empty() {
        sentences.push("A journal could not be read to its end.".to_owned());
    }
    if of(&[GapKind::Nothing]) > 0 {
        sentences.push("There is no entry of this time.".to_owned());
    }
    if report.unreadable > 0 {
        sentences
            .push(format!("{} no event that can be read.", counted_u64(report.unreadable, "entry is", "entries are")));
    }
}

fn exposure(key: &KeyFacts) -> String {
    let since = key.exposed.map_or(String::new(), |span| format!("since {}", plain(span.first)));
    let by: Vec<_> = key.readers.iter().filter(|reader| reader.counts.exposed > 0).collect();
    let named: Vec<_> = by.iter().take(3).map(|reader| who(reader)).collect();
    let more = if by.len() > 3 { format!(" and {} more", by.len() - 3) } else { String::new() };
    format!("{}: {since}, by {}{more}.", key_words(key), named.join("; "))
}

/// A reader, for people.
pub(super) fn who(reader: &Reader) -> String {
    let place = reader.place().map(|place| format!(" in {place}")).unwrap_or_default();
    format!("{} with {}{place}", reader.user_words(), reader.executable.word())
}

/// A key, for people.
pub(super) fn key_words(key: &KeyFacts) -> String {
    let path = format!("{} on {}", key.path.word(), key.host.word());
    match (&key.domain, &key.selector) {
        (Some(domain), Some(selector)) => format!("{}, selector {} ({path})", domain.word(), selector.word()),
        (Some(domain), None) => format!("{} ({path})", domain.word()),
        (None, Some(selector)) => format!("selector {} ({path})", selector.word()),
        (None, None) => path,
    }
}

/// A bearing, for people.
pub(super) const fn bearing_words(bearing: Bearing) -> &'static str {
    match bearing {
        Bearing::Exposed => "Exposed",
        Bearing::Changed => "Changed",
        Bearing::Attempted => "Attempted",
        Bearing::Noted => "Noted",
        Bearing::Expected => "As expected",
    }
}

pub(super) fn counted(count: usize, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

pub(super) fn counted_u64(count: u64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}
