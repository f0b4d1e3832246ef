//! The one pass over all entries: into numbers, the strangers that are kept, and the gaps. Its memory does not grow with the journal.

use super::{
    bearing::{Bearing, Counts},
    event::{Event, text},
    filter::Filter,
    gaps::Watched,
    ledger::{Ledger, Line, Span},
    merge::Merged,
    stranger::{Awaited, Strangers},
    timeline::Timeline,
};
use crate::{
    judge::{Action, Verdict},
    record::{Entry, EntryKind},
};

/// What the pass leaves.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) ledger: Ledger,
    pub(super) strangers: Strangers,
    pub(super) watched: Watched,
    pub(super) timeline: Timeline,
    /// The accesses that were asked for.
    pub(super) counts: Counts,
    /// When they were.
    pub(super) span: Option<Span>,
    /// Entries whose event is none.
    pub(super) unreadable: u64,
    awaited: Awaited,
}

/// Whether it is about the watch itself.
fn is_about_the_watch(event: &Event<'_>) -> bool {
    Action::named(text(&event.event.action)) == Some(Action::MonitorTampered)
}

/// Reads all entries.
pub(super) fn gather(entries: &mut Merged, filter: &Filter) -> Gathered {
    let mut gathered = Gathered::default();
    for entry in entries {
        gathered.take(&entry, filter);
    }
    gathered
}

impl Gathered {
    fn take(&mut self, entry: &Entry, filter: &Filter) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(&entry.event) else {
            if filter.spans(entry.unix_ns) {
                self.unreadable += 1;
            }
            return;
        };
        let is_state = entry.kind == EntryKind::State;
        // A follow-up has its access's time, and can come much later: no sign that nobody watched in between.
        if entry.kind != EntryKind::FollowUp {
            self.watched.take(entry.unix_ns, &event, is_state, filter);
        }
        if !filter.spans(entry.unix_ns) {
            return;
        }
        match (entry.kind, entry.verdict) {
            (EntryKind::State, _) if text(&event.event.action) == "key-opens-summarised" => {
                if filter.has(Verdict::Expected, &event) && filter.has_container(&event) {
                    self.sum(entry.unix_ns, &event);
                }
            }
            (EntryKind::State, _) => self.inventory(&event, filter),
            // No access to a key, and whoever asks for some of those wants to know whether what he reads can be believed.
            (EntryKind::Access | EntryKind::FollowUp, verdict) if is_about_the_watch(&event) => {
                if entry.kind == EntryKind::Access {
                    let verdict = verdict.unwrap_or(Verdict::Unexpected);
                    self.watched.tampered(entry.unix_ns, verdict, &event, filter);
                }
            }
            (EntryKind::Access, Some(verdict)) => {
                if filter.has(verdict, &event) {
                    if filter.has_container(&event) {
                        self.access(entry.unix_ns, verdict, &event, &entry.event);
                    } else if text(&event.dkimwatch.enrichment.state) == "pending" {
                        self.awaited.put(text(&event.event.id), entry.unix_ns);
                    }
                }
            }
            (EntryKind::Access, None) => self.unreadable += 1,
            (EntryKind::FollowUp, _) => self.follow_up(entry, &event, filter),
        }
    }

    fn access(&mut self, unix_ns: i64, verdict: Verdict, event: &Event<'_>, json: &[u8]) {
        let action = Action::named(text(&event.event.action));
        let bearing = Bearing::of(verdict, action, event.is_refused(), event.may_read(), event.event.severity);
        let mut one = Counts::default();
        one.add(verdict, bearing, 1);
        self.counts.merge(&one);
        self.timeline.add(unix_ns, &one);
        Span::extend(&mut self.span, unix_ns);
        let line = Line { unix_ns, first: unix_ns, count: 1, verdict, bearing, action, event };
        let place = self.ledger.take(&line);
        if bearing != Bearing::Expected {
            let key = place.and_then(|(key, _)| self.ledger.key_at(key));
            self.strangers.take(&line, json, place, key);
        }
    }

    /// Expected opens that were told in sum.
    fn sum(&mut self, unix_ns: i64, event: &Event<'_>) {
        /// More than a host can do in a minute is a number that somebody made up.
        const MOST: u64 = 1 << 40;
        let time = |known| unix_ns_of(text(known)).filter(|time| *time <= unix_ns).unwrap_or(unix_ns);
        let (first, last) = (time(&event.event.start), time(&event.event.end));
        let (first, count) = (first.min(last), event.dkimwatch.summarised.count.min(MOST));
        let (verdict, bearing) = (Verdict::Expected, Bearing::Expected);
        let mut all = Counts::default();
        all.add(verdict, bearing, count);
        self.counts.merge(&all);
        self.timeline.add(last, &all);
        Span::extend(&mut self.span, first);
        Span::extend(&mut self.span, last);
        let action = Some(Action::KeyOpened);
        self.ledger.take(&Line { unix_ns: last, first, count, verdict, bearing, action, event });
    }

    /// What is found out behind an access completes it. Where its container was asked for by name, it is only now known to be asked for.
    fn follow_up(&mut self, entry: &Entry, event: &Event<'_>, filter: &Filter) {
        if let Some(unix_ns) = self.awaited.take(text(&event.event.id)) {
            if filter.has_container(event) {
                self.access(unix_ns, entry.verdict.unwrap_or(Verdict::Unexpected), event, &entry.event);
            }
            return;
        }
        self.ledger.complete(event);
        self.strangers.complete(event, &entry.event);
    }

    /// The keys of `watch-started`: one that nobody read belongs into the report, too.
    fn inventory(&mut self, event: &Event<'_>, filter: &Filter) {
        for key in &event.dkimwatch.keys {
            if filter.has_key(text(&key.path), text(&key.domain)) {
                self.ledger.key(event.host_name(), key);
            }
        }
    }
}

/// The time that an event says, nanoseconds since the Unix epoch.
fn unix_ns_of(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}
