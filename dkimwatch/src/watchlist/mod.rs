//! The watch list: what the settings and the discovered keys mean to the kernel and to the judge.
//!
//! [`WatchList::refresh`] makes it true at the start, whenever a watched folder changes, and on a slow clock as a safety
//! net. It only ever adds: a key that was rotated away stays watched, because its bytes still sign until its record is
//! withdrawn. A watch ends when its inode number is found to belong to another file ([`WatchList::standing`]).

mod changes;
mod contained;
mod covered;
mod devices;
mod dpkg;
mod folders;
mod infs;
mod inherited;
mod layers;
mod links;
mod look;
mod mountinfo;
mod own;
mod pagecache;
mod places;
mod provenance;
mod readers;
mod realpaths;
mod refresh;
mod rpm;
mod standing;
mod systemd;
mod ways;
mod whereabouts;

pub use changes::{Change, Changes};
pub use provenance::Answer;
pub use standing::Standing;
pub use whereabouts::Moved;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use dkimwatch_common::{
    deed::Deed,
    identity::{FileId, Identified},
    record::Kind,
    watch::Tag,
};

use crate::{
    config::Settings,
    decode::Access,
    judge::{JudgedKey, Policy, PublicNames, Watched},
    kernel::{Handle, KernelError, Session, host_mount_namespace},
    keys::Inventory,
    refused::Places,
};

/// How long the look at the executables may take before the watch begins. Their packages' sums are read from a disk that a
/// booting host is busy with.
const AT_START: Duration = Duration::from_secs(30);

/// `st_mode`'s type bits.
const S_IFMT: u32 = 0o17_0000;
const S_IFREG: u32 = 0o10_0000;
const S_IFDIR: u32 = 0o04_0000;
const S_IFLNK: u32 = 0o12_0000;

/// What is watched, and the policy that judges it.
pub struct WatchList {
    settings: Settings,
    policy: Policy,
    /// What is known of the readers' executables.
    executables: readers::Executables,
    /// Folders whose changes call for a refresh.
    concerned: Vec<PathBuf>,
    /// The links that led to what is watched.
    links: links::Links,
    armed_links: links::Armed,
    /// The last look found the same links as the one before it.
    is_settled: bool,
    /// Where the keys and those folders were when they were last looked at.
    mounts: places::Places,
    /// What is there, as stat(2) names it.
    places: Places,
    whereabouts: whereabouts::Whereabouts,
    /// The folders that mounts on their ways lie on.
    covered: covered::Covered,
    /// Those that lie on an overlay.
    layered: BTreeSet<FileId>,
    /// The devices that all of it lies on.
    devices: devices::Devices,
    /// Where a signer's program was looked for in a container of late.
    looks: contained::Looks,
    /// Signers' programs in containers that the kernel side was told of.
    routed: usize,
    /// The keys of containers.
    contained: contained::ContainedKeys,
    /// Keys of another watch that nobody knows any more.
    retired: usize,
}

/// A path to arm, and what for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    path: PathBuf,
    purpose: Purpose,
}

#[derive(Debug, PartialEq, Eq)]
enum Purpose {
    /// The file at a key's path.
    Key(Tag),
    /// A file found in a watched folder.
    Member(Tag),
    /// A folder as a whole, or a folder in it.
    Folder(Tag),
    /// A key's parent, and the key's name in it.
    Nest(Tag, Vec<u8>),
    /// A folder that leads to one of the above.
    Way(Tag),
    /// A symbolic link by which a path leads there.
    Link(Tag),
}

impl Purpose {
    /// The entry that it serves.
    const fn tag(&self) -> Tag {
        match self {
            Self::Key(tag)
            | Self::Member(tag)
            | Self::Folder(tag)
            | Self::Nest(tag, _)
            | Self::Way(tag)
            | Self::Link(tag) => *tag,
        }
    }
}

impl Purpose {
    /// Whether something else may lie at its path below a mount. What is in a watched folder goes with that.
    const fn may_be_covered(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Nest(..) | Self::Way(_) | Self::Key(_))
    }
}

