//! The report for programs: one JSON document. Its names are those of the text; times are RFC 3339, UTC.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;

use super::{
    Report,
    advice::{Advice, Concerned},
    bearing::Counts,
    gaps::Gap,
    ledger::{KeyFacts, Reader, Span},
    seals::Seal,
    shown::Shown,
    stranger::Stranger,
    when::rfc3339,
};
use crate::judge::severity;

/// Writes the report.
pub(super) fn write(report: &Report, to: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, &Document::of(report))?;
    writeln!(to)
}

#[derive(Serialize)]
struct Document<'r> {
    made: String,
    dkimwatch: &'static str,
    range: &'r Shown,
    only: &'r [Shown],
    verdict: &'static str,
    title: &'r Shown,
    sentences: &'r [Shown],
    findings: bool,
    accesses: Counts,
    span: Option<JsonSpan>,
    advice: Vec<JsonAdvice<'r>>,
    keys: Vec<JsonKey<'r>>,
    not_listed: Counts,
    unexpected: Vec<JsonStranger<'r>>,
    unexpected_not_listed: u64,
    gaps: Vec<JsonGap<'r>>,
    gaps_not_listed: u64,
    notes: &'r [Shown],
    journals: Vec<JsonSeal<'r>>,
    troubles: &'r [Shown],
    unreadable_entries: u64,
}

#[derive(Serialize)]
struct JsonSpan {
    first: String,
    last: String,
}

#[derive(Serialize)]
struct JsonAdvice<'r> {
    domain: Option<&'r Shown>,
    bearing: &'static str,
    keys: Vec<JsonConcerned<'r>>,
    steps: &'r [Shown],
}

#[derive(Serialize)]
struct JsonConcerned<'r> {
    selector: Option<&'r Shown>,
    record: Option<&'r Shown>,
    host: &'r Shown,
    path: &'r Shown,
    bearing: &'static str,
    since: Option<String>,
}

#[derive(Serialize)]
struct JsonKey<'r> {
    host: &'r Shown,
    path: &'r Shown,
    domain: Option<&'r Shown>,
    selector: Option<&'r Shown>,
    signer: Option<&'r Shown>,
    bearing: &'static str,
    accesses: Counts,
    expected: Option<JsonSpan>,
    exposed: Option<JsonSpan>,
    usual_hours: Option<String>,
    at_odd_hours: u64,
    expected_by_hour: &'r [u64; 24],
    readers: Vec<JsonReader<'r>>,
}

#[derive(Serialize)]
struct JsonReader<'r> {
    executable: &'r Shown,
    uid: Option<&'r Shown>,
    user: Option<&'r Shown>,
    container: Option<&'r Shown>,
    container_name: Option<&'r Shown>,
    unit: Option<&'r Shown>,
    rule: &'r Shown,
    bearing: &'static str,
    accesses: Counts,
    actions: BTreeMap<&'static str, u64>,
    first: String,
    last: String,
}

#[derive(Serialize)]
struct JsonStranger<'r> {
    time: String,
    bearing: &'static str,
    host: &'r Shown,
    key: &'r Shown,
    domain: Option<&'r Shown>,
    selector: Option<&'r Shown>,
    odd_hour: bool,
    id: &'r Shown,
    action: &'r Shown,
    outcome: &'r Shown,
    deed: Option<&'r Shown>,
    errno: Option<&'r Shown>,
    severity: &'static str,
    rule: &'r Shown,
    reason: &'r Shown,
    pid: u32,
    executable: Option<&'r Shown>,
    package: Option<&'r Shown>,
    args: &'r [Shown],
    ancestors: Vec<JsonForebear<'r>>,
    uid: Option<&'r Shown>,
    user: Option<&'r Shown>,
    effective_uid: Option<&'r Shown>,
    login_user: Option<&'r Shown>,
    entry: Option<&'r Shown>,
    unit: Option<&'r Shown>,
    container: Option<&'r Shown>,
    container_name: Option<&'r Shown>,
    runtime: Option<&'r Shown>,
    image: Option<&'r Shown>,
    other_path: Option<&'r Shown>,
    other_pid: Option<u32>,
}

#[derive(Serialize)]
struct JsonForebear<'r> {
    pid: u32,
    name: &'r Shown,
    executable: Option<&'r Shown>,
    uid: Option<&'r Shown>,
}

#[derive(Serialize)]
struct JsonGap<'r> {
    kind: &'static str,
    host: &'r Shown,
    from: Option<String>,
    until: Option<String>,
    count: u64,
    text: &'r Shown,
}

#[derive(Serialize)]
struct JsonSeal<'r> {
    folder: &'r Shown,
    state: &'static str,
    entries: u64,
    alerts: u64,
    sealed: u64,
    first: Option<String>,
    last: Option<String>,
    findings: &'r [Shown],
    more_findings: u64,
}

