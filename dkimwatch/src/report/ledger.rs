//! Who read which key how often: numbers by key and by reader, and no access itself. What bounds the memory is here.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use super::{
    bearing::{Bearing, Counts},
    event::{Event, Key, Known, text},
    hours::Hours,
    shown::Shown,
};
use crate::judge::{Action, Verdict};

/// Bytes for keys and readers: some thirty thousand keys with their signer. Whoever makes keys or programs without end, or with names as
/// long as they can be, gets one number for the rest of them.
const ROOM: usize = 48 << 20;

/// The first time and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Nanoseconds since the Unix epoch.
    pub first: i64,
    /// The same.
    pub last: i64,
}

impl Span {
    pub(super) fn extend(span: &mut Option<Self>, unix_ns: i64) {
        let old = span.unwrap_or(Self { first: unix_ns, last: unix_ns });
        *span = Some(Self { first: old.first.min(unix_ns), last: old.last.max(unix_ns) });
    }
}

/// A key on a host.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    /// The host's name.
    pub host: Shown,
    /// The key's path.
    pub path: Shown,
    /// The signing domain.
    pub domain: Option<Shown>,
    /// The selector.
    pub selector: Option<Shown>,
    /// The signer whose configuration names it.
    pub signer: Option<Shown>,
    /// Its accesses.
    pub counts: Counts,
    /// Those that were expected.
    pub expected: Option<Span>,
    /// Those that exposed it.
    pub exposed: Option<Span>,
    /// All that nobody expected.
    pub unexpected: Option<Span>,
    /// At what hours the expected ones are.
    pub usual: Hours,
    /// At what hours the others are.
    pub others: Hours,
    /// Who; the gravest first, once the ledger is closed.
    pub readers: Vec<Reader>,
}

/// Somebody who reads a key: a program, a user, a container, a unit.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What was executed.
    pub executable: Shown,
    /// The real uid …
    pub uid: Option<Shown>,
    /// … and its name.
    pub user: Option<Shown>,
    /// The container's id.
    pub container: Option<Shown>,
    /// And its name.
    pub container_name: Option<Shown>,
    /// The systemd unit.
    pub unit: Option<Shown>,
    /// The rule that decided at its first access.
    pub rule: Shown,
    /// Its accesses.
    pub counts: Counts,
    /// What it did, by [`Action::ALL`]; the last one are those of a later version.
    pub deeds: [u64; Action::ALL.len() + 1],
    /// When.
    pub span: Span,
    /// At what hours.
    pub hours: Hours,
}

impl Reader {
    /// What it did, the most frequent first.
    #[must_use]
    pub fn actions(&self) -> Vec<(&'static str, u64)> {
        let names = Action::ALL.iter().map(|action| action.name()).chain(["other"]);
        let mut deeds: Vec<_> = names.zip(self.deeds).filter(|(_, count)| *count > 0).collect();
        deeds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        deeds
    }

    /// The user, for people.
    #[must_use]
    pub fn user_words(&self) -> String {
        match (&self.user, &self.uid) {
            (Some(user), Some(uid)) => format!("{} (uid {})", user.word(), uid.word()),
            (None, Some(uid)) => format!("uid {}", uid.word()),
            (_, None) => "a user that is not known".to_owned(),
        }
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match (&self.container_name, &self.container, &self.unit) {
            (Some(name), ..) => Some(format!("container {}", name.word())),
            (None, Some(id), _) => Some(format!("container {}", id.as_str().get(..12).unwrap_or(id.as_str()))),
            (None, None, Some(unit)) => Some(unit.word()),
            (None, None, None) => None,
        }
    }
}

impl KeyFacts {
    fn new(host: &str, key: &Key<'_>) -> Self {
        Self {
            host: Shown::of(host),
            path: Shown::of(text(&key.path)),
            domain: shown(&key.domain),
            selector: shown(&key.selector),
            signer: shown(&key.signer),
            counts: Counts::default(),
            expected: None,
            exposed: None,
            unexpected: None,
            usual: Hours::default(),
            others: Hours::default(),
            readers: Vec::new(),
        }
    }

    /// What it takes, with its place in the table of those that are known.
    fn bytes(&self) -> usize {
        let texts =
            [Some(&self.host), Some(&self.path), self.domain.as_ref(), self.selector.as_ref(), self.signer.as_ref()];
        size_of::<Self>() + TABLE + length(&texts)
    }
}

