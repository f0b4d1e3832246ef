//! Accesses over time, in columns that grow wider as the time grows longer.

use std::collections::BTreeMap;

use super::{bearing::Counts, ledger::Span};

/// Columns that are kept: what is drawn has fewer.
const MOST: usize = 4_096;

/// Widths of a column, seconds: each is a multiple of the one before it, so that columns can be put together.
const WIDTHS: [i64; 10] = [60, 300, 900, 3_600, 10_800, 21_600, 86_400, 604_800, 6_048_000, 60_480_000];

/// Accesses over time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Seconds.
    width: i64,
    columns: BTreeMap<i64, Counts>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: 60, columns: BTreeMap::new() }
    }
}

impl Timeline {
    /// Adds accesses at a time.
    pub(super) fn add(&mut self, unix_ns: i64, counts: &Counts) {
        let column = unix_ns.div_euclid(self.width * 1_000_000_000);
        self.columns.entry(column).or_default().merge(counts);
        if self.columns.len() > MOST {
            self.widen();
        }
    }

    fn widen(&mut self) {
        let Some(width) = WIDTHS.into_iter().find(|width| *width > self.width) else {
            // Times of a journal that somebody made up: three centuries in the widest columns are fewer.
            self.columns.pop_last();
            return;
        };
        self.set_width(width);
    }

    fn set_width(&mut self, width: i64) {
        let times = width / self.width;
        let mut columns = BTreeMap::<i64, Counts>::new();
        for (at, counts) in &self.columns {
            columns.entry(at.div_euclid(times)).or_default().merge(counts);
        }
        (self.width, self.columns) = (width, columns);
    }

    /// The columns between two times, at most so many: when each begins, and what was in it. And their width in nanoseconds.
    #[must_use]
    pub fn drawn(&self, span: Span, most: i64) -> (i64, Vec<(i64, Counts)>) {
        let mut own = self.clone();
        let second = 1_000_000_000;
        let columns = |width: i64| {
            let (first, last) = (span.first.div_euclid(width * second), span.last.div_euclid(width * second));
            (first, last.saturating_sub(first).saturating_add(1))
        };
        let width = WIDTHS.into_iter().filter(|width| *width >= own.width).find(|width| columns(*width).1 <= most);
        let width = width.or(WIDTHS.last().copied()).unwrap_or(own.width);
        own.set_width(width);
        let (first, count) = columns(width);
        let drawn = (first..first.saturating_add(count.min(most)))
            .map(|at| (at.saturating_mul(width * second), own.columns.get(&at).copied().unwrap_or_default()));
        (width * second, drawn.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    #[test]
    fn it_stays_small_and_loses_nothing() {
        let one = Counts { expected: 1, ..Counts::default() };
        let mut timeline = Timeline::default();
        // Ten years, an access every ten minutes.
        let times = (0..525_600).map(|at| at * 10 * MINUTE);
        times.clone().for_each(|time| timeline.add(time, &one));
        assert!(timeline.columns.len() <= MOST, "{}", timeline.columns.len());
        assert_eq!(timeline.columns.values().map(|counts| counts.expected).sum::<u64>(), 525_600);
        let span = Span { first: 0, last: 525_599 * 10 * MINUTE };
        let (width, drawn) = timeline.drawn(span, 120);
        assert!((50..=120).contains(&drawn.len()), "{} of {width}", drawn.len());
        assert_eq!(drawn.iter().map(|(_, counts)| counts.expected).sum::<u64>(), 525_600);
    }

    #[test]
    fn times_that_somebody_made_up_do_no_harm() {
        let one = Counts { exposed: 1, ..Counts::default() };
        let mut timeline = Timeline::default();
        for time in
            (0..=10_000).map(|step: i64| i64::MIN + step.saturating_mul(i64::MAX / 5_000)).chain([i64::MIN, i64::MAX])
        {
            timeline.add(time, &one);
        }
        assert!(timeline.columns.len() <= MOST);
        let (_, drawn) = timeline.drawn(Span { first: i64::MIN, last: i64::MAX }, 100);
        assert!(drawn.len() <= 100);
        let (_, drawn) = timeline.drawn(Span { first: 0, last: 0 }, 100);
        assert_eq!(drawn.len(), 1);
    }
}
