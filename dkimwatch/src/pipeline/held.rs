//! Accesses that wait: for what a signer's program is found to be, and a moment for what their container is.

use std::time::Duration;

use crate::{attribute::AttributedAccess, containers::Enrichment, judge::JudgedAccess};

/// How long an access waits for what its executable is found to be. The look has its own patience, below this.
const HOLD: Duration = Duration::from_secs(2);

/// How long an access waits for what its container is, where that is not known yet: a look at the disk takes less, and saves the
/// reader a second line.
const GRACE: Duration = Duration::from_millis(20);

/// An access whose executable or container is being looked at.
pub(super) struct Held {
    pub(super) attributed: AttributedAccess,
    /// From when on.
    pub(super) since: tokio::time::Instant,
    /// And until when, at the longest.
    pub(super) until: tokio::time::Instant,
}

impl Held {
    /// An access that waits from now on, if there is anything to wait for.
    pub(super) fn of(
        judged: &JudgedAccess,
        attributed: &AttributedAccess,
        since: tokio::time::Instant,
    ) -> Option<Self> {
        let patience = if judged.undecided {
            HOLD
        } else if attributed.enrichment == Enrichment::Pending {
            GRACE
        } else {
            return None;
        };
        Some(Self { attributed: attributed.clone(), since, until: since + patience })
    }
}