impl WatchList {
    /// The list for these keys; nothing is armed yet.
    #[must_use]
    pub fn new(settings: Settings, inventory: &Inventory) -> Self {
        let mut watched = Vec::new();
        // Keys before folders: where a file is both, the more telling entry has the smaller tag.
        let contained = contained::ContainedKeys::of(&inventory.keys);
        watched.extend(inventory.keys.iter().cloned().map(|key| Watched::Key(JudgedKey::from(key))));
        for folder in &inventory.folders {
            watched.push(Watched::Folder { path: folder.path.clone(), signer: folder.signer.clone() });
        }
        let policy = Policy {
            readers: Vec::new(),
            watched,
            public: PublicNames::new(&settings.keys.public),
            host_mnt_ns: host_mount_namespace(),
            systemd: systemd::names_cgroups(Path::new("/")),
            guarded: Vec::new(),
            own_session: own::session(),
        };
        let executables = readers::Executables::of_this_host();
        Self {
            settings,
            policy,
            executables,
            concerned: Vec::new(),
            links: links::Links::default(),
            armed_links: links::Armed::default(),
            is_settled: true,
            mounts: places::Places::default(),
            places: Places::default(),
            whereabouts: whereabouts::Whereabouts::default(),
            covered: covered::Covered::default(),
            layered: BTreeSet::new(),
            devices: devices::Devices::of(Path::new("/")),
            looks: contained::Looks::default(),
            routed: 0,
            contained,
            retired: 0,
        }
    }

    /// The policy, as of the last refresh.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Folders whose changes call for a refresh.
    #[must_use]
    pub fn concerned(&self) -> &[PathBuf] {
        &self.concerned
    }

    /// What was there at the last refresh, as stat(2) names it.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The keys, and the folders watched as a whole.
    #[must_use]
    pub fn keys_and_folders(&self) -> (Vec<JudgedKey>, Vec<PathBuf>) {
        let mut keys = Vec::new();
        let mut folders = Vec::new();
        for entry in &self.policy.watched {
            match entry {
                Watched::Key(key) => keys.push(key.clone()),
                Watched::Folder { path, .. } => folders.push(path.clone()),
            }
        }
        (keys, folders)
    }

    /// The entry of a key that can be read through a block device, by the kernel's number of it.
    pub fn on_device(&mut self, device: u32) -> Option<Tag> {
        self.devices.tag(device)
    }

    /// What was found out of a reader's executable; never, when nothing is asked. [`Self::learn`] wants to know.
    pub async fn answer(&mut self) -> Answer {
        self.executables.answer().await
    }

    /// Takes what was found out into the policy.
    pub fn learn(&mut self, answer: Answer) {
        self.executables.learn(answer, &mut self.policy);
    }

    /// Waits until every executable was looked at, for at most [`AT_START`]: what a signer reads in the watch's first
    /// moment is judged like anything later.
    pub async fn settle(&mut self) {
        let all = async {
            while self.executables.are_being_looked_at() {
                let answer = self.executables.answer().await;
                self.learn(answer);
            }
        };
        if tokio::time::timeout(AT_START, all).await.is_err() {
            tracing::warn!("the signers' programs are still being looked at; what they do meanwhile is judged late");
        }
    }

    /// Whether an access has the overlay that a key lies on copy it up, so that its data lies elsewhere from then on.
    #[must_use]
    pub fn is_copied_up(&self, access: &Access) -> bool {
        let writes = access.kind == Kind::Tamper
            || access.deed == Deed::Write
            || access.file.open.known().is_some_and(|open| open.writes());
        writes && self.layered.contains(&access.file.id)
    }

    /// Gives an access the paths that the host has, where the hook knew them in their file system only.
    pub fn resolve_paths(&self, access: &mut Access) {
        if access.file.path_in_fs {
            infs::resolve(access, &self.policy);
        }
    }

    /// What the host has at a path now, `None` where there is nothing.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn at(&self, path: &[u8], session: &mut Session) -> Result<Option<Identified>, KernelError> {
        let Ok(handle) = Handle::open(Path::new(OsStr::from_bytes(path))) else { return Ok(None) };
        Ok(session.identify(&[handle])?.into_iter().flatten().next())
    }
}

#[cfg(test)]
mod tests;
