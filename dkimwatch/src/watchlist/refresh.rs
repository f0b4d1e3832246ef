//! Making the watch list true: every path is resolved anew, and what is there is armed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use dkimwatch_common::{
    identity::{FileId, Identified},
    watch::{DirWatch, FileWatch, Tag, dir_watch, file_watch, is_own},
};

use super::{
    Purpose, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Target, WatchList, folders, layers,
    look::{Look, file_system},
    own, pagecache, readers,
    realpaths::RealPaths,
    ways,
};
use crate::{
    clock::boot_ns,
    judge::Watched,
    kernel::{Handle, KernelError, Session},
    refused::Places,
};

/// Descriptors asked about in one go: below the usual limit of 1,024 with room for the rest of the program.
pub(super) const BATCH: usize = 512;

impl WatchList {
    /// Resolves every path anew and arms what is there.
    ///
    /// # Errors
    /// When the kernel cannot be asked or a map is full: something would stay unwatched.
    pub fn refresh(&mut self, session: &mut Session) -> Result<(), KernelError> {
        // Before anything is resolved: what is mounted meanwhile is then found to be elsewhere.
        self.mounts = self.places_now();
        self.forget_turned(session);
        let mut real = RealPaths::default();
        let mut targets = self.targets(&mut real);
        // What leads to a container's key comes and goes with the container, and so do the mounts there.
        let of_host = targets.iter().filter(|target| !self.contained.has(target.purpose.tag()));
        let mut ways: Vec<_> = ways::to(of_host.map(|target| (target.path.as_path(), target.purpose.tag())), &mut real)
            .into_iter()
            .collect();
        // Two ways can be one folder: what is written last stays, the smallest.
        ways.sort_by_key(|(_, tag)| std::cmp::Reverse(*tag));
        targets.extend(ways.into_iter().map(|(path, tag)| Target { path, purpose: Purpose::Way(tag) }));
        let links = self.links_now(&mut real);
        targets.extend(links.iter().map(|(path, tag)| Target { path: path.to_owned(), purpose: Purpose::Link(tag) }));
        let mut places = Places::default();
        let mut systems: BTreeMap<u32, Tag> = BTreeMap::new();
        let mut is_around_page_cache = false;
        let mut armed = BTreeSet::new();
        let mut below = Vec::new();
        let mut overlays = layers::Overlays::default();
        let mut failed = None;
        let mut covered = Vec::new();
        self.whereabouts.begin(boot_ns());
        self.covered.begin();
        for batch in targets.chunks(BATCH) {
            let mut handles = Vec::new();
            let mut opened = Vec::new();
            for target in batch {
                // What is not there (yet) is awaited by name in its parent.
                let handle = match target.purpose {
                    // What is in a watched folder, and not what that leads to.
                    Purpose::Link(_) | Purpose::Member(_) if !self.contained.has(target.purpose.tag()) => {
                        Handle::open_itself(&target.path)
                    }
                    _ => self.contained.open(target.purpose.tag(), &target.path),
                };
                if let Ok(handle) = handle {
                    let found = Look::at(&handle).ok();
                    if let Some(found) = &found {
                        place(&mut places, target, found);
                    }
                    let tag = target.purpose.tag();
                    let is_way = matches!(target.purpose, Purpose::Way(_));
                    let system = if is_way || is_own(tag) { None } else { file_system(&handle) };
                    // What is the watcher's own may be read by whoever can.
                    is_around_page_cache |= !is_way
                        && found.is_some_and(|found| !found.is(S_IFLNK))
                        && !is_own(tag)
                        && !pagecache::is_read_through(found.as_ref(), system);
                    let layers = match target.purpose {
                        Purpose::Key(_) | Purpose::Member(_) => overlays.below(&handle, found.as_ref(), system),
                        _ => Vec::new(),
                    };
                    if let Some(found) = found.filter(|_| target.purpose.may_be_covered() && !self.contained.has(tag)) {
                        let below = self.covered.below(&found, || real.of(&target.path), session)?;
                        covered.extend(below.map(|below| (below, tag)));
                    }
                    handles.push(handle);
                    opened.push((target, layers, found));
                }
            }
            let identified = session.identify(&handles)?;
            for ((target, layers, found), identified) in opened.into_iter().zip(identified) {
                if let Some(identified) = identified {
                    if !self.contained.may_arm(target.purpose.tag(), identified.file) {
                        continue;
                    }
                    if let Err(error) = arm(session, target, &identified) {
                        // The rest of the list is none the worse for it.
                        failed.get_or_insert(error);
                        continue;
                    }
                    if let Some(found) = found.filter(|_| !matches!(target.purpose, Purpose::Member(_))) {
                        let is_itself =
                            self.contained.has(target.purpose.tag()) || matches!(target.purpose, Purpose::Link(_));
                        let path = if is_itself { Some(target.path.clone()) } else { real.of(&target.path) };
                        self.whereabouts.add((target, path), (&identified, found.place), boot_ns());
                    }
                    if let Purpose::Link(_) = target.purpose {
                        self.armed_links.add(&target.path, identified.file);
                    }
                    if let Purpose::Key(tag) | Purpose::Member(tag) = target.purpose
                        && !is_own(tag)
                        && identified.mode & S_IFMT != S_IFLNK
                    {
                        let first = systems.entry(identified.file.dev).or_insert(tag);
                        *first = tag.min(*first);
                        armed.insert(identified.file);
                        below.extend(layers.into_iter().map(|layer| (layer, identified.file, tag)));
                    }
                }
            }
        }
        self.layered = below.iter().map(|(_, user, _)| *user).collect();
        layers::arm(session, &mut places, &armed, &below)?;
        self.whereabouts.end(boot_ns());
        for (below, tag) in covered {
            if let Err(error) = arm_below(session, &below, tag, &armed) {
                failed.get_or_insert(error);
            }
        }
        if is_around_page_cache {
            // The rest of the list is none the worse for it.
            if let Err(error) = session.see_around_page_cache() {
                tracing::error!(%error, "reads of a key that is not read through the page cache are not seen");
            }
        }
        self.add_paths(&mut places, &mut real);
        self.places = places;
        readers::resolve(&self.settings, &mut self.policy, &mut self.executables, session)?;
        session.recall_signers()?;
        self.devices.look_again(systems);
        self.arm_backing(session)?;
        self.concerned = targets
            .into_iter()
            .filter(|target| matches!(target.purpose, Purpose::Folder(_) | Purpose::Nest(..)))
            // The journal's changes all the time, and the hooks know what is born in it.
            .filter(|target| !is_own(target.purpose.tag()))
            .map(|target| target.path)
            .chain(links.folders())
            .chain(self.policy.readers.iter().filter_map(|reader| reader.executable.parent().map(Path::to_owned)))
            .collect();
        // As bytes: what is a component of a path does not matter here, and takes its time.
        self.concerned.sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
        self.concerned.dedup();
        self.mounts.also(&self.concerned);
        self.is_settled = self.links.are(&links);
        self.links = links;
        failed.map_or(Ok(()), Err)
    }

