//! When one pipeline ends and the next one begins, so that nothing is told not at all, and hardly anything twice.
//!
//! Both see what happens meanwhile, each by programs of its own, which read the clock one after the other: an access has two times that
//! are not quite the same. So the next one begins a moment before the border. What lies in that moment may be told by both: better twice
//! than by nobody.

use std::{cell::Cell, rc::Rc};

/// How far the two times of an access are thought to lie apart, nanoseconds.
const APART: u64 = 1_000_000;

/// A border between two pipelines.
#[derive(Clone, Debug)]
pub struct Border(
    /// Nanoseconds since boot.
    Rc<Cell<u64>>,
);

impl Default for Border {
    fn default() -> Self {
        Self(Rc::new(Cell::new(u64::MAX)))
    }
}

impl Border {
    /// Draws it.
    pub fn draw(&self, boot_ns: u64) {
        self.0.set(boot_ns);
    }

    /// Whether another pipeline goes on behind it.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.0.get() != u64::MAX
    }

    /// Whether what happened then is the old one's to tell.
    pub(super) fn is_before(&self, boot_ns: u64) -> bool {
        boot_ns < self.0.get()
    }

    /// Whether it is the next one's.
    pub(super) fn is_behind(&self, boot_ns: u64) -> bool {
        boot_ns.saturating_add(APART) >= self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_clock_was_read_first_an_access_is_told() {
        const AT: u64 = 1_000 * APART;
        let border = Border::default();
        assert!(border.is_before(AT) && !border.is_drawn());
        border.draw(AT);
        for late in [0, 1, APART / 2, APART] {
            for (old, new) in
                [(AT - 1, AT - 1 + late), (AT + late, AT), (AT, AT + late), (AT + late, AT.saturating_sub(1))]
            {
                assert!(border.is_before(old) || border.is_behind(new), "old {old}, new {new}");
            }
        }
        assert!(!border.is_before(AT) && !border.is_behind(AT - 2 * APART), "nearly all is told once");
    }
}
