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
                    self.changes.watch_writes(&looked.unfinished);
                    // What came into a folder between the look and now, nobody tells.
                    let folders = looked.folders.into_iter().chain(looked.unfinished).collect::<BTreeSet<_>>();
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const ID: &str = "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12";

    /// An engine that is stopped behind each of its steps: what comes next is noticed all the same, and long before the slow clock.
    #[tokio::test]
    async fn a_container_that_comes_slowly_is_found_with_its_last_step() {
        let lab = tempfile::tempdir().expect("a folder");
        let (store, volume) = (lab.path().join("store"), lab.path().join("volume"));
        let containers = store.join("vfs-containers");
        let userdata = containers.join(ID).join("userdata");
        let config = userdata.join("config.json");
        fs::create_dir_all(&containers).expect("a store");
        fs::create_dir(&volume).expect("a volume");
        fs::write(volume.join("sel.private"), "").expect("a key");
        let spec = format!(
            r#"{{"root":{{"path":"/nowhere"}},"mounts":[{{"type":"bind","source":{volume:?},"destination":"/etc/dkimkeys"}}]}}"#
        );
        let (half, rest) = spec.split_at(spec.len() / 2);
        let steps: [&dyn Fn(); 5] = [
            &|| renamed(&containers, "containers.json", &format!(r#"[{{"id":"{ID}"}}]"#)),
            &|| fs::create_dir(containers.join(ID)).expect("the container's folder"),
            &|| fs::create_dir(&userdata).expect("the folder in it"),
            &|| fs::write(&config, half).expect("half of a configuration"),
            // By the same file, as an engine's one write is seen from outside.
            &|| append(&config, rest),
        ];
        let mut scout = Scout::new(&Stores { folders: vec![store.clone()], ..Stores::default() }).expect("a scout");
        let has_it = |found: &[Keyed]| found.iter().any(|container| container.id == ID);
        for step in steps {
            // Until it has looked at everything, and waits.
            while let Ok(found) = tokio::time::timeout(Duration::from_millis(300), scout.next()).await {
                assert!(!has_it(&found), "there is no key to be found yet");
            }
            step();
        }
        let found = tokio::time::timeout(SLOW / 3, async { while !has_it(&scout.next().await) {} }).await;
        found.expect("found before the slow clock");
    }

    fn renamed(folder: &Path, name: &str, text: &str) {
        let temporary = folder.join(".tmp");
        fs::write(&temporary, text).expect("written");
        fs::rename(temporary, folder.join(name)).expect("renamed");
    }

    fn append(path: &Path, text: &str) {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }
}
