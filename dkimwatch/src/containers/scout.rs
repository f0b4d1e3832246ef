//! Looks for keys in containers while the watch runs: when an engine's folder changes, when something is mounted, and on a
//! slow clock. The looking is done on a thread of its own.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Keyed, Looked, Stores, look};
use crate::{host::Host, watchlist::Changes};

/// The slow clock.
const SLOW: Duration = Duration::from_secs(30);

/// The thread that looks, and what has it look.
pub struct Scout {
    /// The thread holds the other end; dropping this one ends it.
    ask: Sender<()>,
    found: UnboundedReceiver<Looked>,
    changes: Changes,
    clock: tokio::time::Interval,
    /// When the look began that is under way.
    looking: Option<Instant>,
    /// Another one is wanted.
    again: bool,
    /// Not before this: containers that come and go without end keep the thread busy half of the time.
    rest: Instant,
}

impl Scout {
    /// Starts the thread.
    ///
    /// # Errors
    /// As inotify_init1(2).
    pub fn new(host: Host, stores: Stores) -> std::io::Result<Self> {
        let (ask, asked) = channel();
        let (tell, found) = unbounded_channel();
        let look = move || work(&host, &stores, &asked, &tell);
        std::thread::Builder::new().name("scout".to_owned()).spawn(look)?;
        // Its first tick is at once: a container may have come since the watch's own look.
        let clock = tokio::time::interval(SLOW);
        Ok(Self { ask, found, changes: Changes::new()?, clock, looking: None, again: false, rest: Instant::now() })
    }

    /// The containers with keys, looked at anew.
    pub async fn next(&mut self) -> Vec<Keyed> {
        loop {
            tokio::select! {
                Some(looked) = self.found.recv() => {
                    self.changes.watch(&looked.folders);
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

fn work(host: &Host, stores: &Stores, asked: &Receiver<()>, tell: &UnboundedSender<Looked>) {
    while asked.recv().is_ok() && tell.send(look(host, stores)).is_ok() {}
}
