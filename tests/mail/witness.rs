//! Somebody else who counts the opens of keys: the kernel's own fanotify(7), which has nothing to do with any hook of ours.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{ErrorKind, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use dkimwatch_tests::support::Events;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often each process opened each file.
pub(crate) type Opens = BTreeMap<(u32, String), usize>;

/// Counts the opens of files in a folder.
#[derive(Debug)]
pub(crate) struct Witness {
    over: Arc<AtomicBool>,
    counting: JoinHandle<Result<Opens>>,
}

impl Witness {
    /// Begins to count.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        // By file handles: with descriptors it would open what it tells of.
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_DFID_NAME | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: a call without pointers.
        let group = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) };
        ensure!(group >= 0, "fanotify_init: {}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor, which nobody else has.
        let group = unsafe { File::from_raw_fd(group) };
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let events = libc::FAN_OPEN | libc::FAN_EVENT_ON_CHILD;
        // SAFETY: a string with its NUL.
        let marked = unsafe {
            libc::fanotify_mark(group.as_raw_fd(), libc::FAN_MARK_ADD, events, libc::AT_FDCWD, path.as_ptr())
        };
        ensure!(marked == 0, "fanotify_mark of {}: {}", folder.display(), std::io::Error::last_os_error());
        let over = Arc::new(AtomicBool::new(false));
        let counting = thread::spawn({
            let over = Arc::clone(&over);
            move || count(group, &over)
        });
        Ok(Self { over, counting })
    }

    /// Fails unless each open of this file that was counted was told. (Two of one process that came at once are counted as
    /// one: what is told can be more.)
    pub(crate) fn ensure_told(opens: &Opens, name: &str, told: &Events) -> Result<()> {
        for ((pid, _), count) in opens.iter().filter(|((_, file), _)| file == name) {
            let accesses = told.by(*pid);
            ensure!(
                accesses.len() >= *count,
                "process {pid} opened {name} {count} times, and was told so:\n{accesses}of {opens:?}"
            );
        }
        Ok(())
    }

    /// Ends, and says what was counted.
    pub(crate) fn end(self) -> Result<Opens> {
        self.over.store(true, Ordering::Relaxed);
        self.counting.join().map_err(|_| anyhow!("the witness panicked"))?
    }
}

/// Reads until it is over and nothing is left.
fn count(mut group: File, over: &AtomicBool) -> Result<Opens> {
    let (mut opens, mut buffer) = (Opens::new(), vec![0; 65_536]);
    loop {
        let ending = over.load(Ordering::Relaxed);
        match group.read(&mut buffer) {
            Ok(length) => note(buffer.get(..length).unwrap_or_default(), &mut opens)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if ending {
                    return Ok(opens);
                }
                let mut ready = [PollFd::new(&group, PollFlags::IN)];
                poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).context("waiting for fanotify")?;
            }
            Err(error) => return Err(error).context("reading what fanotify tells"),
        }
    }
}

/// `struct fanotify_event_metadata`, and behind each, after the folder's `struct file_handle`, the name.
fn note(mut events: &[u8], opens: &mut Opens) -> Result<()> {
    const LENGTH: usize = 0;
    const MASK: usize = 8;
    const PID: usize = 20;
    const HANDLE_BYTES: usize = 36;
    const HANDLE: usize = 44;
    while !events.is_empty() {
        let part = |at: usize| {
            let bytes = events.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).context("an event of fanotify that is cut off")
        };
        if u64::from(part(MASK)?) & libc::FAN_Q_OVERFLOW != 0 {
            bail!("fanotify's queue was full");
        }
        let (event, rest) = events.split_at_checked(part(LENGTH)? as usize).context("an event that is longer")?;
        let name = event.get(HANDLE + part(HANDLE_BYTES)? as usize..).context("an event without a name")?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        *opens.entry((part(PID)?, String::from_utf8_lossy(name).into_owned())).or_default() += 1;
        events = rest;
    }
    Ok(())
}
