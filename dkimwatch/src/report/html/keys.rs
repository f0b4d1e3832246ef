//! The keys: one line each, and behind each its readers and its hours.

use maud::{Markup, html};

use super::{badge, drawing, table, time};
use crate::report::{
    Bearing, KeyFacts, Reader, Report,
    verdict::{counted_u64, key_words},
};

/// Keys whose readers are shown at once; the others' open by a key press.
const OPEN: usize = 12;
/// Keys, keys with their readers, and readers of a key that the page shows: a browser has to lay them out. The other formats have all.
const MOST_KEYS: usize = 1_000;
const MOST_DETAILS: usize = 200;
const MOST_READERS: usize = 20;

pub(super) fn keys(report: &Report) -> Markup {
    let rows = html! { @for key in report.keys.iter().take(MOST_KEYS) { (row(key)) } };
    html! {
        section #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys and their readers" }
            @if report.keys.is_empty() {
                p { "No key was read, and no watch names one." }
            } @else {
                (table(
                    "Every key, the gravest first",
                    &["Domain", "Selector", "File", "Host", "State", "As expected", "Unexpected", "Usual hours"],
                    &rows,
                ))
                @for (at, key) in report.keys.iter().take(MOST_DETAILS).enumerate() { (readers(key, at < OPEN && key.counts.exposed > 0)) }
            }
            @if report.keys.len() > MOST_DETAILS {
                p { "There are " (report.keys.len()) " keys; the first " (MOST_KEYS) " are listed, the first " (MOST_DETAILS) " with their readers. The other formats have all." }
            }
            @if report.crowded_out.all() > 0 {
                p { (counted_u64(report.crowded_out.all(), "access", "accesses")) " of further keys and readers are counted, and not listed." }
            }
        }
    }
}

fn row(key: &KeyFacts) -> Markup {
    html! {
        tr {
            th scope="row" { @match &key.domain { Some(domain) => (domain), None => "not known" } }
            td { @if let Some(selector) = &key.selector { (selector) } }
            td { code { (key.path) } }
            td { (key.host) }
            td { (badge(key.counts.gravest())) }
            td .number { (key.counts.as_expected()) }
            td .number { (key.counts.unexpected()) }
            td { (key.usual.words().unwrap_or_else(|| "too few to tell".to_owned())) }
        }
    }
}

fn readers(key: &KeyFacts, open: bool) -> Markup {
    if key.readers.is_empty() {
        return html! {};
    }
    let name = key_words(key);
    let rows = html! { @for reader in key.readers.iter().take(MOST_READERS) { (reader_row(reader)) } };
    html! {
        details open[open] {
            summary { (badge(key.counts.gravest())) " " (name) ": " (counted_u64(key.readers.len() as u64, "reader", "readers")) }
            (drawing::hours(key))
            (table(&format!("Readers of {name}"), &["Reader", "User", "Where", "State", "What", "First and last", "Rule"], &rows))
            @if let Some(more) = key.readers.len().checked_sub(MOST_READERS).filter(|more| *more > 0) {
                p { "And " (more) " more, in the other formats." }
            }
        }
    }
}

fn reader_row(reader: &Reader) -> Markup {
    html! {
        tr {
            th scope="row" { code { (reader.executable) } }
            td { (reader.user_words()) }
            td { (reader.place().unwrap_or_default()) }
            td {
                (badge(reader.counts.gravest()))
                @if reader.counts.gravest() == Bearing::Expected && reader.counts.expected == 0 { " (maintenance)" }
            }
            td { @for (name, count) in reader.actions() { span .deed { (name) " × " (count) } " " } }
            td {
                (time(reader.span.first))
                @if reader.span.last != reader.span.first { " " (time(reader.span.last)) }
            }
            td { code { (reader.rule) } }
        }
    }
}
