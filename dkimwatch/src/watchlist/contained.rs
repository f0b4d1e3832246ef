//! Containers: keys that come with them, and signers in them, whose program is looked up in each container that is met.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dkimwatch_common::{deed::Deed, identity::FileId, record::Kind, watch::Tag};

use super::{WatchList, layers};
use crate::{
    attribute::AttributedAccess,
    containers::{Keyed, MOST_KEYS, Root},
    decode::Access,
    judge::{ExpectedImage, JudgedKey, Met, Provenance, Watched, is_called, is_unmet, within},
    kernel::{Handle, KernelError, Session},
    keys::{self, Key},
};

/// How long a look that found nothing counts.
const AGAIN: Duration = Duration::from_secs(1);
/// Programs in containers whose records go through the signers' ring: half of what the table holds.
const ROUTED: usize = 512;
/// Looks that are remembered, and containers of a signer's.
const KEPT: usize = 1_024;

/// Looks of late, by container: whoever executes something else at the signer's path does not have us look each time.
pub(super) type Looks = BTreeMap<String, Instant>;

/// Files and folders that are armed for one key of a container, one after the other: who puts a new one in its place without end
/// must not fill the tables either.
const ARMED: usize = 64;

/// The keys of containers. What lies at their paths, others than root say.
#[derive(Debug, Default)]
pub(super) struct ContainedKeys {
    /// By tag.
    keys: BTreeMap<Tag, ContainedKey>,
    /// By whose container it is, its image, and the path in it: what a container had is replaced by what the next one of the same image
    /// has.
    places: BTreeMap<(Option<u32>, String, PathBuf), Vec<Tag>>,
}

#[derive(Debug, Default)]
struct ContainedKey {
    /// The container's root, if it lies in that.
    root: Option<PathBuf>,
    /// What was armed for it.
    armed: BTreeSet<FileId>,
}

impl ContainedKeys {
    /// Those among the keys of the start.
    pub(super) fn of(keys: &[Key]) -> Self {
        let contained = (0..).zip(keys).filter(|(_, key)| key.contained);
        let entry = |(tag, key): (Tag, &Key)| (tag, ContainedKey { root: key.root.clone(), ..ContainedKey::default() });
        Self { keys: contained.map(entry).collect(), places: BTreeMap::new() }
    }

    /// One more, whose root is not known.
    pub(super) fn add(&mut self, tag: Tag) {
        self.keys.entry(tag).or_default();
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.keys.contains_key(&tag)
    }

    /// Opens a path for an entry: of a container's key by no link, which could lead to another file of the host.
    pub(super) fn open(&self, tag: Tag, path: &Path) -> std::io::Result<Handle> {
        if self.has(tag) { Handle::open_without_links(path) } else { Handle::open(path) }
    }

    /// Whether one more file or folder may be armed for an entry.
    pub(super) fn may_arm(&mut self, tag: Tag, file: FileId) -> bool {
        let Some(key) = self.keys.get_mut(&tag) else { return true };
        if key.armed.len() == ARMED && !key.armed.contains(&file) {
            tracing::error!(
                most = ARMED,
                "what lies at the path of a container's key changes without end: no longer watched"
            );
        }
        key.armed.contains(&file) || (key.armed.len() < ARMED && key.armed.insert(file))
    }
}

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
                let place = (container.owner, image.clone(), key.inner.clone());
                let root = found.root.clone();
                if self.place_for(place, root, JudgedKey::from(found)).is_none() {
                    tracing::error!(most = MOST_KEYS, "containers have more keys than are watched");
                    return is_changed;
                }
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
        let key = self.contained.keys.get(&access.file.tag);
        let Some(root) = key.and_then(|key| key.root.as_deref()).filter(|_| access.kind == Kind::Tamper && clears)
        else {
            return false;
        };
        // Within the engine's folder of such roots; a folder of the host's is told of.
        let folder = root.parent().unwrap_or(root);
        let path = access.file.path.known().filter(|path| !path.cut);
        path.is_some_and(|path| access.file.path_in_fs || Path::new(OsStr::from_bytes(&path.bytes)).starts_with(folder))
    }

    /// Puts a key into the list, in the place of one that is gone with its container, if there is one.
    fn place_for(
        &mut self,
        place: (Option<u32>, String, PathBuf),
        root: Option<PathBuf>,
        key: JudgedKey,
    ) -> Option<Tag> {
        let count = self.contained.keys.len();
        let keys = &self.contained.keys;
        let tags = self.contained.places.entry(place).or_default();
        let watched = &mut self.policy.watched;
        let at = |tag: &Tag| usize::try_from(*tag).ok();
        // With its root, and not only stopped.
        let is_gone = |tag: &Tag| {
            let root = keys.get(tag).and_then(|key| key.root.as_ref());
            root.and_then(|root| root.parent()).is_some_and(|folder| !folder.exists())
        };
        let tag = match tags.iter().copied().find(is_gone) {
            Some(tag) => {
                *watched.get_mut(at(&tag)?)? = Watched::Key(key);
                tag
            }
            None => {
                let tag = Tag::try_from(watched.len()).ok().filter(|_| count < MOST_KEYS)?;
                watched.push(Watched::Key(key));
                tags.push(tag);
                tag
            }
        };
        self.contained.keys.insert(tag, ContainedKey { root, ..ContainedKey::default() });
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
        let now = Instant::now();
        let of_late = self.looks.get(&container.id).is_some_and(|looked| now.duration_since(*looked) < AGAIN);
        if of_late || !is_unmet(attributed, &self.policy) {
            return Ok(());
        }
        if self.looks.len() >= KEPT {
            self.looks.clear();
        }
        self.looks.insert(container.id.clone(), now);
        let root = details.root.as_ref().and_then(|root| Root::at(&root.canonicalize().ok()?));
        let Some(root) = root else {
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
            // By whatever links: the file itself must bear the program's name, or any file of the image could be linked to it.
            if !program.path().is_some_and(|path| is_called(&path, &reader.executable)) {
                continue;
            }
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
            let program =
                ExpectedImage { id: found.file, uid: found.uid, ctime: found.ctime, mode: found.mode, provenance };
            contained.met.retain(|met| !(met.container == container.id && met.program.is_same_file(&program)));
            if contained.met.len() >= KEPT {
                contained.met.remove(0);
            }
            contained.met.push(Met { container: container.id.clone(), program });
            // A hint for the kernel side, of which there are not too many: without it the verdict is the same.
            if is_the_images && self.routed < ROUTED {
                self.routed += 1;
                if let Err(error) = session.watch_set.route_signer(found.file, None) {
                    tracing::debug!(%error, "a signer in a container has no ring of its own");
                }
            }
        }
        Ok(())
    }
}
