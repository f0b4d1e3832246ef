//! The hooks' counters, added up.

use aya::maps::{MapData, PerCpuArray};
use dkimwatch_common::{
    names::maps,
    tally::{EXITS, Exit, HOOKS, Hook},
};

use super::KernelError;

/// Reads the hooks' counters.
pub struct Tally(pub(super) PerCpuArray<MapData, u64>);

/// A hook's counters at one moment, over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records submitted.
    pub submitted: u64,
    /// Records lost because a ring was full, per CPU.
    pub lost: Vec<u64>,
    /// Enrolments, accesses or processes that found a table full.
    pub table_full: u64,
    /// Looked like ours and was not.
    pub filter_miss: u64,
    /// Data accesses after the first one.
    pub already_seen: u64,
    /// Files and folders enrolled by the hooks.
    pub enrolled: u64,
    /// Expected opens that were counted and not told one by one.
    pub summarised: u64,
}

impl Tally {
    /// Every hook's counters.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self) -> Result<Vec<(Hook, Counts)>, KernelError> {
        HOOKS.iter().map(|hook| Ok((*hook, self.hook(*hook)?))).collect()
    }

    fn hook(&self, hook: Hook) -> Result<Counts, KernelError> {
        let per_cpu = |exit: Exit| {
            self.0
                .get(&(hook as u32 * EXITS + exit as u32), 0)
                .map(|values| values.iter().copied().collect::<Vec<u64>>())
                .map_err(KernelError::map(maps::TALLY))
        };
        let sum = |exit| per_cpu(exit).map(|values| values.iter().sum());
        Ok(Counts {
            submitted: sum(Exit::Submitted)?,
            lost: per_cpu(Exit::RingFull)?,
            table_full: sum(Exit::TableFull)?,
            filter_miss: sum(Exit::FilterMiss)?,
            already_seen: sum(Exit::AlreadySeen)?,
            enrolled: sum(Exit::Enrolled)?,
            summarised: sum(Exit::Summarised)?,
        })
    }
}
