//! When nobody watched, or not everything was seen: by each host's own account of its watch.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use chrono::DateTime;

use super::{
    event::{Event, Known, text},
    filter::Filter,
    shown::Shown,
    when::{Long, plain},
};
use crate::judge::Verdict;

/// Gaps that are kept.
const MOST: usize = 500;
/// Hosts that are told apart.
const MOST_HOSTS: usize = 1_000;
/// Losses of one host within this time are one gap: a flood tells of itself every second.
const ONE_FLOOD: i64 = 60_000_000_000;
/// A watch tells every minute that it goes on. So long without a word is none.
const SILENCE: i64 = 5 * 60_000_000_000;

/// What kind of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// Accesses were lost.
    Lost,
    /// Calls, of whatever file, passed a hook by.
    PassedBy,
    /// Nobody watched: between the end of a watch and the next one.
    Unwatched,
    /// A watch ended without saying so: it was killed, or the power went.
    Killed,
    /// A watch said nothing for longer than it does: it was stopped, or the host slept.
    Silent,
    /// The time before the journal begins.
    Before,
    /// The journal says that entries of it are missing, damaged or could not be written.
    Journal,
    /// Somebody laid hands on the watch itself: what it said from then on may not be all that there was.
    Tampered,
    /// There is no entry at all.
    Nothing,
}

impl GapKind {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "events-lost",
            Self::PassedBy => "passed-by",
            Self::Unwatched => "not-watched",
            Self::Killed => "ended-without-a-word",
            Self::Silent => "silent",
            Self::Before => "before-the-journal",
            Self::Journal => "journal",
            Self::Tampered => "monitor-tampered",
            Self::Nothing => "no-entry",
        }
    }
}

/// A time in which something may have gone unseen.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Where.
    pub host: Shown,
    /// What.
    pub kind: GapKind,
    /// From when, where known.
    pub from: Option<i64>,
    /// Until when; `None`: it goes on.
    pub until: Option<i64>,
    /// What went unseen, where that is a number.
    pub count: u64,
    /// A sentence.
    pub text: Shown,
}

