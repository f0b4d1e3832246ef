//! A running `dkimwatch run` with a signer of ours, and what its journal says of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch::record::{ReadOut, entries};

use super::{Event, Steady, Watch, WatchCommand, Watched};

/// How long an event may take: an emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that expects a copy of the thief to read its keys.
#[derive(Debug)]
pub struct Service {
    folder: tempfile::TempDir,
    watch: Watch,
    /// The journal's events as far as they were read: an emulated machine takes its time for each.
    read: Mutex<Vec<Event>>,
}

impl Service {
    /// Starts one. Its keys have these names; `more` goes into the table `[journal]`.
    ///
    /// # Errors
    /// As [`WatchCommand::start`].
    pub fn start(thief: &Path, keys: &[&str], more: &str) -> Result<Self> {
        let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("dkimwatch-service-").tempdir_in(disk)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let at = |name: &str| folder.path().join(name);
        fs::copy(thief, at("signer"))?;
        let mut paths = Vec::new();
        for name in keys.iter().chain([&SENTINEL]) {
            fs::create_dir(at(name))?;
            fs::write(at(name).join("key"), "a key\n")?;
            paths.push(at(name).join("key"));
        }
        let config = format!(
            "[keys]\ndiscover = false\npaths = {paths:?}\n[journal]\npath = {:?}\n{more}\n[[signer]]\nname = \"own\"\nexecutable = {:?}\n",
            at("journal"),
            at("signer"),
        );
        let mut command = WatchCommand::new().service().config(config);
        if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
            command = command.backend(&backend);
        }
        let watch = command.start()?;
        Ok(Self { folder, watch, read: Mutex::default() })
    }

    /// A key's path.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("key")
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// The program itself.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// A signer.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn signer(&self) -> Result<Steady> {
        Steady::start(&self.folder.path().join("signer"))
    }

    /// Events in the journal, of all that has happened by now.
    ///
    /// # Errors
    /// A stranger at another key is not told of.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.events_where(|_| true)
    }

    /// As [`Self::events`], those that are wanted.
    ///
    /// # Errors
    /// As there.
    pub fn events_where(&self, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        let sentinel = self.key(SENTINEL);
        let told = |event: &Event| event.is_alert() && event.is_about(&sentinel);
        let before = self.watch.events_where(told).len();
        // What happened before it is in a ring when it is in its own, and entries are written before they are told.
        drop(fs::File::open(&sentinel)?);
        self.watch.wait_for_count("the sentinel", before + 1, PATIENCE, told)?;
        let mut events = self.read.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?;
        let known = events.len();
        events.extend(events_in(&self.journal(), known)?);
        Ok(events.iter().filter(|event| wanted(event)).cloned().collect())
    }

    /// Opens of a key that are events of their own.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn opens(&self, name: &str) -> Result<Vec<Event>> {
        let key = self.key(name);
        // An open for writing is told as what it allows.
        let is_open = |event: &Event| matches!(event.action(), "key-opened" | "key-modified") && event.is_about(&key);
        self.events_where(is_open)
    }

    /// Has a signer open a key until its opens are no events of their own any more.
    ///
    /// # Errors
    /// They are all the time.
    pub fn until_counted(&self, signer: &mut Steady, name: &str) -> Result<u64> {
        const TRIES: u64 = 100;
        let open = format!("open {} 1", self.key(name).display());
        let mut before = self.opens(name)?.len();
        for tries in 1..=TRIES {
            signer.ask(&open)?;
            let now = self.opens(name)?.len();
            if now == before {
                return Ok(tries);
            }
            before = now;
        }
        anyhow::bail!("{TRIES} opens are all events of their own")
    }

    /// Ends it, and returns what it told, and all events in the journal.
    ///
    /// # Errors
    /// As [`Watch::stop`].
    pub fn stop(self) -> Result<(Watched, Vec<Event>)> {
        let journal = self.journal();
        let watched = self.watch.stop()?;
        let events = events_in(&journal, 0)?;
        ensure!(!events.is_empty(), "an empty journal");
        Ok((watched, events))
    }
}

/// A key of nobody's.
const SENTINEL: &str = "sentinel";

/// All but so many at the beginning.
fn events_in(journal: &Path, but: usize) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut number = 0;
    for read in entries(journal, None)? {
        // The end of one that is being written is no entry yet.
        if let ReadOut::Entry(entry) = read? {
            if number >= but {
                events.push(Event::parse(str::from_utf8(&entry.event).context("an event")?)?);
            }
            number += 1;
        }
    }
    Ok(events)
}
