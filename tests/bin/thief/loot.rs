//! What was stolen, and by whom.

use std::{fs::File, io::Read as _, os::fd::OwnedFd};

use anyhow::{Context as _, Result, ensure};

/// The reader, as the host numbers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// The process.
    pid: u32,
    /// The thread.
    tid: u32,
    /// Its parent.
    parent: u32,
}

impl Reader {
    /// The calling thread, by the `/proc` that is mounted here: inside a pid namespace of its own it still has the numbers
    /// of the namespace that `/proc` was mounted in, which is the host's.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(crate) fn this_thread() -> Result<Self> {
        let link = std::fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
        let link = link.to_str().context("/proc/thread-self")?.to_owned();
        let (pid, tid) = link.split_once("/task/").context("/proc/thread-self")?;
        let status = std::fs::read_to_string("/proc/thread-self/status").context("/proc/thread-self/status")?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("PPid")?;
        Ok(Self { pid: pid.parse()?, tid: tid.parse()?, parent: parent.trim().parse()? })
    }
}

/// Reads an open file from its start.
pub(crate) fn bytes(file: OwnedFd) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes).context("read")?;
    Ok(bytes)
}

/// Prints the reader and the bytes: `pid tid parent`, a newline, the bytes as they are; in one write, as several processes
/// may show something.
pub(crate) fn show(reader: Reader, bytes: &[u8]) -> Result<()> {
    let mut line = format!("{} {} {}\n", reader.pid, reader.tid, reader.parent).into_bytes();
    line.extend_from_slice(bytes);
    let written = rustix::io::write(rustix::stdio::stdout(), &line).context("standard output")?;
    ensure!(written == line.len(), "a short write");
    Ok(())
}

/// Reads the file and shows it.
pub(crate) fn take(file: OwnedFd) -> Result<()> {
    let reader = Reader::this_thread()?;
    show(reader, &bytes(file)?)
}
