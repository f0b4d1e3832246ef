//! What is to be taken over from a watch that is no more.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::{Tag, is_own};

use super::{Memo, memo};
use crate::{
    decode,
    kernel::{KernelError, Left, PinFolder},
    record::{ReadOut, entries},
};

/// Hooks that still see, what they saw, and what it means.
pub struct Heritage {
    /// From the kernel.
    pub left: Left,
    /// From beside the journal, where it is there.
    pub memo: Option<Memo>,
    /// What was written down.
    pub journal: Former,
}

/// A journal as another process left it.
#[derive(Clone, Debug)]
pub struct Former {
    folder: PathBuf,
    /// Entries from here on are this process's, nanoseconds since the Unix epoch.
    until_unix_ns: i64,
}

impl Heritage {
    /// All that was left, the oldest first. What cannot be opened is said, and removed: nobody will ever read it.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn all(folder: &PinFolder, journal: &Path, until_unix_ns: i64) -> Result<Vec<Self>, KernelError> {
        let mut all = Vec::new();
        for path in folder.left()? {
            match Left::open(&path) {
                Ok(left) => {
                    let memo = Memo::read(journal, &left.name());
                    all.push(Self { left, memo, journal: Former { folder: journal.to_owned(), until_unix_ns } });
                }
                Err(error) => {
                    tracing::error!("{error}: what was seen since the last watch ended cannot be had from here");
                    crate::kernel::discard(&path)?;
                }
            }
        }
        memo::sweep(journal, |session| all.iter().any(|one| one.left.name() == session));
        Ok(all)
    }
}

/// Records that are in a journal, by their bytes.
#[derive(Debug, Default)]
pub struct Recorded {
    hashes: HashSet<u64>,
    hash: RandomState,
    last_unix_ns: Option<i64>,
}

impl Former {
    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which records are in it: those that were written down and not given back before the end came. A journal that cannot be read to
    /// its end has what was read: better told twice than by nobody.
    #[must_use]
    pub fn recorded(&self, since_unix_ns: i64) -> Recorded {
        let mut recorded = Recorded::default();
        let entries = match entries(&self.folder, Some(since_unix_ns)) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "what is in the journal already may be told again");
                return recorded;
            }
        };
        for entry in entries {
            match entry {
                Ok(ReadOut::Entry(entry)) => {
                    if entry.unix_ns < self.until_unix_ns {
                        recorded.last_unix_ns = recorded.last_unix_ns.max(Some(entry.unix_ns));
                    }
                    if entry.unix_ns >= since_unix_ns && !entry.record.is_empty() {
                        recorded.hashes.insert(recorded.hash.hash_one(entry.record.as_slice()));
                    }
                }
                Ok(ReadOut::Damage { .. }) => {}
                Err(error) => {
                    tracing::error!(%error, "what is in the journal already may be told again");
                    break;
                }
            }
        }
        recorded
    }
}

impl Recorded {
    /// When the other process wrote its last word, nanoseconds since the Unix epoch; `None`: not of late.
    #[must_use]
    pub const fn last_unix_ns(&self) -> Option<i64> {
        self.last_unix_ns
    }

    /// Whether this one is. A record holds when, on which CPU and as which one it was made: no two are alike.
    #[must_use]
    pub fn has(&self, record: &[u8]) -> bool {
        self.hashes.contains(&self.hash.hash_one(record))
    }
}

/// How an old watch's tags are to be read.
#[derive(Debug, Default)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// By old tag, the new ones.
    #[must_use]
    pub const fn new(tags: Vec<Tag>) -> Self {
        Self(tags)
    }

    /// The new tag of an old one; `None`: nobody knows what that stands for.
    #[must_use]
    pub fn of(&self, tag: Tag) -> Option<Tag> {
        if tag == Tag::MAX || is_own(tag) {
            // No entry of the list, and what is the watch's own, which has the same order in each.
            return Some(tag);
        }
        usize::try_from(tag).ok().and_then(|at| self.0.get(at)).copied()
    }
}

/// Gives an access the tag that its key has now.
pub(crate) fn retag(access: &mut decode::Access, tags: &Tags) -> bool {
    match tags.of(access.file.tag) {
        Some(tag) => {
            access.file.tag = tag;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_anew_and_the_kernels_own_stay() {
        let tags = Tags::new(vec![4, 0]);
        assert_eq!([0, 1, 2, Tag::MAX].map(|tag| tags.of(tag)), [Some(4), Some(0), None, Some(Tag::MAX)]);
    }
}
