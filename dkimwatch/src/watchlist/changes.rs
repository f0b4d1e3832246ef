//! inotify(7) on the folders that matter: something changed, so look again. It decides nothing: what is born in a watched
//! folder is seen by the hooks from its first open; this only teaches userspace the names.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

/// Tells when a folder of the watch list changed.
pub struct Changes {
    inotify: AsyncFd<OwnedFd>,
    watched: HashSet<PathBuf>,
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
        Ok(Self { inotify, watched: HashSet::new(), failed: false })
    }

    /// Watches these folders as well. One that cannot be watched is left to the slow clock.
    pub fn watch(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            if self.watched.contains(folder) {
                continue;
            }
            match inotify::add_watch(self.inotify.get_ref(), folder.as_path(), mask()) {
                Ok(_) => {
                    self.watched.insert(folder.clone());
                }
                Err(error) => tracing::debug!(folder = %Path::new(folder).display(), %error, "no inotify watch"),
            }
        }
    }

    /// Waits for a change. Several at once are one. Where inotify fails it never returns, and says so once: the slow clock
    /// remains.
    pub async fn next(&mut self) {
        if let Err(error) = self.read().await {
            tracing::error!(%error, "inotify failed: changes of watched folders are noticed later");
            std::future::pending::<()>().await;
        }
    }

    async fn read(&mut self) -> std::io::Result<()> {
        if self.failed {
            std::future::pending::<()>().await;
        }
        loop {
            let mut guard = self.inotify.readable_mut().await?;
            let mut buffer = [0_u8; 16 * 1024];
            match rustix::io::read(guard.get_inner(), &mut buffer) {
                Ok(0) | Err(Errno::INTR) => {}
                // A folder that was removed and made again has another inode: watch all anew after the refresh.
                Ok(_) => {
                    self.watched.clear();
                    return Ok(());
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => {
                    self.failed = true;
                    return Err(error.into());
                }
            }
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
