//! The mail host's `/dev/log`: daemons say here when they are ready, and why they refuse.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::root::MailRoot;

/// Collects what the daemons log (syslog(3)).
#[derive(Debug)]
pub(crate) struct Syslog {
    socket: Arc<UnixDatagram>,
    lines: Arc<Lines>,
    /// Ends when the socket is shut down.
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Lines {
    so_far: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Syslog {
    /// Binds the root's `/dev/log`.
    pub(crate) fn listen(root: &MailRoot) -> Result<Self> {
        let folder = root.at("/dev");
        let path = folder.join("log");
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        // A socket's address has 108 bytes (unix(7)) and a checkout may lie deep: name the folder by its descriptor.
        let open = File::open(&folder).with_context(|| format!("opening {}", folder.display()))?;
        let socket = UnixDatagram::bind(format!("/proc/self/fd/{}/log", open.as_raw_fd()))
            .with_context(|| format!("binding {}", path.display()))?;
        // Daemons connect to it after they have dropped their privileges.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        let socket = Arc::new(socket);
        let lines = Arc::new(Lines::default());
        let reader = std::thread::spawn({
            let (socket, lines) = (Arc::clone(&socket), Arc::clone(&lines));
            move || lines.collect(&socket)
        });
        Ok(Self { socket, lines, reader: Some(reader) })
    }

    /// How many lines there are: a place to look on from with [`Syslog::wait_for`].
    pub(crate) fn len(&self) -> usize {
        self.lines.so_far.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for a line, after the first `seen`, that contains the text.
    ///
    /// # Errors
    /// None came within `patience`; the message holds the last lines.
    pub(crate) fn wait_for(&self, text: &str, seen: usize, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().skip(seen).find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                bail!("no log line with {text:?} within {patience:?}\n{}", self.tail());
            }
            lines = self.lines.grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last lines, for a message.
    pub(crate) fn tail(&self) -> String {
        let lines = self.lines.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.iter().skip(lines.len().saturating_sub(30));
        last.fold(String::from("last log lines of the mail host:"), |text, line| text + "\n  " + line)
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        // Wakes the reader: recv returns 0.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Lines {
    fn collect(&self, socket: &UnixDatagram) {
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = socket.recv(&mut buffer) {
            let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            // `<PRI>Mmm dd hh:mm:ss ident[pid]: text` (RFC 3164, as libc writes it)
            let line = line.split_once('>').map_or(&*line, |(_, rest)| rest);
            let line = line.trim_end_matches(['\n', '\0']).to_owned();
            self.so_far.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            self.grown.notify_all();
        }
    }
}
