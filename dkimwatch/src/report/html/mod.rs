//! The report as one page: no script, nothing that is fetched, for a screen in light or dark and for paper.
//!
//! Whatever an event says is hostile. Three walls keep it text: it comes as [`Shown`], without control characters; maud escapes every
//! value for elements and attributes; and the page's own policy lets no script run, should one ever get in. Nothing here is handed on
//! unescaped but the style sheet, which is ours.

mod access;
mod drawing;
mod keys;
mod sections;

use base64ct::{Base64, Encoding as _};
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};
use sha2::{Digest as _, Sha256};

use super::{Bearing, Level, Report, Shown, verdict::bearing_words, when};

const STYLE: &str = include_str!("page.css");

impl Render for Shown {
    fn render_to(&self, page: &mut String) {
        self.as_str().render_to(page);
    }
}

/// The page.
pub(super) fn page(report: &Report) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // Before anything else: what follows is bound by it.
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { "DKIM key report: " (report.headline.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#main" { "Skip to the report" }
                header {
                    h1 { "DKIM key report" }
                    p .range { (report.range) @for one in &report.selection { ", only " (one) } }
                }
                (navigation())
                main #main {
                    (headline(report))
                    (sections::advice(report))
                    (sections::timeline(report))
                    (keys::keys(report))
                    (access::strangers(report))
                    (sections::gaps(report))
                    (sections::journals(report))
                }
                footer { p { "Made " (time(report.made)) " by dkimwatch " (env!("CARGO_PKG_VERSION")) ". Times are UTC." } }
            }
        }
    }
    .into_string()
}

/// Nothing is loaded and nothing runs; of styles, only the page's own one, by its hash.
fn policy() -> String {
    let hash = Base64::encode_string(&Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

fn navigation() -> Markup {
    let sections = [
        ("verdict", "Verdict"),
        ("next", "What to do"),
        ("time", "Over time"),
        ("keys", "Keys and readers"),
        ("unexpected", "Unexpected accesses"),
        ("gaps", "Gaps"),
        ("journals", "Journals"),
    ];
    html! {
        nav aria-label="Sections" {
            ul { @for (id, name) in sections { li { a href={ "#" (id) } { (name) } } } }
        }
    }
}

fn headline(report: &Report) -> Markup {
    let class = match report.headline.level {
        Level::Exposed => "grave",
        Level::Look | Level::Unsure => "look",
        Level::Quiet => "calm",
    };
    let counts = &report.counts;
    html! {
        section #verdict .verdict.(class) aria-labelledby="verdict-title" {
            h2 #verdict-title { (report.headline.title) }
            @if !report.headline.sentences.is_empty() {
                ul { @for sentence in &report.headline.sentences { li { (sentence) } } }
            }
            dl .figures {
                div { dt { "As expected" } dd { (counts.as_expected()) } }
                @for bearing in Bearing::UNEXPECTED {
                    div { dt { (bearing_words(bearing)) } dd { (count_of(report, bearing)) } }
                }
            }
        }
    }
}

const fn count_of(report: &Report, bearing: Bearing) -> u64 {
    match bearing {
        Bearing::Exposed => report.counts.exposed,
        Bearing::Changed => report.counts.changed,
        Bearing::Attempted => report.counts.attempted,
        Bearing::Noted => report.counts.noted,
        Bearing::Expected => report.counts.as_expected(),
    }
}

/// A bearing as a badge: the word says it, the colour only helps.
fn badge(bearing: Bearing) -> Markup {
    html! { span .badge.(bearing.name()) { (bearing_words(bearing)) } }
}

/// A point in time, for people and for programs.
fn time(unix_ns: i64) -> Markup {
    html! { time datetime=(when::rfc3339(unix_ns)) { (when::short(unix_ns)) } }
}

/// A table that scrolls by itself on a narrow screen, by keyboard as well.
fn table(caption: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
