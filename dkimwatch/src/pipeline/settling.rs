//! When the kernel may have the room of a record back: once what it led to is where it outlives this process. Whoever kills the watch
//! takes nothing with it that way, as long as the rings do not end with it.

use std::collections::VecDeque;

use super::Pipeline;
use crate::{kernel::Mark, print::Progress};

/// Records that were read together.
#[derive(Debug)]
struct Read {
    /// Up to here.
    end: Mark,
    /// The youngest of them, nanoseconds since boot.
    youngest: u64,
    /// How many events the printer had been given when the last of them was told.
    given: Option<u64>,
}

/// What was read and not given back, in the order of reading.
#[derive(Debug, Default)]
pub(super) struct Settling(VecDeque<Read>);

impl Settling {
    /// Something was read.
    pub(super) fn read(&mut self, end: Mark, youngest: u64) {
        if self.0.back().is_none_or(|last| last.end != end) {
            self.0.push_back(Read { end, youngest, given: None });
        }
    }

    /// Up to where everything is settled: nothing that was read before is on its way any more (`oldest_on_its_way`, nanoseconds since
    /// boot), and all that was told of it is kept.
    fn settled(&mut self, oldest_on_its_way: Option<u64>, progress: Progress) -> Option<Mark> {
        let mut settled = None;
        while let Some(first) = self.0.front_mut() {
            if oldest_on_its_way.is_some_and(|oldest| oldest <= first.youngest) {
                break;
            }
            let given = *first.given.get_or_insert(progress.given);
            if progress.kept < given {
                break;
            }
            settled = Some(first.end);
            self.0.pop_front();
        }
        settled
    }

    /// Up to where anything was read, settled or not.
    fn all(&mut self) -> Option<Mark> {
        let last = self.0.back().map(|last| last.end);
        self.0.clear();
        last
    }

    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pipeline {
    /// Gives back what is settled. Where the rings would fill up, the rest as well: what the kernel cannot write down is lost for sure.
    pub(super) fn settle(&mut self) {
        let held = self.held.iter().map(|held| held.attributed.access.boot_ns).min();
        let oldest = held.into_iter().chain(self.refused.oldest()).chain(self.doubts.oldest()).min();
        let mut settled = self.settling.settled(oldest, self.printer.progress());
        if self.rings.are_filling() {
            settled = self.settling.all().or(settled);
        }
        if let Some(mark) = settled {
            self.rings.give_back(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn progress(given: u64, kept: u64) -> Progress {
        Progress { given, kept }
    }

    #[test]
    fn nothing_is_given_back_before_it_is_kept() {
        let mut settling = Settling::default();
        let (first, second) = (Mark::test([1, 0, 0]), Mark::test([2, 0, 0]));
        settling.read(first, 10);
        settling.read(second, 20);
        // Of the first, something waits for its container.
        assert_eq!(settling.settled(Some(9), progress(0, 0)), None);
        assert_eq!(settling.settled(Some(10), progress(0, 0)), None);
        // It was told, as the fifth event, and the journal has four.
        assert_eq!(settling.settled(Some(15), progress(5, 4)), None);
        assert_eq!(settling.settled(Some(15), progress(9, 5)), Some(first));
        // Of the second something is on its way still, whatever is kept.
        assert_eq!(settling.settled(Some(20), progress(9, 9)), None);
        assert_eq!(settling.settled(None, progress(9, 9)), Some(second));
        assert!(settling.is_empty());
    }

    #[test]
    fn reading_nothing_new_is_no_reading() {
        let mut settling = Settling::default();
        let end = Mark::test([1, 0, 0]);
        settling.read(end, 1);
        settling.read(end, 0);
        assert_eq!(settling.settled(None, progress(0, 0)), Some(end));
        assert!(settling.is_empty());
    }
}
