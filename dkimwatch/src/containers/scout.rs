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
    /// A look is under way; and another one is wanted behind it.
    is_looking: bool,
    again: bool,
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
        Ok(Self { ask, found, changes: Changes::new()?, clock, is_looking: false, again: false })
    }

    /// The containers with keys, looked at anew.
    pub async fn next(&mut self) -> Vec<Keyed> {
        loop {
            tokio::select! {
                Some(looked) = self.found.recv() => {
                    self.changes.watch(&looked.folders);
                    self.is_looking = false;
                    if std::mem::take(&mut self.again) {
                        self.ask();
                    }
                    return looked.keyed;
                }
                _ = self.changes.next() => self.ask(),
                _ = self.clock.tick() => self.ask(),
            }
        }
    }

    /// Has the containers looked at, once more if that is being done.
    fn ask(&mut self) {
        if self.is_looking {
            self.again = true;
        } else {
            self.is_looking = self.ask.send(()).is_ok();
        }
    }
}

fn work(host: &Host, stores: &Stores, asked: &Receiver<()>, tell: &UnboundedSender<Looked>) {
    while asked.recv().is_ok() {
        let began = Instant::now();
        if tell.send(look(host, stores)).is_err() {
            return;
        }
        // Containers that come and go without end keep it busy half of the time.
        std::thread::sleep(began.elapsed());
    }
}
