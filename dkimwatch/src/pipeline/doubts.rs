//! Deeds that were done to a folder, or to what lies in it: which, the folder's path says a moment later.

use std::{collections::VecDeque, time::Duration};

use anyhow::Result;
use dkimwatch_common::{deed::Deed, identity::FileId};
use tokio::time::Instant;

use super::Pipeline;
use crate::{
    clock::boot_ns,
    decode::{Access, Fact},
    refused,
    watchlist::Moved,
};

/// How long after it was heard of the path is looked at: by the first look a deed is mostly done, and on a slow disk by the second.
const LOOKS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// Doubts at once. Beyond, a deed is told as one to the folder: better an alarm too many.
const MOST: usize = 256;

/// What was surely given another name, at most: until the next look, it is known by that.
const SURE: usize = 64;

/// The doubts that are left.
#[derive(Default)]
pub(super) struct Doubts {
    waiting: Vec<Doubt>,
    sure: VecDeque<Sure>,
}

/// What was surely given another name, or is told to have been: nobody is told of that again.
struct Sure {
    file: FileId,
    /// When that was, or was found out; nanoseconds since boot.
    at_ns: u64,
    /// The process, where that was found out by the path.
    by: Option<(u32, u64)>,
}

struct Doubt {
    access: Access,
    /// When its like happened last, nanoseconds since boot.
    last_ns: u64,
    /// Since when looks are counted.
    heard: Instant,
    /// Looks that found the folder at its place since.
    looks: usize,
}

impl Doubt {
    fn due(&self) -> Option<Instant> {
        LOOKS.get(self.looks).map(|look| self.heard + *look)
    }

    /// By the same process, to the same folder.
    fn is_like(&self, access: &Access) -> bool {
        self.access.file.id == access.file.id && self.access.deed == access.deed && doer(&self.access) == doer(access)
    }
}

const fn doer(access: &Access) -> (u32, u64) {
    (access.process.pid, access.process.start_ns)
}

impl Doubts {
    /// Takes one more; gives it back where there is no room.
    fn add(&mut self, access: Access, now: Instant) -> Option<Access> {
        // It is told of this process already: by what came before it, as the path was looked at late.
        let is_told = |sure: &Sure| sure.by == Some(doer(&access)) && sure.at_ns >= access.boot_ns;
        if self.sure.iter().any(|sure| sure.file == access.file.id && is_told(sure)) {
            return None;
        }
        if let Some(doubt) = self.waiting.iter_mut().find(|doubt| doubt.is_like(&access)) {
            doubt.last_ns = doubt.last_ns.max(access.boot_ns);
            // A look that comes soon stays; a late one is no longer the last. So who does it again and again puts none off.
            if doubt.looks > 0 {
                (doubt.access, doubt.heard, doubt.looks) = (access, now, 0);
            }
            return None;
        }
        if self.waiting.len() == MOST {
            return Some(access);
        }
        self.waiting.push(Doubt { last_ns: access.boot_ns, access, heard: now, looks: 0 });
        None
    }

    /// Whether somebody is told of what became of a file or folder since the list was last made true (nanoseconds since boot), or may be.
    fn has(&self, file: FileId, looked_ns: u64) -> bool {
        self.sure.iter().any(|sure| sure.file == file && sure.at_ns >= looked_ns)
            || self.waiting.iter().any(|doubt| doubt.access.file.id == file)
    }

    /// Whether a folder had surely been given another name before this was done to it or in it, and after it was last found.
    fn was_elsewhere(&self, access: &Access, found_ns: u64) -> bool {
        let time = found_ns..=access.boot_ns;
        self.sure.iter().any(|sure| sure.file == access.file.id && time.contains(&sure.at_ns))
    }