impl<'r> Document<'r> {
    fn of(report: &'r Report) -> Self {
        Self {
            made: rfc3339(report.made),
            dkimwatch: env!("CARGO_PKG_VERSION"),
            range: &report.range,
            only: &report.selection,
            verdict: report.headline.level.name(),
            title: &report.headline.title,
            sentences: &report.headline.sentences,
            findings: report.has_findings(),
            accesses: report.counts,
            span: report.span.map(span),
            advice: report.advice.iter().map(advice).collect(),
            keys: report.keys.iter().map(key).collect(),
            not_listed: report.crowded_out,
            unexpected: report.strangers.iter().map(stranger).collect(),
            unexpected_not_listed: report.strangers_left_out,
            gaps: report.gaps.iter().map(gap).collect(),
            gaps_not_listed: report.gaps_left_out,
            notes: &report.notes,
            journals: report.journals.iter().map(seal).collect(),
            troubles: &report.troubles,
            unreadable_entries: report.unreadable,
        }
    }
}

fn span(span: Span) -> JsonSpan {
    JsonSpan { first: rfc3339(span.first), last: rfc3339(span.last) }
}

fn advice(one: &Advice) -> JsonAdvice<'_> {
    let concerned = |key: &'_ Concerned| key.since.map(rfc3339);
    JsonAdvice {
        domain: one.domain.as_ref(),
        bearing: one.bearing.name(),
        keys: (one.keys.iter())
            .map(|key| JsonConcerned {
                selector: key.selector.as_ref(),
                record: key.record.as_ref(),
                host: &key.host,
                path: &key.path,
                bearing: key.bearing.name(),
                since: concerned(key),
            })
            .collect(),
        steps: &one.steps,
    }
}

fn key(key: &KeyFacts) -> JsonKey<'_> {
    JsonKey {
        host: &key.host,
        path: &key.path,
        domain: key.domain.as_ref(),
        selector: key.selector.as_ref(),
        signer: key.signer.as_ref(),
        bearing: key.counts.gravest().name(),
        accesses: key.counts,
        expected: key.expected.map(span),
        exposed: key.exposed.map(span),
        usual_hours: key.usual.words(),
        at_odd_hours: key.usual.odd(),
        expected_by_hour: key.usual.each(),
        readers: key.readers.iter().map(reader).collect(),
    }
}

fn reader(one: &Reader) -> JsonReader<'_> {
    JsonReader {
        executable: &one.executable,
        uid: one.uid.as_ref(),
        user: one.user.as_ref(),
        container: one.container.as_ref(),
        container_name: one.container_name.as_ref(),
        unit: one.unit.as_ref(),
        rule: &one.rule,
        bearing: one.counts.gravest().name(),
        accesses: one.counts,
        actions: one.actions().into_iter().collect(),
        first: rfc3339(one.span.first),
        last: rfc3339(one.span.last),
    }
}

fn stranger(one: &Stranger) -> JsonStranger<'_> {
    JsonStranger {
        time: rfc3339(one.unix_ns),
        bearing: one.bearing.name(),
        host: &one.host,
        key: &one.key,
        domain: one.domain.as_ref(),
        selector: one.selector.as_ref(),
        odd_hour: one.odd_hour,
        id: &one.id,
        action: &one.action,
        outcome: &one.outcome,
        deed: one.deed.as_ref(),
        errno: one.errno.as_ref(),
        severity: severity::name(one.severity),
        rule: &one.rule,
        reason: &one.reason,
        pid: one.pid,
        executable: one.executable.as_ref().or(one.name.as_ref()),
        package: one.package.as_ref(),
        args: &one.args,
        ancestors: (one.ancestors.iter())
            .map(|each| JsonForebear {
                pid: each.pid,
                name: &each.name,
                executable: each.executable.as_ref(),
                uid: each.uid.as_ref(),
            })
            .collect(),
        uid: one.uid.as_ref(),
        user: one.user.as_ref(),
        effective_uid: one.effective_uid.as_ref(),
        login_user: one.login_user.as_ref(),
        entry: one.entry.as_ref(),
        unit: one.unit.as_ref(),
        container: one.container.as_ref(),
        container_name: one.container_name.as_ref(),
        runtime: one.runtime.as_ref(),
        image: one.image.as_ref(),
        other_path: one.other_path.as_ref(),
        other_pid: one.other.as_ref().map(|(pid, _)| *pid),
    }
}

fn gap(gap: &Gap) -> JsonGap<'_> {
    JsonGap {
        kind: gap.kind.name(),
        host: &gap.host,
        from: gap.from.map(rfc3339),
        until: gap.until.map(rfc3339),
        count: gap.count,
        text: &gap.text,
    }
}

fn seal(seal: &Seal) -> JsonSeal<'_> {
    JsonSeal {
        folder: &seal.folder,
        state: seal.trust.name(),
        entries: seal.entries,
        alerts: seal.alerts,
        sealed: seal.sealed,
        first: seal.span.map(|(first, _)| rfc3339(first.unix_ns)),
        last: seal.span.map(|(_, last)| rfc3339(last.unix_ns)),
        findings: &seal.findings,
        more_findings: seal.more,
    }
}