    /// Where the keys and the watched folders are, without links: what is mounted there, or above, lies over them.
    fn add_paths(&self, places: &mut Places, real: &mut RealPaths) {
        own::add_paths(&self.policy, places, real);
        let watched = (0..).zip(&self.policy.watched).filter(|(tag, _)| !self.contained.has(*tag));
        for (tag, entry) in watched {
            let (path, is_folder) = match entry {
                Watched::Key(key) => (&key.path, false),
                Watched::Folder { path, .. } => (path, true),
            };
            let resolved = real.of(path);
            for path in std::iter::once(path).chain(resolved.as_ref()) {
                places.add_path(path.as_os_str().as_bytes().to_vec(), tag, is_folder);
            }
        }
    }

    /// Has the files behind loop devices watched.
    fn arm_backing(&self, session: &mut Session) -> Result<(), KernelError> {
        let files = self.devices.files().filter_map(|(path, tag)| Some((Handle::open(path).ok()?, tag)));
        let (handles, tags): (Vec<Handle>, Vec<Tag>) = files.take(BATCH).unzip();
        for (identified, tag) in session.identify(&handles)?.into_iter().zip(tags) {
            if let Some(identified) = identified {
                session.watch_set.arm_backing(identified.file, tag)?;
            }
        }
        Ok(())
    }

