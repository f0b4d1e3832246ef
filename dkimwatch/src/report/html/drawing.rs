//! Drawings within the page: accesses over time, and by the hour of the day. Each says in words what it shows.

use maud::{Markup, html};

use crate::report::{
    Counts, Gap, KeyFacts, Report, Span,
    verdict::counted_u64,
    when::{Long, short},
};

/// Columns of the time line, and its size.
const COLUMNS: i64 = 96;
const WIDTH: i64 = 960;
/// Heights of the two tracks.
const TRACK: u64 = 70;
/// Where they stand, and the axis.
const UPPER: i64 = 90;
const LOWER: i64 = 180;

/// Accesses over time in two tracks, each with its own scale: a single stranger must be seen beside a thousand signatures.
pub(super) fn timeline(report: &Report) -> Markup {
    let Some(span) = span(report) else {
        return html! { p { "There is nothing to draw: no access, and no gap with a beginning or an end." } };
    };
    let (width, columns) = report.timeline.drawn(span, COLUMNS);
    let most = |of: fn(&Counts) -> u64| columns.iter().map(|(_, counts)| of(counts)).max().unwrap_or(0).max(1);
    let (most_unexpected, most_expected) = (most(Counts::unexpected), most(Counts::as_expected));
    let count = i64::try_from(columns.len()).unwrap_or(1).max(1);
    let begin = columns.first().map_or(span.first, |(begin, _)| *begin);
    let end = begin.saturating_add(width.saturating_mul(count));
    let place = |unix_ns: i64| scaled(unix_ns.clamp(begin, end) - begin, end - begin);
    let column = (WIDTH / count).max(2) - 1;
    let long = Long(width);
    let description = format!(
        "{} and {}, from {} to {} UTC, {} a column. {}.",
        counted_u64(report.counts.unexpected(), "unexpected access", "unexpected accesses"),
        counted_u64(report.counts.as_expected(), "expected one", "expected ones"),
        short(span.first),
        short(span.last),
        long,
        counted_u64(report.gaps.len() as u64, "gap", "gaps"),
    );
    html! {
        figure {
            svg viewBox="0 0 960 225" role="img" aria-labelledby="line-title line-desc" {
                title #line-title { "Accesses over time" }
                desc #line-desc { (description) }
                defs {
                    pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                        rect .hatch-ground width="6" height="6" {}
                        rect .hatch-line width="2" height="6" {}
                    }
                }
                @for gap in &report.gaps {
                    @if let Some((x, wide)) = gap_place(gap, &place) {
                        rect .gap x=(x) y="18" width=(wide) height="162" { title { (gap.kind.name()) ": " (gap.span()) } }
                    }
                }
                text .label x="0" y="12" { "Unexpected (highest column: " (most_unexpected) ")" }
                text .label x="0" y="106" { "As expected (highest column: " (most_expected) ")" }
                @for (at, counts) in &columns {
                    (bar("bar-unexpected", place(*at), UPPER, column, height(counts.unexpected(), most_unexpected, 8), *at, counts.unexpected()))
                    (bar("bar-expected", place(*at), LOWER, column, height(counts.as_expected(), most_expected, 2), *at, counts.as_expected()))
                }
                line .axis x1="0" y1="90" x2="960" y2="90" {}
                line .axis x1="0" y1="180" x2="960" y2="180" {}
                @for (share, anchor) in [(0, "start"), (1, "middle"), (2, "end")] {
                    text .label x=(WIDTH / 2 * share) y="198" text-anchor=(anchor) {
                        (short(begin.saturating_add((end - begin) / 2 * share)))
                    }
                }
                rect .gap x="0" y="208" width="14" height="12" {}
                text .label x="20" y="218" { "gap: nobody watched, or something was lost. One column is " (long.to_string()) "." }
            }
            figcaption { (description) }
        }
    }
}

/// From the first to the last of what is drawn.
fn span(report: &Report) -> Option<Span> {
    let mut span = report.span;
    for time in report.gaps.iter().flat_map(|gap| [gap.from, gap.until]).flatten() {
        Span::extend(&mut span, time);
    }
    span
}

fn gap_place(gap: &Gap, place: &impl Fn(i64) -> i64) -> Option<(i64, i64)> {
    let from = gap.from.or(gap.until)?;
    let x = place(from);
    let end = gap.until.map_or(WIDTH, place);
    Some((x, (end - x).max(3)))
}

/// A share of the drawing's width.
fn scaled(part: i64, whole: i64) -> i64 {
    let share = i128::from(part) * i128::from(WIDTH) / i128::from(whole.max(1));
    i64::try_from(share).unwrap_or(0)
}

/// A column's height: whatever is there at all is seen.
fn height(count: u64, most: u64, least: u64) -> i64 {
    let height =
        if count == 0 { 0 } else { (u128::from(count) * u128::from(TRACK) / u128::from(most)).max(u128::from(least)) };
    i64::try_from(height).unwrap_or(0)
}

fn bar(class: &str, x: i64, foot: i64, width: i64, height: i64, at: i64, count: u64) -> Markup {
    html! {
        @if height > 0 {
            rect .(class) x=(x) y=(foot - height) width=(width) height=(height) { title { (short(at)) ": " (count) } }
        }
    }
}

/// A key's accesses by the hour of the day: expected ones upwards, the others downwards.
pub(super) fn hours(key: &KeyFacts) -> Markup {
    let (usual, others) = (key.usual.each(), key.others.each());
    let most = |hours: &[u64; 24]| hours.iter().copied().max().unwrap_or(0).max(1);
    let (most_usual, most_others) = (most(usual), most(others));
    let odd: Vec<_> =
        (0..24).zip(others).filter(|(_, count)| **count > 0).map(|(hour, _): (u32, _)| format!("{hour:02}")).collect();
    let description = format!(
        "Expected accesses usually {}; unexpected ones {}.",
        key.usual.words().unwrap_or_else(|| "at no hours that can be told yet".to_owned()),
        if odd.is_empty() { "at none".to_owned() } else { format!("in the hours {} UTC", odd.join(", ")) },
    );
    html! {
        figure .hours {
            svg viewBox="0 0 480 80" role="img" aria-label={ "By the hour of the day. " (description) } {
                title { "By the hour of the day (UTC)" }
                desc { (description) }
                @for (hour, (usual, others)) in (0_i64..).zip(usual.iter().zip(others)) {
                    (hour_bar("bar-expected", hour, true, *usual, most_usual))
                    (hour_bar("bar-unexpected", hour, false, *others, most_others))
                    @if hour % 3 == 0 { text .label x=(hour * 20 + 1) y="77" { (format!("{hour:02}")) } }
                }
                line .axis x1="0" y1="34" x2="480" y2="34" {}
            }
            figcaption { (description) }
        }
    }
}

fn hour_bar(class: &str, hour: i64, upwards: bool, count: u64, most: u64) -> Markup {
    let height = height(count, most, 6) * 30 / 70;
    let y = if upwards { 34 - height } else { 34 };
    html! {
        @if count > 0 {
            rect .(class) x=(hour * 20 + 1) y=(y) width="17" height=(height.max(2)) { title { (format!("{hour:02}:00")) ": " (count) } }
        }
    }
}
