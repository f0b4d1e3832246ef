//! Events of the watch itself as ECS documents.

use serde_json::{Value, json};

use super::{
    Counts, EventsLost, Heartbeat, HostFacts, Loss, State, WatchResumed, WatchStarted, WatchStopped,
    document::Document, ecs::base, time,
};
use crate::{
    escape,
    judge::{JudgedKey, severity},
    record::Notice,
    summary::Summed,
};

pub(super) fn document(state: &State, host: &HostFacts) -> Document {
    let mut document = Document::default();
    base(&mut document, host, state.unix_ns());
    document.set("event.dataset", "dkimwatch.watch");
    document.set("event.action", state.action());
    document.set("event.reason", state.reason());
    document.set("event.category", json!(["host"]));
    match state {
        State::Started(started) => begun(&mut document, started),
        State::Lost(lost) => losses(&mut document, lost),
        State::Heartbeat(heartbeat) => goes_on(&mut document, heartbeat),
        State::Journal(noted) => journal(&mut document, &noted.notice),
        State::Resumed(resumed) => taken_over(&mut document, resumed),
        State::Stopped(stopped) => ended(&mut document, stopped),
        State::Summarised(summed) => summarised(&mut document, summed),
    }
    let what = match state {
        // Two CPUs can lose accesses in the same interval.
        State::Lost(lost) => format!("{}/{:?}/{:?}/{}", lost.why.name(), lost.hook, lost.cpu, lost.since_unix_ns),
        State::Journal(noted) => format!("{:?}", noted.notice),
        State::Started(_) | State::Heartbeat(_) | State::Resumed(_) | State::Stopped(_) => String::new(),
        State::Summarised(summed) => format!("{:?}", summed.group),
    };
    document.set("event.id", host.id(&format!("{}/{}/{what}", state.action(), state.unix_ns())));
    document
}

fn kind(document: &mut Document, kind: &str, change: &str, outcome: &str, severity: u8) {
    document.set("event.kind", kind);
    document.set("event.type", json!([change]));
    document.set("event.outcome", outcome);
    document.set("event.severity", severity);
}

fn begun(document: &mut Document, started: &WatchStarted) {
    kind(document, "state", "start", "success", severity::NONE);
    document.set("dkimwatch.backend", started.backend.name());
    document.set("dkimwatch.hooks", started.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>());
    document.set("dkimwatch.keys", started.keys.iter().map(key).collect::<Vec<_>>());
    let folders = started.folders.iter().map(|folder| escape::path(folder));
    document.set("dkimwatch.folders", folders.collect::<Vec<_>>());
    document.set("dkimwatch.signers", started.signers.clone());
    document.set("dkimwatch.blind_spots", started.blind_spots.clone());
}

fn key(key: &JudgedKey) -> Value {
    json!({
        "path": escape::path(&key.path),
        "domain": key.domain,
        "selector": key.selector,
        "signer": key.signer,
    })
}

/// A loss is an alert: whoever caused it may have done so to be unseen.
fn losses(document: &mut Document, lost: &EventsLost) {
    // Most calls have nothing to do with a key.
    let severity = if lost.why == Loss::PassedBy { severity::LOW } else { severity::HIGH };
    kind(document, "alert", "info", "failure", severity);
    document.set("event.start", time::rfc3339(lost.since_unix_ns));
    document.set("event.end", time::rfc3339(lost.until_unix_ns));
    document.set("dkimwatch.lost.count", lost.count);
    document.set_known("dkimwatch.lost.cpu", lost.cpu);
    document.set("dkimwatch.lost.why", lost.why.name());
    document.set("dkimwatch.lost.hook", lost.hook.map_or("decode", |hook| hook.name()));
}

fn ended(document: &mut Document, stopped: &WatchStopped) {
    kind(document, "state", "end", "success", severity::NOTICE);
    document.set("event.duration", u64::try_from(stopped.ran.as_nanos()).unwrap_or(u64::MAX));
    summary(document, stopped.counts);
    document.set("dkimwatch.goes_on", stopped.goes_on);
}

fn taken_over(document: &mut Document, resumed: &WatchResumed) {
    kind(document, "state", "info", "success", severity::NOTICE);
    document.set("event.start", time::rfc3339(resumed.since_unix_ns));
    document.set("event.end", time::rfc3339(resumed.unix_ns));
    document.set("dkimwatch.resumed.count", resumed.count);
    document.set("dkimwatch.resumed.known", resumed.known);
    document.set("dkimwatch.resumed.whole", resumed.whole);
}

