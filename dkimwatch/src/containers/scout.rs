//! Looks for keys in containers while the watch runs: when an engine's folder changes, when something is mounted, and on a
//! slow clock. The looking is done on a thread of its own.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Keyed, Looked, Stores, look, look_at_users};
use crate::{host::Host, watchlist::Changes};

/// The slow clock.
const SLOW: Duration = Duration::from_secs(30);

/// Looks at some containers; may block.
type Look = fn(&Host, &Stores) -> Looked;

/// Looks at the containers of root's, and at those of ordinary users: whose homes hang delays the others' only.
pub struct Scout {
    roots: Looker,
    users: Looker,
}

impl Scout {
    /// Starts its threads.
    ///
    /// # Errors
    /// As inotify_init1(2) and pthread_create(3).
    pub fn new(stores: &Stores) -> std::io::Result<Self> {
        Ok(Self { roots: Looker::new(look, stores.clone())?, users: Looker::new(look_at_users, stores.clone())? })
    }

    /// The containers with keys, looked at anew.
    pub async fn next(&mut self) -> Vec<Keyed> {
        tokio::select! {
            keyed = self.roots.next() => keyed,
            keyed = self.users.next() => keyed,
        }
    }
}

/// A thread that looks, and what has it look.
struct Looker {
    /// The thread holds the other end; dropping this one ends it.
    ask: Sender<()>,
    found: UnboundedReceiver<Looked>,
    changes: Changes,
    /// The folders that the last look named.
    folders: BTreeSet<PathBuf>,
    clock: tokio::time::Interval,
    /// When the look began that is under way.
    looking: Option<Instant>,
    /// Another one is wanted.
    again: bool,
    /// Not before this: containers that come and go without end keep the thread busy half of the time.
    rest: Instant,
}

impl Looker {
    fn new(look: Look, stores: Stores) -> std::io::Result<Self> {
        let (ask, asked) = channel();
        let (tell, found) = unbounded_channel();
        let work = move || work(look, &stores, &asked, &tell);
        std::thread::Builder::new().name("scout".to_owned()).spawn(work)?;
        // Its first tick is at once: a container may have come since the watch's own look.
        let clock = tokio::time::interval(SLOW);
        let (changes, folders) = (Changes::new()?, BTreeSet::new());
        Ok(Self { ask, found, changes, folders, clock, looking: None, again: false, rest: Instant::now() })
    }

    /// What was found. Nothing is lost where this is dropped half-way.
    async fn next(&mut self) -> Vec<Keyed> {
        loop {
            tokio::select! {
                Some(looked) = self.found.recv() => {
                    self.changes.watch(&looked.folders);
                    // What came into a folder between the look and now, nobody tells.
                    let folders = BTreeSet::from_iter(looked.folders);
                    self.again |= !folders.is_subset(&self.folders);
                    self.folders = folders;
                    let now = Instant::now();
                    self.rest = now + self.looking.take().map_or(Duration::ZERO, |began| now - began);
                    return looked.keyed;
                }
                _ = self.changes.next() => self.again = true,
                _ = self.clock.tick() => self.again = true,
                () = tokio::time::sleep_until(self.rest.into()), if self.again && self.looking.is_none() => {
                    self.again = false;
                    self.looking = self.ask.send(()).is_ok().then(Instant::now);
                }
            }
        }
    }
}

fn work(look: Look, stores: &Stores, asked: &Receiver<()>, tell: &UnboundedSender<Looked>) {
    let host = Host::here();
    while asked.recv().is_ok() {
        let began = Instant::now();
        let looked = look(&host, stores);
        tracing::debug!(containers = looked.keyed.len(), took = ?began.elapsed(), "looked for keys in containers");
        if tell.send(looked).is_err() {
            return;
        }
    }
}
