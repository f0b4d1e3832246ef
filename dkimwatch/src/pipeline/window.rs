//! When one pipeline ends and the next one begins: to the nanosecond, so that nothing is told twice, and nothing not at all.

use std::{cell::Cell, rc::Rc};

/// Where a pipeline's time ends, as another one has taken over: nanoseconds since boot. What happens from then on is the other one's.
#[derive(Clone, Debug)]
pub struct Window {
    /// Set before the pipeline is told to end.
    pub until: Rc<Cell<u64>>,
}

impl Default for Window {
    fn default() -> Self {
        Self { until: Rc::new(Cell::new(u64::MAX)) }
    }
}
