//! Signers in containers: their program is looked up in each container that is met.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dkimwatch_common::identity::FileId;

use super::{WatchList, layers};
use crate::{
    attribute::AttributedAccess,
    containers::Root,
    judge::{ExpectedImage, Met, Provenance, is_unmet, within},
    kernel::{Handle, KernelError, Session},
};

/// How long a look that found nothing counts.
const AGAIN: Duration = Duration::from_secs(1);
/// Looks that are remembered, and containers of a signer's.
const KEPT: usize = 1_024;

/// Looks of late, by what was executed: whoever executes something else at the signer's path does not have us look each time.
pub(super) type Looks = BTreeMap<FileId, Instant>;

impl WatchList {
    /// Looks for the program of a signer in a container that was not met yet, or whose program is another one now.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn meet(&mut self, attributed: &AttributedAccess, session: &mut Session) -> Result<(), KernelError> {
        let (Some(container), Some(details)) = (&attributed.container, attributed.enrichment.details()) else {
            return Ok(());
        };
        let Some(executed) = attributed.access.process.image.known().map(|image| image.id) else { return Ok(()) };
        let now = Instant::now();
        let of_late = self.looks.get(&executed).is_some_and(|looked| now.duration_since(*looked) < AGAIN);
        if of_late || !is_unmet(attributed, &self.policy) {
            return Ok(());
        }
        if self.looks.len() >= KEPT {
            self.looks.clear();
        }
        self.looks.insert(executed, now);
        let Some(root) = details.root.as_ref().and_then(|root| Root::at(root)) else {
            tracing::debug!(
                container = container.id,
                "its root is not mounted on the host: no signer is expected in it"
            );
            return Ok(());
        };
        let mut overlays = layers::Overlays::default();
        for reader in &mut self.policy.readers {
            let Some(contained) = reader.contained.as_mut() else { continue };
            if !details.image.as_ref().is_some_and(|image| contained.is_of(image)) {
                continue;
            }
            let Some(program) = root.open(within(&reader.executable)).map(Handle::from_fd) else { continue };
            let is_the_images = overlays.shows_lower(&program);
            let Some(found) = session.identify(&[program])?.into_iter().flatten().next() else { continue };
            let provenance = if is_the_images { Provenance::Accepted } else { Provenance::Changed };
            tracing::debug!(
                container = container.id,
                reader = reader.name,
                ?found,
                ?provenance,
                "a signer's container"
            );
            session.watch_set.route_signer(found.file, None)?;
            let program =
                ExpectedImage { id: found.file, uid: found.uid, ctime: found.ctime, mode: found.mode, provenance };
            contained.met.retain(|met| !(met.container == container.id && met.program.is_same_file(&program)));
            if contained.met.len() >= KEPT {
                contained.met.remove(0);
            }
            contained.met.push(Met { container: container.id.clone(), program });
        }
        Ok(())
    }
}
