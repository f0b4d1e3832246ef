//! The book of what the kernel side counts.

use std::collections::{BTreeMap, BTreeSet};

use dkimwatch_common::{
    identity::FileId,
    summary::{Summary, SummaryKey},
};
use serde::{Deserialize, Serialize};

use super::{Group, Summed};
use crate::decode::Access;

/// An entry of the kernel's: a key, and a process as it was when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// `inode->i_ino`, see [`FileId`].
    ino: u64,
    /// `super_block->s_dev`.
    dev: u32,
    /// See [`FileId::birth`].
    birth: u32,
    /// The number of the guise.
    guise: u64,
    /// The process.
    tgid: u32,
}

impl Id {
    /// Of an access that is noted.
    #[must_use]
    pub const fn of(access: &Access) -> Self {
        let FileId { ino, dev, birth } = access.file.id;
        Self { ino, dev, birth, guise: access.guise, tgid: access.process.pid }
    }

    /// Of an entry of the kernel's map.
    #[must_use]
    pub const fn of_key(key: SummaryKey) -> Self {
        let FileId { ino, dev, birth } = key.file;
        Self { ino, dev, birth, guise: key.guise, tgid: key.tgid }
    }

    /// The key of the kernel's map.
    #[must_use]
    pub const fn key(&self) -> SummaryKey {
        let Self { ino, dev, birth, guise, tgid } = *self;
        SummaryKey { file: FileId { ino, dev, birth }, guise, tgid, pad: 0 }
    }

    /// The process.
    #[must_use]
    pub const fn tgid(&self) -> u32 {
        self.tgid
    }

    /// The number of its guise.
    #[must_use]
    pub const fn guise(&self) -> u64 {
        self.guise
    }
}

/// An entry as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// What the kernel side has counted.
    pub summary: Summary,
    /// The span that was the current one until just before.
    pub span: u64,
    /// Whether the process still has the guise: if not, nothing more is counted.
    pub goes_on: bool,
}

/// What is to become of an entry that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It was over [a while ago](REST), and all of it is in the book: it may be removed.
    Over,
}

/// How long an entry that is over stays, nanoseconds: a program that had found its process the same may be counting still.
const REST: u64 = 500_000_000;

/// What is known of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    group: Group,
    /// Start of the process, nanoseconds since boot.
    start: u64,
    /// How many were read.
    read: u64,
    /// Nothing before this is to be told any more, nanoseconds since boot.
    since: u64,
    /// Since when it is known that its process is gone, or another, nanoseconds since boot.
    over: Option<u64>,
}

/// What was read and not told yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owed {
    group: Group,
    count: u64,
    /// Nanoseconds since boot.
    first: u64,
    last: u64,
    /// By pid and start.
    processes: BTreeSet<(u32, u64)>,
}

/// The book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// As a list, since JSON has no other keys than text.
    #[serde(with = "as_list")]
    entries: BTreeMap<Id, Known>,
    #[serde(with = "owed_as_list")]
    owed: BTreeMap<Group, Owed>,
}

impl Book {
    /// An access that was judged: from now on the kernel side may count its like. To be called, and where the book is kept to be
    /// saved, before it is told to: an entry that no book knows could not be told of.
    pub fn note(&mut self, id: Id, group: Group, access: &Access) {
        let (start, since) = (access.process.start_ns, access.boot_ns);
        self.entries.entry(id).or_insert(Known { group, start, read: 0, since, over: None });
    }

    /// An entry that another watch made and did not come to note. What is known of its process is when it was judged, at the earliest.
    pub fn note_former(&mut self, id: Id, group: Group) {
        // The rest of the number is the CPU's.
        let since = id.guise >> 10;
        self.entries.entry(id).or_insert(Known { group, start: 0, read: 0, since, over: None });
    }

    /// Takes back what was noted: the kernel side does not count it.
    pub fn forget(&mut self, id: &Id) {
        self.entries.remove(id);
    }

    /// Whether an entry is known.
    #[must_use]
    pub fn has(&self, id: &Id) -> bool {
        self.entries.contains_key(id)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries.
    #[must_use]
    pub fn ids(&self) -> Vec<Id> {
        self.entries.keys().copied().collect()
    }

    /// Takes what an entry has counted since it was last read. `now` is the time before this reading, nanoseconds since boot.
    pub fn read(&mut self, id: &Id, counted: &Counted, now: u64) -> Fate {
        let Some(known) = self.entries.get_mut(id) else { return Fate::Stays };
        let Counted { summary, span, goes_on } = *counted;
        let news = summary.count.saturating_sub(known.read);
        if news > 0 {
            // Of a first one after the span's end it is not known how many there were before it.
            let first = if summary.span <= span { summary.first } else { known.since };
            let (first, last) = (first.min(summary.last), summary.last.max(summary.first));
            let owed = self.owed.entry(known.group.clone()).or_insert_with(|| Owed {
                group: known.group.clone(),
                count: 0,
                first,
                last,
                processes: BTreeSet::new(),
            });
            owed.count = owed.count.saturating_add(news);
            (owed.first, owed.last) = (owed.first.min(first), owed.last.max(last));
            owed.processes.insert((id.tgid, known.start));
        }
        (known.read, known.since) = (summary.count.max(known.read), now);
        if !goes_on && now.saturating_sub(*known.over.get_or_insert(now)) >= REST {
            self.entries.remove(id);
            return Fate::Over;
        }
        Fate::Stays
    }

    /// All that was read and not told: from now on it is. `boot_unix_ns` is when the host was booted, nanoseconds since the Unix
    /// epoch.
    pub fn close(&mut self, unix_ns: i128, boot_unix_ns: i128) -> Vec<Summed> {
        let owed = std::mem::take(&mut self.owed).into_values();
        let summed = owed.map(|Owed { group, count, first, last, processes }| Summed {
            unix_ns,
            group,
            count,
            first_unix_ns: boot_unix_ns + i128::from(first),
            last_unix_ns: boot_unix_ns + i128::from(last),
            processes: processes.len() as u64,
        });
        summed.collect()
    }
}

/// A map of entries.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Id, Known};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Id, Known>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Id, Known>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

/// A map of what is owed.
mod owed_as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{Group, Owed};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Group, Owed>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Group, Owed>, D::Error> {
        let owed = Vec::<Owed>::deserialize(from)?;
        Ok(owed.into_iter().map(|owed| (owed.group.clone(), owed)).collect())
    }
}
