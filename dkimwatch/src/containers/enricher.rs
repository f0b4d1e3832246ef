//! Details are looked for on threads of their own, and remembered: a container that lived half a second is known for an
//! hour. Nobody waits for a disk that hangs: its thread is left behind.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Details, Enrichment, Keyed, NotFound, Stores, Within, find};
use crate::{attribute::Container, host::Host};

/// How long a look may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a container is remembered after it was last asked for: it may have ended long since.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Containers that are remembered. Behind them, the one that was asked for longest ago is forgotten.
const KEPT: usize = 4_096;
/// Of these, those that users make.
const KEPT_OF_USERS: usize = 256;
/// How old details may be before they are looked for again: a container is renamed, its users change.
const FRESH: Duration = Duration::from_secs(60);
/// How long a failure counts: a runtime writes things down a moment late.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Threads at once, for containers of root's and as many for the others': a user whose files hang delays other users only.
const THREADS: usize = 8;

/// A container, as its name in the cgroup tree or its monitor tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    runtime: &'static str,
    id: String,
    forgeable: bool,
    /// Of a user's own: anybody can name anybody's.
    bundle: Option<PathBuf>,
}

impl Name {
    fn of(container: &Container) -> Self {
        let bundle = container.bundle.clone();
        Self { runtime: container.runtime, id: container.id.clone(), forgeable: container.forgeable, bundle }
    }

    /// Whether it is this one's.
    #[must_use]
    pub fn is_of(&self, container: &Container) -> bool {
        *self == Self::of(container)
    }
}

struct Known {
    state: Enrichment,
    /// When it was last asked for.
    used: Instant,
    /// When the look began that gave the state, or is under way.
    asked: Instant,
    under_way: bool,
}

struct Answer {
    name: Name,
    found: Result<Details, NotFound>,
}

/// Looks for details; may block.
type Finder = dyn Fn(&Container, Within) -> Result<Details, NotFound> + Send + Sync;

/// Finds and remembers.
pub struct Enricher {
    find: Arc<Finder>,
    patience: Duration,
    known: HashMap<Name, Known>,
    /// Each thread holds another sender.
    tell: UnboundedSender<Answer>,
    answers: UnboundedReceiver<Answer>,
    /// Threads under way: root's containers', and others'.
    threads: [usize; 2],
}

impl Enricher {
    /// For the containers of a host.
    #[must_use]
    pub fn new(host: Host, stores: Stores) -> Self {
        Self::by(Arc::new(move |container, within| find(&host, &stores, container, within)))
    }

    fn by(find: Arc<Finder>) -> Self {
        let (tell, answers) = unbounded_channel();
        Self { find, patience: PATIENCE, known: HashMap::new(), tell, answers, threads: [0, 0] }
    }

    /// What is known of a container now; begins to look, where that is nothing. `within` is a process in it.
    pub fn of(&mut self, container: &Container, within: Within) -> Enrichment {
        let now = Instant::now();
        let name = Name::of(container);
        let state = match self.known.get_mut(&name) {
            Some(known) => {
                known.used = now;
                let age = now.duration_since(known.asked);
                let due = match known.state {
                    Enrichment::Done(_) => age > FRESH,
                    _ => age > FAILED_FOR,
                };
                if !due || known.under_way {
                    return known.state.clone();
                }
                // A failure is no answer while there may be a better one.
                known.state.details().is_some().then(|| known.state.clone())
            }
            None => None,
        };
        let under_way = self.look(&name, container.clone(), within);
        let state = match (state, under_way) {
            (Some(old), _) => old,
            (None, true) => Enrichment::Pending,
            (None, false) => Enrichment::Failed("too many containers are being looked at".to_owned()),
        };
        self.forget(now);
        self.known.insert(name, Known { state: state.clone(), used: now, asked: now, under_way });
        state
    }

    /// Learns what a look at all containers found of those that have keys: a reader in one that ends at once is told with it, and told
    /// without a wait. Of root's only: whose word a user's container is, its name does not say.
    pub fn know(&mut self, keyed: &[Keyed]) {
        let now = Instant::now();
        // One that does not run yet has no root in which its users have names: another look will be worth it.
        let complete = |container: &&Keyed| container.owner.is_none() && !container.details.users.is_empty();
        for container in keyed.iter().filter(complete) {
            // The kubelet's cgroup does not say which runtime it is.
            let runtime = if container.details.pod.is_some() { "kubernetes" } else { container.runtime };
            let name = Name { runtime, id: container.id.clone(), forgeable: false, bundle: None };
            if self.known.get(&name).is_some_and(|known| known.under_way || known.state.details().is_some()) {
                continue;
            }
            self.forget(now);
            let state = Enrichment::Done(Arc::new(container.details.clone()));
            self.known.insert(name, Known { state, used: now, asked: now, under_way: false });
        }
    }