fn goes_on(document: &mut Document, heartbeat: &Heartbeat) {
    kind(document, "state", "info", "success", severity::NONE);
    document.set("event.duration", u64::try_from(heartbeat.ran.as_nanos()).unwrap_or(u64::MAX));
    summary(document, heartbeat.counts);
}

fn summary(document: &mut Document, counts: Counts) {
    document.set("dkimwatch.summary.expected", counts.expected);
    document.set("dkimwatch.summary.maintenance", counts.maintenance);
    document.set("dkimwatch.summary.unexpected", counts.unexpected);
    document.set("dkimwatch.summary.lost", counts.lost);
    document.set("dkimwatch.summary.passed_by", counts.passed_by);
}

/// Opens in sum have what each of them would have, as far as it is the same of all.
fn summarised(document: &mut Document, summed: &Summed) {
    let Summed { group, count, first_unix_ns, last_unix_ns, processes, .. } = summed;
    kind(document, "event", "access", "success", severity::NONE);
    document.set("event.dataset", "dkimwatch.access");
    document.set("event.category", json!(["file"]));
    document.set("event.start", time::rfc3339(*first_unix_ns));
    document.set("event.end", time::rfc3339(*last_unix_ns));
    document.set("event.code", group.rule.as_str());
    document.set("rule.id", group.rule.as_str());
    document.set("rule.ruleset", "dkimwatch");
    document.set("dkimwatch.summarised.count", *count);
    document.set("dkimwatch.summarised.processes", *processes);
    document.set("dkimwatch.key.path", group.path.as_str());
    document.set_known("dkimwatch.key.domain", group.domain.as_deref());
    document.set_known("dkimwatch.key.selector", group.selector.as_deref());
    document.set_known("dkimwatch.key.signer", group.signer.as_deref());
    document.set_known("process.executable", group.executable.as_deref());
    let name = group.executable.as_deref().map(|path| path.rsplit('/').next().unwrap_or_default());
    document.set_known("process.name", name);
    document.set_known("process.real_user.id", group.uid.map(|uid| uid.to_string()));
    document.set_known("process.real_user.name", group.user.as_deref());
    document.set_known("user.id", group.uid.map(|uid| uid.to_string()));
    document.set_known("user.name", group.user.as_deref());
    document.set_known("related.user", group.user.as_deref().map(|user| json!([user])));
    document.set_known("container.id", group.place.container.as_deref());
    document.set_known("container.runtime", group.place.runtime.as_deref());
    document.set_known("container.name", group.place.name.as_deref());
    document.set_known("dkimwatch.unit", group.place.unit.as_deref());
    document.set_known("dkimwatch.process.cgroup.path", group.place.cgroup.as_deref());
}

/// Evidence that is not what it was is an alert; what a crash leaves, and what the configuration wants, is not.
fn journal(document: &mut Document, notice: &Notice) {
    if notice.is_grave() {
        kind(document, "alert", "info", "failure", severity::HIGH);
    } else {
        kind(document, "state", "info", "success", severity::NOTICE);
    }
    match notice {
        Notice::Cut { segment, bytes } | Notice::Damaged { segment, bytes } => {
            document.set("dkimwatch.journal.segment", *segment);
            document.set("dkimwatch.journal.bytes", *bytes);
        }
        Notice::Missing { first, last } => {
            document.set("dkimwatch.journal.entries.first", *first);
            document.set("dkimwatch.journal.entries.last", *last);
        }
        Notice::SealGone { segment } => document.set("dkimwatch.journal.segment", *segment),
        Notice::Unproven { first } => document.set("dkimwatch.journal.entries.first", *first),
        Notice::Gap { count, alerts, since_unix_ns, until_unix_ns, why } => {
            document.set("event.start", time::rfc3339((*since_unix_ns).into()));
            document.set("event.end", time::rfc3339((*until_unix_ns).into()));
            document.set("dkimwatch.journal.gap.count", *count);
            document.set("dkimwatch.journal.gap.alerts", *alerts);
            document.set("dkimwatch.journal.gap.why", why.as_str());
        }
        Notice::Trimmed { first, last } => {
            document.set("dkimwatch.journal.segments.first", *first);
            document.set("dkimwatch.journal.segments.last", *last);
        }
    }
}
