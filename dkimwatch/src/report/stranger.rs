//! Accesses that nobody expected, each with what is known of it; a bounded number of them, and those that matter.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use super::{
    bearing::Bearing,
    event::{Details, Event, Known, text},
    ledger::{KeyFacts, Line, Place},
    shown::Shown,
};

/// Accesses that are kept of each bearing: whoever fills the journal with refused attempts crowds out refused attempts only.
const MOST: u64 = 150;
/// And of one reader of a key.
const MOST_OF_ONE: u32 = 25;
/// Whose container's name is awaited, where only some containers are asked for.
const MOST_AWAITED: usize = 1_000;

/// An access that nobody expected.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// When.
    pub unix_ns: i64,
    /// What it means for the key.
    pub bearing: Bearing,
    /// The host.
    pub host: Shown,
    /// The key's path.
    pub key: Shown,
    /// Its domain.
    pub domain: Option<Shown>,
    /// Its selector.
    pub selector: Option<Shown>,
    /// It was at none of the hours at which that key is usually read. Known once all is read.
    pub odd_hour: bool,
    /// `event.id`.
    pub id: Shown,
    /// `event.action`.
    pub action: Shown,
    /// `event.outcome`.
    pub outcome: Shown,
    /// What was done, finer.
    pub deed: Option<Shown>,
    /// Why it was refused.
    pub errno: Option<Shown>,
    /// `event.severity`.
    pub severity: u8,
    /// `rule.id`.
    pub rule: Shown,
    /// `event.reason`.
    pub reason: Shown,
    /// Its pid.
    pub pid: u32,
    /// What it executed.
    pub executable: Option<Shown>,
    /// Its name.
    pub name: Option<Shown>,
    /// The package of that.
    pub package: Option<Shown>,
    /// Its command line.
    pub args: Vec<Shown>,
    /// Its ancestors, nearest first.
    pub ancestors: Vec<Forebear>,
    /// There are more.
    pub ancestors_cut: bool,
    /// Real uid …
    pub uid: Option<Shown>,
    /// … and its name.
    pub user: Option<Shown>,
    /// Effective uid, where it is another …
    pub effective_uid: Option<Shown>,
    /// … and its name.
    pub effective_user: Option<Shown>,
    /// Who logged in.
    pub login_user: Option<Shown>,
    /// How he came in: `sshd`, `console`, …
    pub entry: Option<Shown>,
    /// The systemd unit.
    pub unit: Option<Shown>,
    /// The container's id …
    pub container: Option<Shown>,
    /// … its name …
    pub container_name: Option<Shown>,
    /// … its runtime …
    pub runtime: Option<Shown>,
    /// … and its image.
    pub image: Option<Shown>,
    /// The other path of a rename, a link or a mount.
    pub other_path: Option<Shown>,
    /// The other process: whose memory was reached, who opened the descriptor.
    pub other: Option<(u32, Shown)>,
}

/// An ancestor of a process.
#[derive(Clone, Debug)]
pub struct Forebear {
    /// Its pid.
    pub pid: u32,
    /// The name it gave itself.
    pub name: Shown,
    /// Its executable.
    pub executable: Option<Shown>,
    /// Its real uid.
    pub uid: Option<Shown>,
}

impl Stranger {
    /// The user, for people.
    #[must_use]
    pub fn user_words(&self) -> String {
        let mut words = match (&self.user, &self.uid) {
            (Some(user), Some(uid)) => format!("{} (uid {})", user.word(), uid.word()),
            (None, Some(uid)) => format!("uid {}", uid.word()),
            (_, None) => "a user that is not known".to_owned(),
        };
        if let Some(uid) = &self.effective_uid {
            let name = self.effective_user.as_ref().map_or(String::new(), |name| format!("{name}, "));
            words.push_str(&format!(" as {name}uid {uid}"));
        }
        if let Some(login) = self.login_user.as_ref().filter(|login| Some(*login) != self.user.as_ref()) {
            words.push_str(&format!(", logged in as {}", login.word()));
        }
        words
    }

    /// What was executed, for people.
    #[must_use]
    pub fn program(&self) -> &str {
        self.executable.as_ref().or(self.name.as_ref()).map_or("(not known)", Shown::as_str)
    }

    /// The container, for people.
    #[must_use]
    pub fn container_words(&self) -> Option<String> {
        let id = self.container.as_ref()?;
        let short = id.as_str().get(..12).unwrap_or(id.as_str());
        let name =
            self.container_name.as_ref().map_or_else(|| short.to_owned(), |name| format!("{} ({short})", name.word()));
        let runtime = self.runtime.as_ref().map_or(String::new(), |runtime| format!("{runtime} "));
        let image = self.image.as_ref().map_or(String::new(), |image| format!(", image {}", image.word()));
        Some(format!("{runtime}container {name}{image}"))
    }