    /// Waits until something has been found out, or given up: of which container. Never, when nothing is asked.
    pub async fn next(&mut self) -> Name {
        let overdue = self.known.iter().filter(|(_, known)| known.under_way);
        let first = overdue.min_by_key(|(_, known)| known.asked).map(|(name, known)| (name.clone(), known.asked));
        let patience = self.patience;
        let deadline = async {
            match first {
                Some((name, asked)) => {
                    tokio::time::sleep_until((asked + patience).into()).await;
                    name
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(answer) = self.answers.recv() => self.learn(answer),
            name = deadline => {
                // Its thread stays where it is, and keeps its place among those at once.
                self.settle(&name, Err(NotFound::TooLate(patience)));
                name
            }
        }
    }

    fn learn(&mut self, Answer { name, found }: Answer) -> Name {
        if let Some(threads) = self.threads.get_mut(usize::from(name.forgeable)) {
            *threads = threads.saturating_sub(1);
        }
        self.settle(&name, found);
        name
    }

    fn settle(&mut self, name: &Name, found: Result<Details, NotFound>) {
        let Some(known) = self.known.get_mut(name) else { return };
        known.under_way = false;
        // From now on it counts: a failure that took its time is no less one.
        known.asked = Instant::now();
        match found {
            Ok(details) => known.state = Enrichment::Done(Arc::new(details)),
            // It has ended since: what was known of it stays.
            Err(_) if known.state.details().is_some() => {}
            Err(error) => {
                tracing::debug!(container = name.id, %error, "nothing is known of a container but its id");
                known.state = Enrichment::Failed(error.to_string());
            }
        }
    }

    /// Whether a look has begun.
    fn look(&mut self, name: &Name, container: Container, within: Within) -> bool {
        let Some(threads) = self.threads.get_mut(usize::from(name.forgeable)).filter(|threads| **threads < THREADS)
        else {
            return false;
        };
        let (find, tell) = (Arc::clone(&self.find), self.tell.clone());
        let name = name.clone();
        let look = move || {
            let found = find(&container, within);
            // The watch has ended, if nobody wants to know.
            let _ = tell.send(Answer { name, found });
        };
        match std::thread::Builder::new().name("container".to_owned()).spawn(look) {
            Ok(_) => *threads += 1,
            Err(error) => {
                tracing::error!(%error, "no thread to look at a container");
                return false;
            }
        }
        true
    }

    fn forget(&mut self, now: Instant) {
        for (forgeable, most) in [(false, KEPT), (true, KEPT_OF_USERS)] {
            let of_these = |name: &Name| name.forgeable == forgeable;
            if self.known.keys().filter(|name| of_these(name)).count() < most {
                continue;
            }
            self.known.retain(|name, known| !of_these(name) || now.duration_since(known.used) < REMEMBERED);
            let these = self.known.iter().filter(|(name, _)| of_these(name));
            let oldest = these.min_by_key(|(_, known)| known.used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::attribute::container;
    use crate::decode::Cgroup;

    const WITHIN: Within = Within { pid: 0, start_ns: 0 };

    fn of_docker(number: usize) -> Container {
        let cgroup = Cgroup { id: 1, path: format!("/docker/{number:064x}").into_bytes(), cut: false };
        container(&cgroup).expect("a container")
    }

    fn of_a_user(number: usize) -> Container {
        let path = format!("/user.slice/user@1000.service/libpod-{number:064x}.scope");
        container(&Cgroup { id: 1, path: path.into_bytes(), cut: false }).expect("a container")
    }

    #[tokio::test]
    async fn what_was_found_is_remembered_when_the_container_is_gone() {
        let (more, answers) = channel();
        let answers = std::sync::Mutex::new(answers);
        let mut enricher =
            Enricher::by(Arc::new(move |_, _| answers.lock().expect("alone").recv().expect("an answer")));
        let one = of_docker(1);
        assert_eq!(enricher.of(&one, WITHIN), Enrichment::Pending);
        assert_eq!(enricher.of(&one, WITHIN), Enrichment::Pending, "asked once");
        let details = Details { name: Some("mx".to_owned()), ..Details::default() };
        more.send(Ok(details.clone())).expect("sent");
        assert!(enricher.next().await.is_of(&one));
        assert_eq!(enricher.of(&one, WITHIN).details(), Some(&details));
        // Old by now, and looked for again: in vain, as the container has ended.
        enricher.known.values_mut().for_each(|known| known.asked -= 2 * FRESH);
        assert_eq!(enricher.of(&one, WITHIN).details(), Some(&details), "the old ones at once");
        more.send(Err(NotFound::Nowhere("docker"))).expect("sent");
        enricher.next().await;
        assert_eq!(enricher.of(&one, WITHIN).details(), Some(&details));
    }

    #[test]
    fn who_has_keys_is_known_before_it_reads_one() {
        let mut enricher = Enricher::by(Arc::new(|_, _| panic!("nobody looks")));
        let users = [(0, "root".to_owned())].into();
        let details = Details { name: Some("mx".to_owned()), users, ..Details::default() };
        let keyed =
            |owner| Keyed { runtime: "docker", id: of_docker(1).id, owner, details: details.clone(), keys: Vec::new() };
        enricher.know(&[keyed(Some(1_000))]);
        assert!(enricher.known.is_empty(), "what a user's engine says is not said of root's container");
        enricher.know(&[keyed(None)]);
        assert_eq!(enricher.of(&of_docker(1), WITHIN).details(), Some(&details));
    }

    #[tokio::test]
    async fn a_disk_that_hangs_delays_nobody_and_counts_as_failed() {
        let hang = |_: &Container, _: Within| loop {
            std::thread::park();
        };
        let mut enricher = Enricher { patience: Duration::from_millis(50), ..Enricher::by(Arc::new(hang)) };
        for number in 0..THREADS {
            assert_eq!(enricher.of(&of_a_user(number), WITHIN), Enrichment::Pending);
        }
        let told = enricher.of(&of_a_user(THREADS), WITHIN);
        assert!(matches!(told, Enrichment::Failed(_)), "no more threads than that: {told:?}");
        // A user's files that hang take no thread from root's containers.
        assert_eq!(enricher.of(&of_docker(1), WITHIN), Enrichment::Pending);
        let name = enricher.next().await;
        assert!(name.is_of(&of_a_user(0)), "the first is given up first");
        assert!(matches!(&enricher.known[&name].state, Enrichment::Failed(why) if why == "no answer within 50ms"));
    }
}
