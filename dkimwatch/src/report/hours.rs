//! At what hours of the day a key is read, and which of them are usual.

use super::when::hour_of_day;

/// Accesses by the hour of the day, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours([u64; 24]);

/// Below so many accesses no hour is called usual, or odd: three restarts of a signer are no habit.
const ENOUGH: u64 = 20;

/// An hour with less than one in so many of the accesses is none of the usual ones.
const RARE: u64 = 100;

impl Hours {
    /// Counts one.
    pub(super) fn add(&mut self, unix_ns: i64) {
        self.add_some(unix_ns, 1);
    }

    /// Counts some between two times: a minute, of which all but the first one are in the last one's hour.
    pub(super) fn add_between(&mut self, first: i64, last: i64, count: u64) {
        if count > 0 {
            self.add_some(first, 1);
            self.add_some(last, count - 1);
        }
    }

    fn add_some(&mut self, unix_ns: i64, count: u64) {
        if let Some(hour) = self.0.get_mut(hour_of_day(unix_ns)) {
            *hour += count;
        }
    }

    /// Each hour's.
    #[must_use]
    pub const fn each(&self) -> &[u64; 24] {
        &self.0
    }

    /// The hours that are usual; `None` where there are too few accesses to tell.
    fn usual(&self) -> Option<[bool; 24]> {
        let all: u64 = self.0.iter().sum();
        (all >= ENOUGH).then(|| self.0.map(|count| count.saturating_mul(RARE) >= all))
    }

    /// Whether a time is at none of the usual hours.
    #[must_use]
    pub fn is_odd(&self, unix_ns: i64) -> bool {
        self.usual().is_some_and(|usual| usual.get(hour_of_day(unix_ns)) == Some(&false))
    }

    /// How many accesses were at none of the usual hours.
    #[must_use]
    pub fn odd(&self) -> u64 {
        let Some(usual) = self.usual() else { return 0 };
        self.0.iter().zip(usual).filter(|(_, usual)| !usual).map(|(count, _)| count).sum()
    }

    /// For people: `in the hours 06-09, 14 UTC` (09:59 is one of those); `at all hours`; nothing where there are too few to tell.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let usual = self.usual()?;
        if usual.iter().all(|usual| *usual) {
            return Some("at all hours".to_owned());
        }
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for hour in usual.iter().enumerate().filter(|(_, usual)| **usual).map(|(hour, _)| hour) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == hour => *last = hour,
                _ => runs.push((hour, hour)),
            }
        }
        let run = |(first, last): &(usize, usize)| {
            if first == last { format!("{first:02}") } else { format!("{first:02}-{last:02}") }
        };
        Some(format!("in the hours {} UTC", runs.iter().map(run).collect::<Vec<_>>().join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::when::HOUR;

    #[test]
    fn a_habit_needs_enough_accesses() {
        let mut hours = Hours::default();
        (0..19).for_each(|_| hours.add(6 * HOUR));
        assert_eq!((hours.words(), hours.is_odd(3 * HOUR)), (None, false));
        hours.add(7 * HOUR);
        assert_eq!(hours.words().as_deref(), Some("in the hours 06-07 UTC"));
        assert!(hours.is_odd(3 * HOUR) && !hours.is_odd(30 * HOUR));
        (0..500).for_each(|_| hours.add(14 * HOUR));
        assert_eq!(hours.words().as_deref(), Some("in the hours 06, 14 UTC"), "one in 520 is rare");
        assert_eq!(hours.odd(), 1);
        (0..24).for_each(|hour| (0..100).for_each(|_| hours.add(hour * HOUR)));
        assert_eq!(hours.words().as_deref(), Some("at all hours"));
    }
}
