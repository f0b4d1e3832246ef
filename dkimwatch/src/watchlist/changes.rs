//! Something changed, so look again: inotify(7) on the folders that matter, and the table of mounts, which tells who polls
//! it (proc(5), `/proc/PID/mountinfo`).
//!
//! inotify decides nothing: what is born in a watched folder is seen by the hooks from its first open; it only teaches
//! userspace the names. A mount does: the folder at a watched path is another one from then on, and is watched once it
//! has been looked at.

use std::{
    collections::HashSet,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// What is in a folder of the watch list.
    Folder,
    /// What is mounted, somewhere.
    Mounts,
}

/// Tells when a folder of the watch list changed, or something was mounted.
pub struct Changes {
    inotify: AsyncFd<OwnedFd>,
    /// What of a folder is told.
    mask: WatchFlags,
    /// This process's table of mounts; `None` where it cannot be polled.
    mounts: Option<AsyncFd<File>>,
    watched: HashSet<PathBuf>,
    /// It was said.
    failed: bool,
}

impl Changes {
    /// Opens an inotify instance that tells of names and attributes.
    ///
    /// # Errors
    /// As inotify_init1(2).
    pub fn new() -> std::io::Result<Self> {
        Self::of(mask())
    }

    /// The same, and of files that were written: what is read there may have been read half-written.
    ///
    /// # Errors
    /// As inotify_init1(2).
    pub fn with_writes() -> std::io::Result<Self> {
        Self::of(mask() | WatchFlags::CLOSE_WRITE)
    }

    fn of(mask: WatchFlags) -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // SAFETY: the descriptor is owned and stays the same for as long as it is registered.
        let inotify = unsafe { AsyncFd::register(inotify) }.map_err(std::io::Error::from)?;
        let mounts = mounts().inspect_err(|error| {
            tracing::error!(%error, "cannot poll /proc/self/mountinfo: what is mounted over a watched path is noticed later");
        });
        Ok(Self { inotify, mask, mounts: mounts.ok(), watched: HashSet::new(), failed: false })
    }

    /// Watches these folders as well. One that cannot be watched is left to the slow clock.
    pub fn watch(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            if self.watched.contains(folder) {
                continue;
            }
            match inotify::add_watch(self.inotify.get_ref(), folder.as_path(), self.mask) {
                Ok(_) => {
                    self.watched.insert(folder.clone());
                }
                Err(error) => tracing::debug!(folder = %Path::new(folder).display(), %error, "no inotify watch"),
            }
        }
    }

    /// Waits for a change. Several at once are one. Where inotify fails it tells of mounts only, and says so once: the slow
    /// clock remains.
    pub async fn next(&mut self) -> Change {
        let Self { inotify, mounts, failed, .. } = self;
        let change = tokio::select! {
            () = folder_changed(inotify, failed) => Change::Folder,
            () = mounted(mounts.as_ref()) => Change::Mounts,
        };
        // A folder that was removed and made again, or mounted over, has another inode: watch all anew after the refresh.
        self.watched.clear();
        change
    }
}

async fn folder_changed(inotify: &mut AsyncFd<OwnedFd>, failed: &mut bool) {
    if *failed {
        std::future::pending::<()>().await;
    }
    if let Err(error) = read(inotify).await {
        *failed = true;
        tracing::error!(%error, "inotify failed: changes of watched folders are noticed later");
        std::future::pending::<()>().await;
    }
}

async fn read(inotify: &mut AsyncFd<OwnedFd>) -> std::io::Result<()> {
    loop {
        let mut guard = inotify.readable_mut().await?;
        let mut buffer = [0_u8; 16 * 1024];
        match rustix::io::read(guard.get_inner(), &mut buffer) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
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
