//! What a pipeline can be told to do besides.

use std::time::Duration;

use super::{Border, Pipeline};
use crate::print::Counts;

impl Pipeline {
    /// Says now and then that it goes on.
    #[must_use]
    pub fn with_heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = Some(every);
        self
    }

    /// Has somebody called each second, as long as the loop goes round.
    #[must_use]
    pub fn with_pulse(mut self, pulse: fn()) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// Ends where another one takes over.
    #[must_use]
    pub fn before(mut self, border: Border) -> Self {
        self.before = border;
        self
    }

    /// Goes on from another one: with what that told, from where it ended.
    #[must_use]
    pub fn after(mut self, told: Counts, border: Border) -> Self {
        (self.told, self.behind) = (told, Some(border));
        self
    }
}
