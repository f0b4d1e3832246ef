//! Something changed, so look again: inotify(7) on the folders that matter, and the table of mounts, which tells who polls
//! it (proc(5), `/proc/PID/mountinfo`).
//!
//! inotify decides nothing: what is born in a watched folder is seen by the hooks from its first open; it only teaches
//! userspace the names. A mount does: the folder at a watched path is another one from then on, and is watched once it
//! has been looked at.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What is in folders of the watch list: these paths, as far as inotify tells them.
    Folder(Vec<PathBuf>),
    /// Of that so much at once that the kernel has kept no more of it.
    Anything,
    /// What is mounted, somewhere.
    Mounts,
}

/// Tells when a folder of the watch list changed, or something was mounted.
pub struct Changes {
    inotify: AsyncFd<OwnedFd>,
    /// This process's table of mounts; `None` where it cannot be polled.
    mounts: Option<AsyncFd<File>>,
    watched: HashSet<PathBuf>,
    /// The folders that a watch is for: there may be several paths to one.
    folders: HashMap<i32, Vec<PathBuf>>,
    /// It was said.
    failed: bool,
}

impl Changes {
    /// Opens an inotify instance.
    ///
    /// # Errors
    /// As inotify_init1(2).
    pub fn new() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // SAFETY: the descriptor is owned and stays the same for as long as it is registered.
        let inotify = unsafe { AsyncFd::register(inotify) }.map_err(std::io::Error::from)?;
        let mounts = mounts().inspect_err(|error| {
            tracing::error!(%error, "cannot poll /proc/self/mountinfo: what is mounted over a watched path is noticed later");
        });
        Ok(Self { inotify, mounts: mounts.ok(), watched: HashSet::new(), folders: HashMap::new(), failed: false })
    }

    /// Watches these folders as well: names in them, and attributes. One that cannot be watched is left to the slow clock.
    pub fn watch(&mut self, folders: &[PathBuf]) {
        self.watch_for(folders, mask());
    }

    /// The same, and files in them that were written: what was read there may have been read half-written.
    pub fn watch_writes(&mut self, folders: &[PathBuf]) {
        self.watch_for(folders, mask() | WatchFlags::CLOSE_WRITE);
    }

    fn watch_for(&mut self, folders: &[PathBuf], mask: WatchFlags) {
        // All are watched anew: a folder that was renamed keeps its number, and has another path.
        if self.watched.is_empty() {
            self.folders.clear();
        }
        for folder in folders {
            if self.watched.contains(folder) {
                continue;
            }
            match inotify::add_watch(self.inotify.get_ref(), folder.as_path(), mask) {
                Ok(watch) => {
                    self.watched.insert(folder.clone());
                    let folders = self.folders.entry(watch).or_default();
                    if !folders.contains(folder) {
                        folders.push(folder.clone());
                    }
                }
                Err(error) => tracing::debug!(folder = %Path::new(folder).display(), %error, "no inotify watch"),
            }
        }
    }

    /// Waits for a change. Several at once are one. Where inotify fails it tells of mounts only, and says so once: the slow
    /// clock remains.
    pub async fn next(&mut self) -> Change {
        let Self { inotify, mounts, folders, failed, .. } = self;
        let change = tokio::select! {
            change = changed(inotify, folders, failed) => change,
            () = mounted(mounts.as_ref()) => Change::Mounts,
        };
        // A folder that was removed and made again, or mounted over, has another inode: watch all anew after the refresh.
        self.watched.clear();
        change
    }
}

async fn changed(
    inotify: &mut AsyncFd<OwnedFd>,
    folders: &mut HashMap<i32, Vec<PathBuf>>,
    failed: &mut bool,
) -> Change {
    if !*failed {
        match read(inotify, folders).await {
            Ok(change) => return change,
            Err(error) => {
                *failed = true;
                tracing::error!(%error, "inotify failed: changes of watched folders are noticed later");
            }
        }
    }
    std::future::pending().await
}

async fn read(inotify: &mut AsyncFd<OwnedFd>, folders: &mut HashMap<i32, Vec<PathBuf>>) -> std::io::Result<Change> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    loop {
        let mut guard = inotify.readable_mut().await?;
        let (mut changed, mut overflowed) = (Vec::new(), false);
        let mut events = inotify::Reader::new(guard.get_inner(), &mut buffer);
        let outcome = loop {
            match events.next() {
                Ok(event) => {
                    let of = folders.get(&event.wd()).map(Vec::as_slice).unwrap_or_default();
                    match event.file_name() {
                        Some(name) => {
                            changed.extend(of.iter().map(|folder| folder.join(OsStr::from_bytes(name.to_bytes()))));
                        }
                        None => changed.extend(of.iter().cloned()),
                    }
                    overflowed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    // The kernel gives no number twice, so it would be kept for nothing.
                    if event.events().contains(ReadFlags::IGNORED) {
                        folders.remove(&event.wd());
                    }
                    if events.is_buffer_empty() {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        match outcome {
            Ok(()) if overflowed => return Ok(Change::Anything),
            Ok(()) => return Ok(Change::Folder(changed)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The table of mounts of this process's namespace: a change is an exceptional condition of it (`mounts_poll()`).
fn mounts() -> std::io::Result<AsyncFd<File>> {
    let table = File::open("/proc/self/mountinfo")?;
    // SAFETY: the file owns its descriptor, which stays the same for as long as it is registered.
    unsafe { AsyncFd::register_with_interest(table, Interest::PRIORITY) }.map_err(std::io::Error::from)
}

async fn mounted(mounts: Option<&AsyncFd<File>>) {
    let Some(mounts) = mounts else { return std::future::pending().await };
    match mounts.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        Err(error) => {
            tracing::error!(%error, "cannot poll /proc/self/mountinfo: what is mounted over a watched path is noticed later");
            std::future::pending().await
        }
    }
}

fn mask() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Everything that is told within a moment.
    async fn told(changes: &mut Changes) -> Vec<Change> {
        let mut told = Vec::new();
        while let Ok(change) = tokio::time::timeout(std::time::Duration::from_millis(300), changes.next()).await {
            // Other tests mount.
            told.extend((change != Change::Mounts).then_some(change));
        }
        told
    }

    #[tokio::test]
    async fn what_changed_is_named_by_every_path_that_its_folder_is_watched_by() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        fs::create_dir(at("real")).expect("a folder");
        symlink("real", at("named")).expect("a link");
        let mut changes = Changes::new().expect("inotify");
        changes.watch(&[at("real"), at("named"), at("absent")]);
        fs::write(at("real/key"), "").expect("written");
        let named = told(&mut changes).await;
        assert_eq!(named, [Change::Folder(vec![at("real/key"), at("named/key")])]);
        // What goes with its folder is told once more, and then no longer.
        fs::remove_dir_all(at("real")).expect("removed");
        assert!(!told(&mut changes).await.is_empty());
        assert!(changes.folders.is_empty(), "{:?}", changes.folders);
    }

    #[tokio::test]
    async fn more_than_the_kernel_keeps_is_anything() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a limit");
        let most: usize = most.trim().parse().expect("a number");
        let root = tempfile::tempdir().expect("a folder");
        let mut changes = Changes::new().expect("inotify");
        changes.watch(&[root.path().to_owned()]);
        for number in 0..=most / 2 {
            let name = root.path().join(number.to_string());
            fs::write(&name, "").expect("written");
            fs::remove_file(&name).expect("removed");
        }
        assert!(told(&mut changes).await.contains(&Change::Anything));
    }
}