    /// Every path to arm. Folders first: once they are marked, whatever is born in them is seen.
    pub(super) fn targets(&self, real: &mut RealPaths) -> Vec<Target> {
        let mut folders = Vec::new();
        let mut nests = Vec::new();
        let mut files = Vec::new();
        for (tag, entry) in (0..).zip(&self.policy.watched) {
            match entry {
                Watched::Folder { path, .. } => folders::members(path, tag, &mut folders, &mut files),
                Watched::Key(key) => {
                    // A key behind a symbolic link can be replaced at either end.
                    let of_host = !self.contained.has(tag);
                    let resolved = of_host.then(|| real.of(&key.path)).flatten();
                    for path in std::iter::once(key.path.clone()).chain(resolved.filter(|path| *path != key.path)) {
                        if let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(OsStr::as_bytes)) {
                            nests.push(Target { path: parent.to_owned(), purpose: Purpose::Nest(tag, name.to_vec()) });
                        }
                    }
                    files.push(Target { path: key.path.clone(), purpose: Purpose::Key(tag) });
                }
            }
        }
        // Members before keys: where a file is both, the key's entry is written last and stays.
        // And containers' before the host's, of files and of folders: what is written last stays.
        files.sort_by_key(|target| {
            (matches!(target.purpose, Purpose::Key(_)), !self.contained.has(target.purpose.tag()))
        });
        nests.sort_by_key(|target| !self.contained.has(target.purpose.tag()));
        // The watcher's own folders before those of keys, which matter more; its own files last, as they are no keys.
        let own = own::targets(&self.policy, real);
        own.folders.into_iter().chain(nests).chain(folders).chain(files).chain(own.files).collect()
    }
}

fn arm(session: &mut Session, target: &Target, identified: &Identified) -> Result<(), KernelError> {
    let set = &mut session.watch_set;
    let file = |tag, kind| FileWatch { tag, kind, generation: identified.generation, pad: 0 };
    let is = |kind| identified.mode & S_IFMT == kind;
    match &target.purpose {
        Purpose::Key(tag) if is(S_IFREG) => set.arm_file(identified.file, file(*tag, file_watch::ARMED)),
        Purpose::Member(tag) if is(S_IFREG) || is(S_IFLNK) => {
            set.arm_file(identified.file, file(*tag, file_watch::BORN))
        }
        Purpose::Folder(tag) if is(S_IFDIR) => {
            set.arm_dir(identified.file, DirWatch { tag: *tag, kind: dir_watch::FOLDER })
        }
        Purpose::Nest(tag, name) if is(S_IFDIR) => {
            set.arm_dir(identified.file, DirWatch { tag: *tag, kind: dir_watch::NEST })?;
            set.await_name(identified.file, name, *tag)
        }
        Purpose::Way(tag) if is(S_IFDIR) => set.leads(identified.file, *tag),
        Purpose::Link(tag) if is(S_IFLNK) => set.arm_file(identified.file, file(*tag, file_watch::ARMED)),
        Purpose::Key(_)
        | Purpose::Member(_)
        | Purpose::Folder(_)
        | Purpose::Nest(..)
        | Purpose::Way(_)
        | Purpose::Link(_) => Ok(()),
    }
}

/// Arms what lies below a mount: a folder as one that leads to a key, and a file as the key that it would be.
fn arm_below(session: &mut Session, below: &Identified, tag: Tag, armed: &BTreeSet<FileId>) -> Result<(), KernelError> {
    match below.mode & S_IFMT {
        S_IFDIR => session.watch_set.leads(below.file, tag),
        S_IFREG if !armed.contains(&below.file) => {
            let watch = FileWatch { tag, kind: file_watch::ARMED, generation: below.generation, pad: 0 };
            session.watch_set.arm_file(below.file, watch)
        }
        _ => Ok(()),
    }
}

/// Keeps what stat(2) says of a target.
fn place(places: &mut Places, target: &Target, found: &Look) {
    let (place, is) = (found.place, |kind| found.is(kind));
    match &target.purpose {
        Purpose::Key(tag) if is(S_IFREG) => places.add_key(place, *tag),
        Purpose::Member(tag) if is(S_IFREG) => places.add_member(place, *tag),
        Purpose::Folder(tag) if is(S_IFDIR) => places.add_folder(place, *tag),
        Purpose::Nest(tag, name) if is(S_IFDIR) => places.add_name(place, name.clone(), *tag),
        Purpose::Key(_)
        | Purpose::Member(_)
        | Purpose::Folder(_)
        | Purpose::Nest(..)
        | Purpose::Way(_)
        | Purpose::Link(_) => {}
    }
}
