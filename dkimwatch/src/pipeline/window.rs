//! When one pipeline ends and the next one begins, so that nothing is told twice, and nothing not at all.
//!
//! Both see what happens meanwhile, each by programs of its own, which read the clock one after the other: an access has two times that
//! are not quite the same. So the border is drawn by the old one's clock, the next one begins a moment before it, and leaves out what the
//! old one has told.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use crate::decode::Access;
use dkimwatch_common::{deed::Deed, identity::FileId, record::Kind};

/// How far the two times of an access can lie apart, nanoseconds: another task may run between the two programs.
const APART: u64 = 100_000_000;

/// Accesses of late that are remembered: those of a flood of its time.
const MOST: usize = 65_536;

/// A border between two pipelines.
#[derive(Clone, Debug, Default)]
pub struct Border(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Nanoseconds since boot; `None`: there is none yet.
    at: Option<u64>,
    /// What the old one took of late, oldest first.
    taken: VecDeque<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    boot_ns: u64,
    pid: u32,
    start_ns: u64,
    file: FileId,
    kind: Kind,
    deed: Deed,
}

impl Seen {
    fn of(access: &Access) -> Self {
        let process = &access.process;
        let (pid, start_ns) = (process.pid, process.start_ns);
        let (file, kind, deed) = (access.file.id, access.kind, access.deed);
        Self { boot_ns: access.boot_ns, pid, start_ns, file, kind, deed }
    }

    fn is_same(&self, other: &Self) -> bool {
        let same = Self { boot_ns: other.boot_ns, ..self.clone() };
        same == *other && self.boot_ns.abs_diff(other.boot_ns) <= APART
    }
}

impl Border {
    /// Draws it.
    pub fn draw(&self, boot_ns: u64) {
        self.0.borrow_mut().at = Some(boot_ns);
    }

    /// Whether another pipeline goes on behind it.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.0.borrow().at.is_some()
    }

    /// Whether an access is the old one's, which then tells of it.
    pub(super) fn is_before(&self, access: &Access) -> bool {
        let mut inner = self.0.borrow_mut();
        if inner.at.is_some_and(|at| access.boot_ns >= at) {
            return false;
        }
        // What is long past is nobody's question; without a border, the newest may be before it.
        let newest = inner.at.unwrap_or(access.boot_ns);
        while inner.taken.len() >= MOST
            || inner.taken.front().is_some_and(|seen| seen.boot_ns.saturating_add(2 * APART) < newest)
        {
            inner.taken.pop_front();
        }
        inner.taken.push_back(Seen::of(access));
        true
    }

    /// Whether an access is the next one's. What the code of signers is, both must know.
    pub(super) fn is_behind(&self, access: &Access) -> bool {
        let mut inner = self.0.borrow_mut();
        let Some(at) = inner.at else { return true };
        if access.boot_ns.saturating_add(APART) < at {
            return false;
        }
        if access.boot_ns > at.saturating_add(2 * APART) {
            // Nothing that comes can be one of them.
            inner.taken.clear();
            return true;
        }
        let seen = Seen::of(access);
        match inner.taken.iter().position(|taken| taken.is_same(&seen)) {
            Some(place) => inner.taken.remove(place).is_none(),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::Random;

    fn access(boot_ns: u64) -> Access {
        let mut access = Random(1).access();
        access.boot_ns = boot_ns;
        access
    }

    /// Each access has a time by the old programs and one by the new ones; it is told by one of the two.
    #[test]
    fn whichever_clock_was_read_first_an_access_is_told_once() {
        const AT: u64 = 10 * APART;
        for late in [0, 1, APART / 2, APART] {
            for (old, new) in
                [(AT - 1, AT - 1 + late), (AT + late - 1, AT - 1), (AT, AT + late), (AT + late, AT), (1, 1 + late)]
            {
                let border = Border::default();
                border.draw(AT);
                let told = [border.is_before(&access(old)), border.is_behind(&access(new))];
                assert_eq!(told.iter().filter(|told| **told).count(), 1, "old {old}, new {new}: {told:?}");
            }
        }
    }

    #[test]
    fn somebody_who_does_it_again_and_again_is_told_as_often() {
        const AT: u64 = 10 * APART;
        let border = Border::default();
        let times = || (0..40).map(|number| AT - APART / 2 + number * (APART / 40));
        // The old one reads its ring before the border is drawn, and behind it.
        let (first, rest): (Vec<u64>, Vec<u64>) = times().partition(|time| *time < AT - APART / 4);
        let mut told = first.into_iter().filter(|time| border.is_before(&access(*time))).count();
        border.draw(AT);
        told += rest.into_iter().filter(|time| border.is_before(&access(*time))).count();
        told += times().filter(|time| border.is_behind(&access(*time + 3))).count();
        assert_eq!(told, 40);
    }
}