    fn of(line: &Line<'_, '_>, details: &Details<'_>, key: &KeyFacts) -> Self {
        let event = line.event;
        let (process, own) = (&details.process, &details.dkimwatch);
        let effective = event.process.user.id.as_ref().filter(|id| Some(*id) != event.process.real_user.id.as_ref());
        Self {
            unix_ns: line.unix_ns,
            bearing: line.bearing,
            host: key.host.clone(),
            key: key.path.clone(),
            domain: key.domain.clone(),
            selector: key.selector.clone(),
            odd_hour: false,
            id: Shown::of(text(&event.event.id)),
            action: Shown::of(text(&event.event.action)),
            outcome: Shown::of(text(&event.event.outcome)),
            deed: shown(&own.deed),
            errno: shown(&own.errno),
            severity: event.event.severity,
            rule: Shown::of(text(&event.rule.id)),
            reason: Shown::sentence(text(&event.event.reason)),
            pid: process.pid,
            executable: shown(&event.process.executable),
            name: shown(&event.process.name),
            package: shown(&own.process.package),
            args: process.args.iter().map(|arg| Shown::of(&arg.0)).take(64).collect(),
            ancestors: (own.process.ancestors.iter().take(16))
                .map(|one| Forebear {
                    pid: one.pid,
                    name: Shown::of(text(&one.comm)),
                    executable: shown(&one.executable),
                    uid: shown(&one.real_user_id),
                })
                .collect(),
            ancestors_cut: own.process.ancestors_cut,
            uid: shown(&event.process.real_user.id),
            user: shown(&event.process.real_user.name),
            effective_uid: effective.map(|id| Shown::of(&id.0)),
            effective_user: effective.and(event.process.user.name.as_ref()).map(|name| Shown::of(&name.0)),
            login_user: shown(&event.dkimwatch.process.login_user),
            entry: shown(&process.entry_leader.entry_meta.kind),
            unit: shown(&event.dkimwatch.unit),
            container: shown(&event.container.id),
            container_name: shown(&event.container.name),
            runtime: shown(&details.container.runtime),
            image: image(details),
            other_path: shown(&own.other_path),
            other: own.other.pid.map(|pid| (pid, Shown::of(text(&own.other.comm)))),
        }
    }
}

fn shown(word: &Known<'_>) -> Option<Shown> {
    word.as_ref().map(|word| Shown::of(&word.0))
}

fn image(details: &Details<'_>) -> Option<Shown> {
    let image = &details.container.image;
    let name = image.name.as_ref()?;
    let tag = image.tag.first().map_or(String::new(), |tag| format!(":{}", tag.0));
    Some(Shown::of(&format!("{}{tag}", name.0)))
}

/// The strangers' accesses that are kept.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    kept: Vec<Stranger>,
    by_id: HashMap<u64, usize>,
    hash: RandomState,
    of_bearing: HashMap<Bearing, u64>,
    of_reader: HashMap<(Place, Bearing), u32>,
    /// Accesses that were not kept.
    pub(super) left_out: u64,
}

impl Strangers {
    /// Keeps an access, where there is room. `json` is the event once more, for its details.
    pub(super) fn take(&mut self, line: &Line<'_, '_>, json: &[u8], place: Option<Place>, key: Option<&KeyFacts>) {
        let of_bearing = self.of_bearing.entry(line.bearing).or_default();
        let of_reader = place.map(|place| self.of_reader.entry((place, line.bearing)).or_default());
        let full = of_reader.as_ref().is_some_and(|count| **count >= MOST_OF_ONE) || *of_bearing >= MOST;
        let details = serde_json::from_slice::<Details<'_>>(json);
        let (false, Some(key), Ok(details)) = (full, key, details) else {
            self.left_out += 1;
            return;
        };
        *of_bearing += 1;
        if let Some(count) = of_reader {
            *count += 1;
        }
        self.by_id.insert(self.hash.hash_one(text(&line.event.event.id)), self.kept.len());
        self.kept.push(Stranger::of(line, &details, key));
    }

    /// Takes what was found out of an access's container later on.
    pub(super) fn complete(&mut self, event: &Event<'_>, json: &[u8]) {
        let id = self.hash.hash_one(text(&event.event.id));
        let Some(stranger) = self.by_id.get(&id).and_then(|at| self.kept.get_mut(*at)) else { return };
        let Ok(details) = serde_json::from_slice::<Details<'_>>(json) else { return };
        stranger.container_name = shown(&event.container.name).or(stranger.container_name.take());
        stranger.image = image(&details).or(stranger.image.take());
        stranger.runtime = shown(&details.container.runtime).or(stranger.runtime.take());
        // The look at the disk can have changed the sentence as well: by its name, a container may be known.
        stranger.reason = Shown::sentence(text(&event.event.reason));
    }

    /// In the order of time, and how many more there are.
    pub(super) fn close(self) -> (Vec<Stranger>, u64) {
        let mut kept = self.kept;
        kept.sort_by_key(|stranger| stranger.unix_ns);
        (kept, self.left_out)
    }
}

/// Alerts of containers whose name comes later, while only some containers are asked for.
#[derive(Debug, Default)]
pub(super) struct Awaited(VecDeque<(String, i64)>);

impl Awaited {
    /// Remembers an alert; the oldest one is forgotten.
    pub(super) fn put(&mut self, id: &str, unix_ns: i64) {
        if self.0.len() >= MOST_AWAITED {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), unix_ns));
    }

    /// The time of the alert with this id, once.
    pub(super) fn take(&mut self, id: &str) -> Option<i64> {
        let at = self.0.iter().position(|(known, _)| known == id)?;
        self.0.remove(at).map(|(_, unix_ns)| unix_ns)
    }
}