impl Reader {
    fn bytes(&self) -> usize {
        let Self { executable, uid, user, container, container_name, unit, rule, .. } = self;
        let texts = [uid, user, container, container_name, unit].map(Option::as_ref);
        size_of::<Self>() + TABLE + length(&[Some(executable), Some(rule)]) + length(&texts)
    }
}

/// An entry of a hash table, with the room that such a table keeps free.
const TABLE: usize = 64;

fn length(texts: &[Option<&Shown>]) -> usize {
    texts.iter().flatten().map(|text| text.as_str().len()).sum()
}

fn shown(word: &Known<'_>) -> Option<Shown> {
    word.as_ref().map(|word| Shown::of(&word.0))
}

/// An access, or several that were told in sum, as the ledger takes it.
pub(super) struct Line<'a, 'e> {
    /// The last one's time.
    pub(super) unix_ns: i64,
    /// The first one's.
    pub(super) first: i64,
    /// How many.
    pub(super) count: u64,
    pub(super) verdict: Verdict,
    pub(super) bearing: Bearing,
    pub(super) action: Option<Action>,
    pub(super) event: &'a Event<'e>,
}

/// The place of a reader: its key's, and its own among that one's; the largest number where there was no room for it.
pub(super) type Place = (usize, usize);

/// Numbers by key and reader.
#[derive(Debug)]
pub(super) struct Ledger {
    keys: Vec<KeyFacts>,
    /// Bytes that are left.
    room: usize,
    /// Keys and readers by the hash of what makes them one. The hash has a secret of this process: nobody can make two of them meet.
    hash: RandomState,
    known_keys: HashMap<u64, usize>,
    known_readers: HashMap<u64, Place>,
    /// Accesses to keys, or by readers, that there was no more room for.
    pub(super) crowded_out: Counts,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            room: ROOM,
            hash: RandomState::default(),
            known_keys: HashMap::new(),
            known_readers: HashMap::new(),
            crowded_out: Counts::default(),
        }
    }
}

impl Ledger {
    /// Takes an access; whose it was, where there was room.
    pub(super) fn take(&mut self, line: &Line<'_, '_>) -> Option<Place> {
        let Line { unix_ns, first, count, verdict, bearing, action, event } = line;
        let Some(at) = self.key(event.host_name(), &event.dkimwatch.key) else {
            self.crowded_out.add(*verdict, *bearing, *count);
            return None;
        };
        let identity = self.identity(at, event);
        let key = self.keys.get_mut(at)?;
        key.counts.add(*verdict, *bearing, *count);
        if *bearing == Bearing::Expected {
            Span::extend(&mut key.expected, *first);
            Span::extend(&mut key.expected, *unix_ns);
            key.usual.add_between(*first, *unix_ns, *count);
        } else {
            Span::extend(&mut key.unexpected, *unix_ns);
            key.others.add(*unix_ns);
        }
        if *bearing == Bearing::Exposed {
            Span::extend(&mut key.exposed, *unix_ns);
        }
        let place = match self.known_readers.get(&identity) {
            Some(place) => *place,
            None => {
                let reader = reader(event, *first);
                let Some(room) = self.room.checked_sub(reader.bytes()) else {
                    self.crowded_out.add(*verdict, *bearing, *count);
                    return Some((at, usize::MAX));
                };
                self.room = room;
                key.readers.push(reader);
                let place = (at, key.readers.len() - 1);
                self.known_readers.insert(identity, place);
                place
            }
        };
        let reader = key.readers.get_mut(place.1)?;
        reader.counts.add(*verdict, *bearing, *count);
        reader.hours.add_between(*first, *unix_ns, *count);
        reader.span = Span { first: reader.span.first.min(*first), last: reader.span.last.max(*unix_ns) };
        let deed = Action::ALL.iter().position(|known| Some(*known) == *action).unwrap_or(Action::ALL.len());
        if let Some(deeds) = reader.deeds.get_mut(deed) {
            *deeds += *count;
        }
        Some(place)
    }

    /// Takes what was found out of an access's container later on.
    pub(super) fn complete(&mut self, event: &Event<'_>) {
        let Some(at) = self.known_keys.get(&self.key_identity(event.host_name(), &event.dkimwatch.key)) else { return };
        let identity = self.identity(*at, event);
        if let Some((key, reader)) = self.known_readers.get(&identity)
            && let Some(reader) = self.keys.get_mut(*key).and_then(|key| key.readers.get_mut(*reader))
            && let Some(name) = &event.container.name
        {
            reader.container_name = Some(Shown::of(&name.0));
        }
    }