impl Gap {
    /// From when until when, for people.
    #[must_use]
    pub fn span(&self) -> String {
        match (self.from, self.until) {
            (Some(from), Some(until)) if from == until => plain(from),
            (Some(from), Some(until)) => {
                format!("{} to {} ({})", plain(from), plain(until), Long(until.saturating_sub(from)))
            }
            (Some(from), None) => format!("since {}", plain(from)),
            (None, Some(until)) => format!("until {}", plain(until)),
            (None, None) => "at a time that is not known".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// The entries so far do not say.
    Unknown,
    Running,
    Stopped(i64),
    /// The kernel watched until this one began, and what it saw was told.
    Resumed,
}

/// What is known of a host's watch so far.
#[derive(Debug)]
struct Host {
    name: Shown,
    watch: Watch,
    /// It tells every minute that it goes on.
    has_heartbeat: bool,
    boot: String,
    last: i64,
}

/// The gaps, and things to know about the watching that are none.
#[derive(Debug, Default)]
pub(super) struct Watched {
    gaps: Vec<Gap>,
    left_out: u64,
    notes: Vec<Shown>,
    hosts: Vec<Host>,
    known: HashMap<u64, usize>,
    hash: RandomState,
    /// There was an entry within the range.
    any: bool,
}

impl Watched {
    /// Takes an entry of whatever kind; those before the range as well, as they say whether there was a watch.
    pub(super) fn take(&mut self, unix_ns: i64, event: &Event<'_>, is_state: bool, filter: &Filter) {
        if filter.until.is_some_and(|until| unix_ns >= until) {
            return;
        }
        self.any |= filter.spans(unix_ns);
        let action = if is_state { text(&event.event.action) } else { "" };
        let Some(at) = self.host(event, unix_ns, action, filter) else { return };
        let Some(host) = self.hosts.get_mut(at) else { return };
        let (name, before) = (host.name.clone(), host.last);
        host.last = host.last.max(unix_ns);
        let gap = |kind, from, until, count, text: &str| Gap {
            host: name.clone(),
            kind,
            from,
            until,
            count,
            text: Shown::sentence(text),
        };
        match action {
            "watch-started" => {
                let boot = text(&event.host.boot.id);
                let restarted = !host.boot.is_empty() && host.boot != boot;
                let was = std::mem::replace(&mut host.watch, Watch::Running);
                host.has_heartbeat = false;
                boot.clone_into(&mut host.boot);
                let booted = if restarted { " The host was restarted in between." } else { "" };
                match was {
                    Watch::Unknown | Watch::Resumed => {}
                    Watch::Stopped(stopped) => {
                        let text =
                            format!("The watch was ended and begun again; in between nobody saw the keys.{booted}");
                        self.put(gap(GapKind::Unwatched, Some(stopped), Some(unix_ns), 0, &text), filter);
                    }
                    Watch::Running => {
                        let text = format!(
                            "A watch began, and the one before it had not said that it ends: it was killed, or the power went. Its last word is the beginning of this gap.{booted}"
                        );
                        self.put(gap(GapKind::Killed, Some(before), Some(unix_ns), 0, &text), filter);
                    }
                }
                return;
            }
            "watch-stopped" => host.watch = Watch::Stopped(unix_ns),
            "watch-resumed" if event.dkimwatch.resumed.whole => {
                (host.watch, host.has_heartbeat) = (Watch::Resumed, false);
                // What the kernel saw meanwhile stands before this, and there was no heartbeat between.
                let since = time(&event.event.start).unwrap_or(before);
                self.gaps.retain(|gap| gap.kind != GapKind::Silent || gap.host != name || gap.from < Some(since));
                return;
            }
            "watch-resumed" => {
                // Nobody watched in between: what the rings held is from before, and this is no word of the former watch.
                host.last = before;
                return;
            }
            "watch-heartbeat" => {}
            _ => {}
        }
        let is_silent =
            host.has_heartbeat && matches!(host.watch, Watch::Running) && unix_ns.saturating_sub(before) > SILENCE;
        host.has_heartbeat |= action == "watch-heartbeat";
        if is_silent {
            let text = "The watch tells every minute that it goes on, and did not: it was held (SIGSTOP), the host slept or stood still, or entries were taken out.";
            self.put(gap(GapKind::Silent, Some(before), Some(unix_ns), 0, text), filter);
        }
        let (from, until) = (time(&event.event.start), time(&event.event.end));
        match action {
            "events-lost" => {
                let lost = &event.dkimwatch.lost;
                let kind = if text(&lost.why) == "passed-by" { GapKind::PassedBy } else { GapKind::Lost };
                let reason = text(&event.event.reason);
                self.put(gap(kind, from.or(Some(unix_ns)), until.or(Some(unix_ns)), lost.count, reason), filter);
            }
            // What the journal says of itself; an alert is what is no ordinary course of things.
            action if action.starts_with("journal-") => {
                let reason = text(&event.event.reason);
                if text(&event.event.kind) == "alert" {
                    self.put(gap(GapKind::Journal, from.or(Some(unix_ns)), until.or(Some(unix_ns)), 0, reason), filter);
                } else if filter.spans(unix_ns) && self.notes.len() < MOST {
                    self.notes.push(Shown::sentence(&format!("{name}, {}: {reason}", plain(unix_ns))));
                }
            }
            _ => {}
        }
    }

    /// Takes a deed to the watch itself. What was as it should be, and what was refused, is a note and no gap.
    pub(super) fn tampered(&mut self, unix_ns: i64, verdict: Verdict, event: &Event<'_>, filter: &Filter) {
        let (host, reason) = (event.host_name(), text(&event.event.reason));
        if verdict == Verdict::Unexpected && !event.is_refused() {
            let gap = Gap {
                host: Shown::of(host),
                kind: GapKind::Tampered,
                from: Some(unix_ns),
                until: Some(unix_ns),
                count: 0,
                text: Shown::sentence(reason),
            };
            self.put(gap, filter);
        } else if filter.spans(unix_ns) && self.notes.len() < MOST {
            self.notes.push(Shown::sentence(&format!("{host}, {}: {reason}", plain(unix_ns))));
        }
    }

    fn host(&mut self, event: &Event<'_>, unix_ns: i64, action: &str, filter: &Filter) -> Option<usize> {
        let identity = self.hash.hash_one((text(&event.host.id), text(&event.host.name)));
        if let Some(at) = self.known.get(&identity) {
            return Some(*at);
        }
        if self.hosts.len() >= MOST_HOSTS {
            return None;
        }
        let name = Shown::of(event.host_name());
        if let Some(since) = filter.since.filter(|since| action == "watch-started" && *since < unix_ns) {
            let text = "The journal begins with this watch: of the time before nothing is known.";
            let gap = Gap {
                host: name.clone(),
                kind: GapKind::Before,
                from: Some(since),
                until: Some(unix_ns),
                count: 0,
                text: Shown::sentence(text),
            };
            self.put(gap, filter);
        }
        let boot = text(&event.host.boot.id).to_owned();
        self.hosts.push(Host { name, watch: Watch::Unknown, has_heartbeat: false, boot, last: unix_ns });
        self.known.insert(identity, self.hosts.len() - 1);
        Some(self.hosts.len() - 1)
    }

    /// Keeps a gap that touches the range. Losses one after the other are one.
    fn put(&mut self, gap: Gap, filter: &Filter) {
        let ends_before = gap.until.zip(filter.since).is_some_and(|(until, since)| until < since);
        let begins_behind = gap.from.zip(filter.until).is_some_and(|(from, until)| from >= until);
        if ends_before || begins_behind {
            return;
        }
        if matches!(gap.kind, GapKind::Lost | GapKind::PassedBy)
            && let Some(last) =
                self.gaps.iter_mut().rev().take(8).find(|last| last.kind == gap.kind && last.host == gap.host)
            && let (Some(until), Some(from)) = (last.until, gap.from)
            && from.saturating_sub(until) <= ONE_FLOOD
        {
            last.count = last.count.saturating_add(gap.count);
            last.until = last.until.max(gap.until);
            last.from = last.from.min(gap.from);
            return;
        }
        // Whoever does the same thing over and over crowds out nothing else.
        if gap.kind == GapKind::Tampered
            && let Some(last) =
                self.gaps.iter_mut().rev().take(8).find(|last| last.kind == gap.kind && last.host == gap.host)
            && last.text == gap.text
        {
            last.until = last.until.max(gap.until);
            return;
        }
        if self.gaps.len() < MOST {
            self.gaps.push(gap);
        } else {
            self.left_out += 1;
        }
    }

    /// The gaps in the order of time, how many more there are, and what else is to be known of the watching.
    pub(super) fn close(mut self, filter: &Filter) -> (Vec<Gap>, u64, Vec<Shown>) {
        for host in std::mem::take(&mut self.hosts) {
            let Host { name, watch, last, .. } = host;
            match watch {
                Watch::Stopped(stopped) => {
                    let text = "The watch was ended, and these journals know of no later one.";
                    let gap = Gap {
                        host: name,
                        kind: GapKind::Unwatched,
                        from: Some(stopped),
                        until: None,
                        count: 0,
                        text: Shown::sentence(text),
                    };
                    self.put(gap, filter);
                }
                Watch::Running | Watch::Unknown | Watch::Resumed => {
                    let text = format!(
                        "{name}: the last entry is of {}; what came after it, these journals do not know.",
                        plain(last)
                    );
                    self.notes.push(Shown::sentence(&text));
                }
            }
        }
        if !self.any {
            let text = "The journals hold no entry of this time: whether anybody watched is not known.";
            let gap = Gap {
                host: Shown::of("(all)"),
                kind: GapKind::Nothing,
                from: filter.since,
                until: filter.until,
                count: 0,
                text: Shown::sentence(text),
            };
            self.gaps.push(gap);
        }
        self.gaps.sort_by_key(|gap| (gap.from, gap.until));
        (self.gaps, self.left_out, self.notes)
    }
}

fn time(word: &Known<'_>) -> Option<i64> {
    DateTime::parse_from_rfc3339(text(word)).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn told(entries: &[(i64, &str)], filter: &Filter) -> Vec<String> {
        let mut watched = Watched::default();
        for (minute, action) in entries {
            let (action, rest) = action.split_once(' ').unwrap_or((action, ""));
            let kind = if rest == "grave" { "alert" } else { "state" };
            let since = rest.parse::<i64>().ok().and_then(|minute| DateTime::from_timestamp(minute * 60, 0));
            let start = since.map_or(String::new(), |since| format!(r#","start":"{}""#, since.to_rfc3339()));
            let whole = !rest.is_empty();
            let json = format!(
                r#"{{"event":{{"action":"{action}","reason":"because","kind":"{kind}"{start}}},"host":{{"name":"mx1","boot":{{"id":"{rest}"}}}},"dkimwatch":{{"lost":{{"count":3,"why":"{rest}"}},"resumed":{{"whole":{whole}}}}}}}"#
            );
            let event: Event<'_> = serde_json::from_str(&json).expect("an event");
            watched.take(minute * MINUTE, &event, action != "key-opened", filter);
        }
        let (gaps, left_out, _) = watched.close(filter);
        assert_eq!(left_out, 0);
        let minutes = |time: Option<i64>| time.map_or("-".to_owned(), |time| (time / MINUTE).to_string());
        gaps.iter()
            .map(|gap| format!("{} {} {} {}", gap.kind.name(), minutes(gap.from), minutes(gap.until), gap.count))
            .collect()
    }

    #[test]
    fn a_watch_accounts_for_its_time() {
        let all = Filter::default();
        assert_eq!(
            told(&[(1, "watch-started"), (200, "key-opened"), (900, "key-opened")], &all),
            [""; 0],
            "silence before a heartbeat was heard"
        );
        let stopped = [(1, "watch-started"), (9, "watch-stopped"), (12, "watch-started"), (20, "watch-stopped")];
        assert_eq!(told(&stopped, &all), ["not-watched 9 12 0", "not-watched 20 - 0"]);
        assert_eq!(
            told(&[(1, "watch-started"), (8, "key-opened"), (9, "watch-started")], &all),
            ["ended-without-a-word 8 9 0"]
        );
        let silent = [(1, "watch-started"), (2, "watch-heartbeat"), (6, "key-opened"), (12, "watch-heartbeat")];
        assert_eq!(told(&silent, &all), ["silent 6 12 0"]);
        assert_eq!(told(&[], &all), ["no-entry - - 0"]);
    }

    #[test]
    fn what_the_kernel_watched_is_no_gap() {
        let all = Filter::default();
        let killed = [
            (1, "watch-started"),
            (2, "watch-heartbeat"),
            (30, "key-opened"),
            (40, "watch-resumed 2"),
            (40, "watch-started"),
            (50, "watch-stopped"),
            (60, "watch-resumed 50"),
            (60, "watch-started"),
        ];
        assert_eq!(told(&killed, &all), [""; 0]);
        // Where a part of the hooks had ended, it is one.
        let partly = [(1, "watch-started"), (8, "key-opened"), (9, "watch-resumed"), (9, "watch-started")];
        assert_eq!(told(&partly, &all), ["ended-without-a-word 8 9 0"]);
    }

    #[test]
    fn losses_of_a_flood_are_one_gap_and_what_the_journal_says_is_told() {
        let all = Filter::default();
        let lost = [
            (1, "events-lost"),
            (2, "events-lost"),
            (3, "events-lost passed-by"),
            (3, "events-lost"),
            (9, "events-lost"),
        ];
        assert_eq!(told(&lost, &all), ["events-lost 1 3 9", "passed-by 3 3 3", "events-lost 9 9 3"]);
        assert_eq!(
            told(&[(1, "journal-cut"), (2, "journal-gap grave"), (3, "journal-trimmed")], &all),
            ["journal 2 2 0"]
        );
    }

    #[test]
    fn hands_on_the_watch_are_a_gap_and_who_may_end_it_is_none() {
        let mut watched = Watched::default();
        let mut take = |minute: i64, verdict, outcome: &str, reason: &str| {
            let json = format!(
                r#"{{"event":{{"action":"monitor-tampered","reason":"{reason}","outcome":"{outcome}"}},"host":{{"name":"mx1"}}}}"#
            );
            let event: Event<'_> = serde_json::from_str(&json).expect("an event");
            watched.tampered(minute * MINUTE, verdict, &event, &Filter::default());
        };
        take(1, Verdict::Maintenance, "success", "the service manager");
        take(2, Verdict::Unexpected, "failure", "in vain");
        take(3, Verdict::Unexpected, "success", "a map");
        take(4, Verdict::Unexpected, "success", "a map");
        take(5, Verdict::Unexpected, "unknown", "a link");
        watched.any = true;
        let (gaps, _, notes) = watched.close(&Filter::default());
        let told: Vec<_> =
            gaps.iter().map(|gap| (gap.kind.name(), gap.text.to_string(), gap.from, gap.until)).collect();
        let at = |minute: i64| Some(minute * MINUTE);
        assert_eq!(
            told,
            [
                ("monitor-tampered", "a map".to_owned(), at(3), at(4)),
                ("monitor-tampered", "a link".to_owned(), at(5), at(5))
            ]
        );
        assert_eq!(notes.len(), 2);
    }

    #[test]
    fn gaps_outside_of_the_range_are_none_of_its() {
        let range = |since: i64, until: i64| Filter {
            since: Some(since * MINUTE),
            until: Some(until * MINUTE),
            ..Filter::default()
        };
        let stopped = [
            (1, "watch-started"),
            (9, "watch-stopped"),
            (12, "watch-started"),
            (15, "key-opened"),
            (20, "watch-stopped"),
        ];
        assert_eq!(told(&stopped, &range(13, 18)), [""; 0]);
        assert_eq!(told(&stopped, &range(2, 11)), ["not-watched 9 - 0"], "until the range's end");
        assert_eq!(told(&stopped, &range(10, 11)), ["not-watched 9 - 0", "no-entry 10 11 0"]);
        assert_eq!(told(&stopped, &range(0, 5)), ["before-the-journal 0 1 0"]);
    }
}
