//! What the kernel side could not hand over, by its counters: each loss is told once.

use dkimwatch_common::tally::Hook;

use crate::{
    away,
    kernel::{Backend, Counts, KernelError, Session},
    print::{EventsLost, Loss},
};

/// The counters as they were when they were last looked at.
#[derive(Debug)]
pub struct Losses {
    counts: Vec<(Hook, Counts)>,
    passed: Vec<(Hook, u64)>,
    /// When that was, nanoseconds since the Unix epoch.
    looked: i128,
}

impl Losses {
    /// From now on, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn since(now: i128) -> Self {
        Self { counts: Vec::new(), passed: Vec::new(), looked: now }
    }

    /// What was lost since the last look.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn look(&mut self, now: i128, session: &Session, backend: Backend) -> Result<Vec<EventsLost>, KernelError> {
        let counts = session.tally.read()?;
        let passed = session.passed_by(backend);
        let since = std::mem::replace(&mut self.looked, now);
        let event = |why, hook, cpu, count| EventsLost {
            unix_ns: now,
            why,
            hook: Some(hook),
            cpu,
            count,
            since_unix_ns: since,
            until_unix_ns: now,
        };
        let news = news(&self.counts, &counts);
        let mut events: Vec<EventsLost> =
            news.lost.iter().map(|(hook, cpu, count)| event(Loss::RingFull, *hook, Some(*cpu), *count)).collect();
        for (hook, count) in &passed {
            let before = self.passed.iter().find(|(known, _)| known == hook).map_or(0, |(_, count)| *count);
            if *count > before {
                events.push(event(Loss::PassedBy, *hook, None, *count - before));
            }
        }
        for hook in news.table_full {
            tracing::error!(
                hook = hook.name(),
                "a table in the kernel is full: accesses may go unseen or lack their executable"
            );
        }
        (self.counts, self.passed) = (counts, passed);
        Ok(events)
    }

    /// What was lost by each hook and CPU, as far as it was told.
    pub fn told(&self) -> impl Iterator<Item = (Hook, &[u64])> {
        let lost = |counts: &Counts| counts.lost.iter().any(|lost| *lost > 0);
        self.counts.iter().filter(move |(_, counts)| lost(counts)).map(|(hook, counts)| (*hook, counts.lost.as_slice()))
    }

    /// A record came that could not be decoded.
    #[must_use]
    pub const fn undecodable(&self, now: i128) -> EventsLost {
        EventsLost {
            unix_ns: now,
            why: Loss::Undecodable,
            hook: None,
            cpu: None,
            count: 1,
            since_unix_ns: self.looked,
            until_unix_ns: now,
        }
    }
}

/// What another watch lost and did not come to tell: by its counters, and by what it told.
#[must_use]
pub fn untold(told: &[away::Losses], counts: &[(Hook, Counts)], since: i128, now: i128) -> Vec<EventsLost> {
    let of_hook = |hook: Hook| told.iter().find(|told| told.hook == hook as u32).map(|told| told.lost.clone());
    let before: Vec<(Hook, Counts)> = counts
        .iter()
        .map(|(hook, _)| (*hook, Counts { lost: of_hook(*hook).unwrap_or_default(), ..Counts::default() }))
        .collect();
    let lost = news(&before, counts).lost.into_iter();
    lost.map(|(hook, cpu, count)| EventsLost {
        unix_ns: now,
        why: Loss::RingFull,
        hook: Some(hook),
        cpu: Some(cpu),
        count,
        since_unix_ns: since,
        until_unix_ns: now,
    })
    .collect()
}

/// What went wrong between two looks at the counters.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    /// Hook, CPU, accesses lost.
    lost: Vec<(Hook, u32, u64)>,
    /// Hooks that found a table full.
    table_full: Vec<Hook>,
}

fn news(before: &[(Hook, Counts)], now: &[(Hook, Counts)]) -> News {
    let mut news = News::default();
    for (hook, counts) in now {
        let told = before.iter().find(|(known, _)| known == hook).map(|(_, counts)| counts);
        let lost_before = told.into_iter().flat_map(|told| &told.lost).copied().chain(std::iter::repeat(0));
        for ((cpu, lost), told) in (0..).zip(&counts.lost).zip(lost_before) {
            let count = lost.saturating_sub(told);
            if count > 0 {
                news.lost.push((*hook, cpu, count));
            }
        }
        if counts.table_full > told.map_or(0, |told| told.table_full) {
            news.table_full.push(*hook);
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lost: &[u64], table_full: u64) -> Counts {
        Counts { lost: lost.to_vec(), table_full, ..Counts::default() }
    }

    #[test]
    fn a_loss_is_told_once_by_hook_and_cpu() {
        let (open, exec) = (Hook::SysExitOpen, Hook::Process);
        let first = [(open, counts(&[0, 3], 0)), (exec, counts(&[0, 0], 0))];
        assert_eq!(news(&[], &first), News { lost: vec![(open, 1, 3)], table_full: vec![] });
        assert_eq!(news(&first, &first), News::default());

        let then = [(open, counts(&[2, 4], 0)), (exec, counts(&[0, 0], 1))];
        let expected = News { lost: vec![(open, 0, 2), (open, 1, 1)], table_full: vec![exec] };
        assert_eq!(news(&first, &then), expected);
        assert_eq!(news(&then, &then), News::default());
    }

    #[test]
    fn a_cpu_that_came_later_starts_at_nothing() {
        let (before, now) = ([(Hook::SysExitOpen, counts(&[1], 0))], [(Hook::SysExitOpen, counts(&[1, 5], 0))]);
        assert_eq!(news(&before, &now).lost, [(Hook::SysExitOpen, 1, 5)]);
    }
}
