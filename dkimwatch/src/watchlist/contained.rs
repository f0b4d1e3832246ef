//! Containers: keys that come with them, and signers in them, whose program is looked up in each container that is met.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dkimwatch_common::{deed::Deed, identity::FileId, record::Kind, watch::Tag};

use super::{WatchList, layers};
use crate::{
    attribute::AttributedAccess,
    containers::{Keyed, Root},
    decode::Access,
    judge::{ExpectedImage, JudgedKey, Met, Provenance, Watched, is_unmet, within},
    kernel::{Handle, KernelError, Session},
    keys,
};

/// How long a look that found nothing counts.
const AGAIN: Duration = Duration::from_secs(1);
/// Looks that are remembered, and containers of a signer's.
const KEPT: usize = 1_024;

/// Looks of late, by what was executed: whoever executes something else at the signer's path does not have us look each time.
pub(super) type Looks = BTreeMap<FileId, Instant>;

/// Keys that may be added while the watch runs: containers that come and go without end must not fill the tables.
const MOST_ADDED: usize = 4_096;

/// Keys that were added, by their container's image and their path in it: what a container had is replaced by what the next one
/// of the same image has.
pub(super) type Added = BTreeMap<(String, PathBuf), Vec<Tag>>;

impl WatchList {
    /// Whether keys are looked for, beside those that are configured.
    #[must_use]
    pub const fn discovers(&self) -> bool {
        self.settings.keys.discover
    }

    /// Adds keys that were found in containers while the watch runs; nothing is armed until the next refresh. Whether there
    /// were any.
    pub fn add(&mut self, keyed: &[Keyed]) -> bool {
        let mut known: BTreeSet<PathBuf> = self.paths().map(Path::to_owned).collect();
        let mut is_changed = false;
        for container in keyed {
            let image = container.details.image.as_ref().and_then(|image| image.id.clone());
            let image = image.unwrap_or_else(|| container.id.clone());
            for (key, found) in container.keys.iter().zip(keys::of_container(container)) {
                if !known.insert(found.path.clone()) {
                    continue;
                }
                let root = found.root.clone();
                let Some(tag) = self.place_for(&image, &key.inner, JudgedKey::from(found)) else {
                    tracing::error!(most = MOST_ADDED, "containers have had more keys than are watched");
                    return is_changed;
                };
                match root {
                    Some(root) => self.roots.insert(tag, root),
                    None => self.roots.remove(&tag),
                };
                is_changed = true;
            }
        }
        is_changed
    }

    /// Whether it is the end of a container, and of a key in its root: engines clear roots away, and file systems give the
    /// numbers of folders again at once.
    #[must_use]
    pub fn ends_container(&self, access: &Access) -> bool {
        let clears = access.file.is_folder || access.deed == Deed::Unlink;
        access.kind == Kind::Tamper && clears && self.roots.contains_key(&access.file.tag)
    }

    /// Puts a key into the list, in the place of one that is gone with its container, if there is one.
    fn place_for(&mut self, image: &str, inner: &Path, key: JudgedKey) -> Option<Tag> {
        let count = self.added.values().map(Vec::len).sum::<usize>();
        let tags = self.added.entry((image.to_owned(), inner.to_owned())).or_default();
        let watched = &mut self.policy.watched;
        let at = |tag: &Tag| usize::try_from(*tag).ok();
        let gone = tags.iter().copied().find(|tag| {
            let entry = at(tag).and_then(|at| watched.get(at));
            matches!(entry, Some(Watched::Key(key)) if !key.path.exists())
        });
        if let Some(tag) = gone {
            *watched.get_mut(at(&tag)?)? = Watched::Key(key);
            return Some(tag);
        }
        let tag = Tag::try_from(watched.len()).ok().filter(|_| count < MOST_ADDED)?;
        watched.push(Watched::Key(key));
        tags.push(tag);
        Some(tag)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.policy.watched.iter().map(|entry| match entry {
            Watched::Key(key) => key.path.as_path(),
            Watched::Folder { path, .. } => path.as_path(),
        })
    }

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
