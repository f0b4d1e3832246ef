//! The accesses that nobody expected: each with its sentence, and behind it the process, its ancestors and its container.

use maud::{Markup, html};

use super::{badge, time};
use crate::{
    judge::severity,
    report::{Bearing, Forebear, Report, Stranger, verdict::counted_u64},
};

/// Accesses that are shown at once.
const OPEN: usize = 3;

pub(super) fn strangers(report: &Report) -> Markup {
    let open: Vec<_> = report
        .strangers
        .iter()
        .enumerate()
        .filter(|(_, one)| one.bearing == Bearing::Exposed)
        .take(OPEN)
        .map(|(at, _)| at)
        .collect();
    html! {
        section #unexpected aria-labelledby="unexpected-title" {
            h2 #unexpected-title { "Accesses that nobody expected" }
            @if report.strangers.is_empty() { p { "None." } }
            @for (at, one) in report.strangers.iter().enumerate() { (stranger(one, open.contains(&at))) }
            @if report.strangers_left_out > 0 {
                p { (counted_u64(report.strangers_left_out, "more is", "more are")) " counted above, and not listed one by one." }
            }
        }
    }
}

fn stranger(one: &Stranger, open: bool) -> Markup {
    html! {
        details .access open[open] {
            summary {
                (time(one.unix_ns)) " " (badge(one.bearing)) " "
                span .what { (one.action) ": " code { (one.program()) } " by " (one.user_words()) }
            }
            p .reason { (one.reason) }
            dl .facts {
                (fact("Key", html! { code { (one.key) } " on " (one.host) }))
                (fact("Severity", html! { (severity::name(one.severity)) ", rule " code { (one.rule) } }))
                @if !one.args.is_empty() {
                    (fact("Command line", html! { @for arg in &one.args { code .word { (arg) } " " } }))
                }
                @if let Some(package) = &one.package { (fact("Package", html! { (package) })) }
                @if let Some(container) = one.container_words() { (fact("Container", html! { (container) })) }
                @if let Some(unit) = &one.unit { (fact("Unit", html! { (unit) })) }
                @if let Some(deed) = &one.deed { (fact("Deed", html! { (deed) })) }
                @if let Some(path) = &one.other_path { (fact("Other path", html! { code { (path) } })) }
                @if let Some((pid, comm)) = &one.other { (fact("Other process", html! { (comm) " (pid " (pid) ")" })) }
                @if let Some(errno) = &one.errno { (fact("Refused with", html! { (errno) })) }
                @if one.odd_hour { (fact("Hour", html! { "none of those at which this key is usually read" })) }
                (fact("Event", html! { code { (one.id) } }))
            }
            (tree(one))
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// From the oldest ancestor down to the process, each within the one before it.
fn tree(one: &Stranger) -> Markup {
    let mut tree = html! { ul { li { strong { (one.program()) } " (pid " (one.pid) "), " (one.user_words()) } } };
    for ancestor in &one.ancestors {
        tree = html! { ul { li { (forebear(ancestor)) (tree) } } };
    }
    html! {
        div .tree role="group" aria-label="Process tree" {
            p {
                "Process tree"
                @if let Some(entry) = &one.entry { ", came in by " (entry) }
                @if one.ancestors_cut { ", its beginning is cut" }
            }
            (tree)
        }
    }
}

fn forebear(one: &Forebear) -> Markup {
    html! {
        @match &one.executable { Some(executable) => code { (executable) }, None => (one.name) }
        " (pid " (one.pid) ")"
        @if let Some(uid) = &one.uid { ", uid " (uid) }
    }
}