    /// When the next look is due; never, where there is nothing in doubt.
    pub(super) async fn due(&self) {
        match self.waiting.iter().filter_map(Doubt::due).min() {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// When the oldest happened, nanoseconds since boot.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.iter().map(|doubt| doubt.access.boot_ns).min()
    }

    /// Takes those out that are due.
    fn take_due(&mut self, now: Instant) -> Vec<Doubt> {
        self.waiting.extract_if(.., |doubt| doubt.due().is_none_or(|due| due <= now)).collect()
    }

    /// Something was given another name, or lost its own. Forgets the doubts about a folder which stood at its place when this was
    /// done to it: it was done by nobody before.
    fn decide(&mut self, access: &Access, now_ns: u64) {
        let is_refused = access.outcome.known().is_some_and(Result::is_err);
        if is_refused || !matches!(access.deed, Deed::Rename | Deed::Exchange | Deed::Replace | Deed::Unlink) {
            return;
        }
        if self.sure.len() == SURE {
            self.sure.pop_front();
        }
        let (at_ns, by) = if access.file.in_doubt { (now_ns, Some(doer(access))) } else { (access.boot_ns, None) };
        self.sure.push_back(Sure { file: access.file.id, at_ns, by });
        if !access.file.is_folder || access.file.in_doubt {
            return;
        }
        self.waiting.retain(|doubt| {
            let other = &doubt.access.file;
            other.id != access.file.id || other.path != access.file.path || doubt.last_ns > access.boot_ns
        });
    }
}

impl Pipeline {
    /// It was done to a folder or to what lies in it.
    pub(super) fn doubt(&mut self, mut access: Access) -> Result<()> {
        self.list.resolve_paths(&mut access);
        match self.doubts.add(access, Instant::now()) {
            Some(access) => self.go_on(access),
            None => Ok(()),
        }
    }

    /// What is known of a folder by what was surely done to it.
    pub(super) fn decide_doubts(&mut self, access: &Access) {
        self.doubts.decide(access, boot_ns());
    }

    /// Looks at the folders that are due.
    pub(super) fn look_at_doubts(&mut self) -> Result<()> {
        let due = self.doubts.take_due(Instant::now());
        for mut doubt in self.decided_of(due)? {
            doubt.looks += 1;
            if doubt.due().is_some() {
                self.doubts.waiting.push(doubt);
            }
        }
        self.settle();
        Ok(())
    }

    /// Looks at all that is left for the last time, once what is under way is mostly done.
    pub(super) async fn end_doubts(&mut self) -> Result<()> {
        while self.doubts.waiting.iter().any(|doubt| doubt.looks == 0) {
            self.doubts.due().await;
            self.look_at_doubts()?;
        }
        let left = std::mem::take(&mut self.doubts.waiting);
        self.decided_of(left).map(drop)
    }

    /// Tells those that are no longer in doubt, and gives the others back.
    fn decided_of(&mut self, doubts: Vec<Doubt>) -> Result<Vec<Doubt>> {
        let (mut standing, mut left) = (Vec::new(), Vec::new());
        for mut doubt in doubts {
            if self.stands(&doubt.access) {
                standing.push(doubt);
            } else {
                if doubt.access.deed == Deed::Exchange {
                    // The paths that were asked for may be of what lies in it.
                    doubt.access.second = Fact::NotAsked;
                }
                self.go_on(doubt.access)?;
            }
        }
        for doubt in standing {
            match self.missing_in(&doubt.access) {
                Some(moved) => self.go_on(refused::exchanged(doubt.access, moved))?,
                None => left.push(doubt),
            }
        }
        Ok(left)
    }

    /// What is no longer in a folder by this deed, and is told of nobody.
    fn missing_in(&self, access: &Access) -> Option<Moved> {
        if !matches!(access.deed, Deed::Rename | Deed::Exchange) {
            return None;
        }
        self.list.missing_in(access).into_iter().find(|moved| !self.doubts.has(moved.what.file, moved.looked_ns))
    }

    fn stands(&mut self, access: &Access) -> bool {
        if self.list.left(access).is_some_and(|found_ns| self.doubts.was_elsewhere(access, found_ns)) {
            return true;
        }
        self.list.stands(access, &mut self.session).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot ask the kernel whether a folder is still at its path");
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{KernelPath, tests::Random};

    fn path(path: &[u8]) -> Fact<KernelPath> {
        Fact::Known(KernelPath { bytes: path.to_vec(), cut: false })
    }

    /// What a process did to a folder or in it, at a time since boot.
    fn access(pid: u32, ino: u64, boot_ns: u64) -> Access {
        let mut access = Access { deed: Deed::Rename, boot_ns, ..Random(1).access() };
        (access.process.pid, access.file.id, access.outcome) = (pid, FileId::new(8, ino), Fact::Known(Ok(())));
        (access.file.in_doubt, access.file.is_folder, access.file.path) = (true, true, path(b"/srv/mail"));
        access
    }

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_folder_is_looked_at_soon_and_again_where_the_disk_is_slow() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        assert!(doubts.add(access(1, 7, 0), start).is_none());
        assert!(doubts.take_due(after(start, 19)).is_empty());
        let mut doubt = doubts.take_due(after(start, 20)).pop().expect("due");
        doubt.looks += 1;
        assert_eq!(doubt.due(), Some(after(start, 1_000)));
        doubt.looks += 1;
        assert_eq!(doubt.due(), None, "it was done to what lies in the folder");
    }

