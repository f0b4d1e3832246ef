//! What to do, the time line, the gaps and the journals.

use maud::{Markup, html};

use super::{badge, drawing, table, time};
use crate::report::{Advice, Report, Seal, Shown, Trust, verdict::counted_u64, when::Long};

pub(super) fn advice(report: &Report) -> Markup {
    html! {
        section #next aria-labelledby="next-title" {
            h2 #next-title { "What to do" }
            @if report.advice.is_empty() {
                p { "No key has to be rotated for what these journals say." }
            }
            @for one in &report.advice { (domain(one)) }
        }
    }
}

fn domain(one: &Advice) -> Markup {
    let name = one.domain.as_ref().map_or("Keys whose domain is not known", Shown::as_str);
    let rows = html! {
        @for key in &one.keys {
            tr {
                th scope="row" { @match &key.record { Some(record) => code { (record) }, None => "not known" } }
                td { (badge(key.bearing)) }
                td { @if let Some(since) = key.since { (time(since)) } }
                td { code { (key.path) } }
                td { (key.host) }
            }
        }
    };
    html! {
        article .domain {
            h3 { (name) }
            (table(&format!("Keys of {name}"), &["DNS record", "What befell it", "Since", "File", "Host"], &rows))
            ol .steps { @for step in &one.steps { li { (step) } } }
        }
    }
}

pub(super) fn timeline(report: &Report) -> Markup {
    html! {
        section #time aria-labelledby="time-title" {
            h2 #time-title { "Over time" }
            (drawing::timeline(report))
        }
    }
}

pub(super) fn gaps(report: &Report) -> Markup {
    let rows = html! {
        @for gap in &report.gaps {
            tr {
                th scope="row" { (gap.kind.name()) }
                td { (gap.host) }
                td { @if let Some(from) = gap.from { (time(from)) } }
                td { @match gap.until { Some(until) => (time(until)), None => "goes on" } }
                td { @if let (Some(from), Some(until)) = (gap.from, gap.until) { (Long(until.saturating_sub(from)).to_string()) } }
                td .number { @if gap.count > 0 { (gap.count) } }
                td { (gap.text) }
            }
        }
    };
    html! {
        section #gaps aria-labelledby="gaps-title" {
            h2 #gaps-title { "Gaps in the watching" }
            @if report.gaps.is_empty() {
                p { "None is known." }
            } @else {
                (table("When something may have gone unseen", &["Kind", "Host", "From", "Until", "Length", "Lost", "What it means"], &rows))
            }
            @if report.gaps_left_out > 0 { p { (counted_u64(report.gaps_left_out, "more gap", "more gaps")) "." } }
            @if !report.notes.is_empty() {
                ul { @for note in &report.notes { li { (note) } } }
            }
        }
    }
}

pub(super) fn journals(report: &Report) -> Markup {
    let rows = html! { @for journal in &report.journals { (journal_row(journal)) } };
    html! {
        section #journals aria-labelledby="journals-title" {
            h2 #journals-title { "The journals" }
            (table("Can the journals be believed?", &["Journal", "State", "Entries", "Sealed", "First", "Last"], &rows))
            @for journal in report.journals.iter().filter(|journal| !journal.findings.is_empty()) {
                h3 { "What is wrong with " (journal.folder) }
                ul {
                    @for finding in &journal.findings { li { (finding) } }
                    @if journal.more > 0 { li { "and " (journal.more) " more" } }
                }
            }
            @if !report.troubles.is_empty() {
                h3 { "What could not be read" }
                ul { @for trouble in &report.troubles { li { (trouble) } } }
            }
        }
    }
}

fn journal_row(journal: &Seal) -> Markup {
    let class = match journal.trust {
        Trust::Sealed | Trust::PartlySealed => "calm-text",
        Trust::NotChecked | Trust::Unsealed => "look-text",
        Trust::Broken | Trust::Unreadable => "grave-text",
    };
    html! {
        tr {
            th scope="row" { code { (journal.folder) } }
            td .(class) { (journal.trust.sentence()) }
            td .number { (journal.entries) }
            td .number { (journal.sealed) }
            td { @if let Some((first, _)) = journal.span { (time(first.unix_ns)) } }
            td { @if let Some((_, last)) = journal.span { (time(last.unix_ns)) } }
        }
    }
}