    /// A key's place; a key that comes for the first time gets one, where there is room.
    pub(super) fn key(&mut self, host: &str, key: &Key<'_>) -> Option<usize> {
        let identity = self.key_identity(host, key);
        let at = match self.known_keys.get(&identity) {
            Some(at) => *at,
            None => {
                let facts = KeyFacts::new(host, key);
                self.room = self.room.checked_sub(facts.bytes())?;
                self.keys.push(facts);
                let at = self.keys.len() - 1;
                self.known_keys.insert(identity, at);
                at
            }
        };
        // What a later event knows and an earlier one did not: the look at the configuration had not ended.
        let facts = self.keys.get_mut(at)?;
        for (fact, word) in
            [(&mut facts.domain, &key.domain), (&mut facts.selector, &key.selector), (&mut facts.signer, &key.signer)]
        {
            if fact.is_none() {
                *fact = shown(word);
            }
        }
        Some(at)
    }

    /// A key's place, for who has it from [`Self::take`].
    pub(super) fn key_at(&self, at: usize) -> Option<&KeyFacts> {
        self.keys.get(at)
    }

    /// The keys with their readers: the gravest first, then by domain and path.
    pub(super) fn close(self) -> Vec<KeyFacts> {
        let mut keys = self.keys;
        keys.sort_by(|a, b| {
            (a.counts.gravest(), &a.domain, &a.selector, &a.path, &a.host).cmp(&(
                b.counts.gravest(),
                &b.domain,
                &b.selector,
                &b.path,
                &b.host,
            ))
        });
        for key in &mut keys {
            key.readers.sort_by_key(|reader| {
                (reader.counts.gravest(), std::cmp::Reverse(reader.counts.all()), reader.span.first)
            });
        }
        keys
    }

    fn key_identity(&self, host: &str, key: &Key<'_>) -> u64 {
        self.hash.hash_one((host, text(&key.path)))
    }

    /// What makes a reader one: the key, the program, the real uid, the container, the unit.
    fn identity(&self, key: usize, event: &Event<'_>) -> u64 {
        self.hash.hash_one((
            key,
            executable(event),
            text(&event.process.real_user.id),
            text(&event.container.id),
            text(&event.dkimwatch.unit),
        ))
    }
}

/// What was executed; where that is not known, the name the process gave itself, in the marks of a name.
fn executable<'e>(event: &'e Event<'_>) -> &'e str {
    match text(&event.process.executable) {
        "" => text(&event.process.name),
        path => path,
    }
}

fn reader(event: &Event<'_>, unix_ns: i64) -> Reader {
    Reader {
        executable: Shown::of(executable(event)),
        uid: shown(&event.process.real_user.id),
        user: shown(&event.process.real_user.name),
        container: shown(&event.container.id),
        container_name: shown(&event.container.name),
        unit: shown(&event.dkimwatch.unit),
        rule: Shown::of(text(&event.rule.id)),
        counts: Counts::default(),
        deeds: [0; Action::ALL.len() + 1],
        span: Span { first: unix_ns, last: unix_ns },
        hours: Hours::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut ledger = Ledger { room: 200_000, ..Ledger::default() };
        let take = |ledger: &mut Ledger, path: &str, executable: &str| {
            let json =
                format!(r#"{{"process":{{"executable":"{executable}"}},"dkimwatch":{{"key":{{"path":"{path}"}}}}}}"#);
            let event: Event<'_> = serde_json::from_str(&json).expect("an event");
            let (verdict, bearing) = (Verdict::Unexpected, Bearing::Exposed);
            ledger.take(&Line { unix_ns: 0, first: 0, count: 1, verdict, bearing, action: None, event: &event })
        };
        assert_eq!(take(&mut ledger, "/k", "/bin/cat"), Some((0, 0)));
        for at in 0..500 {
            // Names of all lengths, so that in the end there is no room for the shortest.
            take(&mut ledger, "/k", &format!("/{at}{}", "x".repeat(1_000 - 2 * at)));
        }
        assert_eq!(take(&mut ledger, "/k", "/another"), Some((0, usize::MAX)), "its key is known all the same");
        assert_eq!(take(&mut ledger, "/another", "/bin/cat"), None);
        assert_eq!(take(&mut ledger, "/k", "/bin/cat"), Some((0, 0)), "who was there before is counted on");
        let kept: u64 = ledger.keys[0].readers.iter().map(|reader| reader.counts.exposed).sum();
        assert_eq!(kept + ledger.crowded_out.exposed, 504);
        assert!((50..250).contains(&ledger.keys[0].readers.len()), "{}", ledger.keys[0].readers.len());
    }
}