    #[test]
    fn who_does_it_again_and_again_puts_no_look_off_and_has_one_behind_the_last() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        for milliseconds in 0..20 {
            assert!(doubts.add(access(1, 7, 0), after(start, milliseconds)).is_none());
        }
        let mut doubt = doubts.take_due(after(start, 20)).pop().expect("due");
        doubt.looks += 1;
        doubts.waiting.push(doubt);
        assert!(doubts.add(access(1, 7, 0), after(start, 999)).is_none());
        assert!(doubts.take_due(after(start, 1_000)).is_empty(), "it may be under way");
        assert_eq!(doubts.take_due(after(start, 1_019)).len(), 1);
    }

    #[test]
    fn each_process_and_each_folder_has_its_own_and_there_is_an_end_to_them() {
        let (mut doubts, start) = (Doubts::default(), Instant::now());
        for pid in 0..u32::try_from(MOST).expect("a number") {
            assert!(doubts.add(access(pid, u64::from(pid % 2), 0), start).is_none());
        }
        assert!(doubts.add(access(u32::MAX, 0, 0), start).is_some(), "it is told as it stands");
        assert_eq!(doubts.waiting.len(), MOST);
    }

    #[test]
    fn what_another_one_surely_did_to_a_folder_in_its_place_was_not_done_before() {
        let renamed = |path: Fact<KernelPath>, boot_ns| {
            let mut access = access(2, 7, boot_ns);
            (access.file.in_doubt, access.file.path) = (false, path);
            access
        };
        let left = |by: &Access| {
            let mut doubts = Doubts::default();
            for ino in [7, 8] {
                assert!(doubts.add(access(1, ino, 10), Instant::now()).is_none());
            }
            doubts.decide(by, 20);
            doubts.waiting.len()
        };
        assert_eq!(left(&renamed(path(b"/srv/mail"), 11)), 1, "it stood at its place");
        assert_eq!(left(&renamed(path(b"/srv/other"), 11)), 2, "somebody had renamed it");
        assert_eq!(left(&renamed(path(b"/srv/mail"), 9)), 2, "that was before");
        assert_eq!(left(&access(2, 7, 11)), 2, "that is in doubt as well");
        let mut refused = renamed(path(b"/srv/mail"), 11);
        refused.outcome = Fact::Known(Err(13));
        assert_eq!(left(&refused), 2, "that was not done");
    }

    #[test]
    fn what_is_done_in_a_folder_after_another_one_renamed_it_is_not_its_renaming() {
        let mut doubts = Doubts::default();
        let renamed = |boot_ns, outcome| {
            let mut access = access(2, 7, boot_ns);
            (access.file.in_doubt, access.outcome) = (false, Fact::Known(outcome));
            access
        };
        doubts.decide(&renamed(10, Err(1)), 10);
        assert!(!doubts.was_elsewhere(&access(1, 7, 11), 5), "it was refused");
        doubts.decide(&renamed(10, Ok(())), 10);
        assert!(doubts.was_elsewhere(&access(1, 7, 11), 5));
        assert!(!doubts.was_elsewhere(&access(1, 8, 11), 5), "another folder");
        assert!(!doubts.was_elsewhere(&access(1, 7, 9), 5), "it was renamed later");
        assert!(!doubts.was_elsewhere(&access(1, 7, 13), 12), "it was found at its place since");
    }

    #[test]
    fn what_is_missing_is_told_of_one_and_when_it_was_back_in_between_of_another() {
        let mut doubts = Doubts::default();
        doubts.decide(&access(1, 7, 9), 10);
        assert!(doubts.has(FileId::new(8, 7), 5), "it was there when that happened");
        assert!(!doubts.has(FileId::new(8, 7), 12), "it was found there since");
        assert!(!doubts.has(FileId::new(8, 8), 5));
        assert!(doubts.add(access(1, 7, 10), Instant::now()).is_none() && doubts.waiting.is_empty(), "told already");
        for (pid, ino, boot_ns) in [(2, 7, 10), (1, 8, 10), (1, 7, 11)] {
            assert!(doubts.add(access(pid, ino, boot_ns), Instant::now()).is_none());
        }
        assert_eq!(doubts.waiting.len(), 3);
    }
}
