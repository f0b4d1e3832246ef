//! Taking over from a watch that is no more: what its hooks saw until this one's did goes the same road.

use std::time::Duration;

use anyhow::{Context as _, Result};
use dkimwatch_common::watch::is_own;

use super::{Border, Pipeline, summing::Summing};
use crate::{
    away::{Heritage, Losses, Memo, MemoFile, Recorded, Tags, retag},
    clock::{boot_ns, now},
    decode::{self, Access},
    kernel::{Batch, PinFolder, Pinning, Unseen},
    losses,
    print::{State, WatchResumed},
};

/// How far the clock of the journal's entries may have been set since they were written, nanoseconds.
const A_MINUTE: i128 = 60_000_000_000;

/// How long a journal may take to write down what was left.
const A_WHILE: Duration = Duration::from_secs(60);

/// What is not seen while no dkimwatch runs.
const AWAY: &str = "away";

/// How records of another watch are read.
pub(super) struct Inheritance {
    tags: Option<Tags>,
    recorded: Recorded,
    /// Records that were in the journal already.
    known: u64,
    /// And those that were not.
    read: u64,
}

impl Pipeline {
    /// Lets hooks and rings outlive this process, and keeps a memo of what they mean beside the journal. What cannot be done is a
    /// blind spot, and said.
    ///
    /// # Errors
    /// When a hook was lost over it.
    pub fn pin(&mut self, folder: Result<&PinFolder, &str>, journal: &std::path::Path) -> Result<()> {
        let pinning = folder.map(|folder| self.session.pin(folder));
        let why = match pinning {
            Ok(pinning) => match pinning.context("pin the hooks; --no-pin leaves them as they are")? {
                Pinning::Whole => None,
                Pinning::But(fleeting) => Some(format!(
                    "nothing is seen while dkimwatch run does not run, but for what the rings held when it ended without a word: this kernel cannot pin what perf attaches (it can from 5.15 on), {}",
                    fleeting.join(", ")
                )),
                Pinning::Not(error) => {
                    tracing::error!("{error}: hooks and rings end with this process");
                    Some(format!("nothing is seen while dkimwatch run does not run: {error}"))
                }
            },
            Err(why) => Some(format!("nothing is seen while dkimwatch run does not run: {why}")),
        };
        self.live.unseen.extend(why.map(|text| Unseen { id: AWAY, text }));
        self.memo = self.session.pin_name().map(|name| MemoFile::new(journal, name));
        if self.memo.is_some() {
            // The pins themselves are guarded, and the memo is written.
            self.refresh();
        }
        Ok(())
    }

    /// Takes over what was left, before anything else; `border` is when this watch's own hooks saw everything.
    #[must_use]
    pub fn adopting(mut self, heritage: Vec<Heritage>, border: Border) -> Self {
        self.heritage = heritage;
        self.behind = Some(border);
        self
    }

    /// Writes down what the next watch must know of this one.
    pub(super) fn remember(&mut self) {
        let Some(file) = &mut self.memo else { return };
        let (watched, readers) = self.list.bequest();
        let told = self.losses.told().map(|(hook, lost)| Losses { hook: hook as u32, lost: lost.to_vec() });
        let book = self.summing.as_ref().map(Summing::book).cloned().unwrap_or_default();
        if let Err(error) = file.write(Memo::new(watched, readers, told.collect(), book)) {
            tracing::error!("{error:#}: the next watch will know less of this one");
        }
    }

    /// Has everything that was left told.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        for heritage in std::mem::take(&mut self.heritage) {
            let name = heritage.left.name();
            self.adopt_one(heritage).await.with_context(|| format!("take over from the watch {name}"))?;
        }
        Ok(())
    }

    async fn adopt_one(&mut self, heritage: Heritage) -> Result<()> {
        // Nothing comes after this, so that what is in the rings has an end. It stays there until it is written down.
        let whole = heritage.left.is_whole();
        heritage.left.detach()?;
        let Heritage { mut left, memo, journal } = heritage;
        let first = left.rings.drain();
        let oldest =
            first.records.iter().filter_map(|(_, record)| decode::decode(record).ok()).map(|one| one.boot_ns).min();
        let since = oldest.map_or_else(now, |oldest| now() - i128::from(boot_ns().saturating_sub(oldest)));
        let recorded = journal.recorded(i64::try_from(since - A_MINUTE).unwrap_or(0));
        let last_word = recorded.last_unix_ns().map_or(since, i128::from);

        let told = memo.as_ref().map_or(&[][..], |memo| &memo.told);
        for lost in losses::untold(told, &left.tally.read()?, last_word, now()) {
            self.tell_lost(lost)?;
        }
        let tags = memo.as_ref().map(|memo| self.list.inherit(&memo.watched, &memo.readers));
        let book = memo.map(|memo| memo.book).unwrap_or_default();
        self.refresh();

        // What happens from the border on is seen by this watch's own hooks.
        let border = self.behind.clone().unwrap_or_default();
        std::mem::swap(&mut self.rings, &mut left.rings);
        let own = (self.behind.take(), std::mem::replace(&mut self.before, border), std::mem::take(&mut self.settling));
        self.inheritance = Some(Inheritance { tags, recorded, known: 0, read: 0 });
        let read = self.read_to_the_end(first).await;
        let inheritance = self.inheritance.take();
        (self.behind, self.before, self.settling) = own;
        std::mem::swap(&mut self.rings, &mut left.rings);
        read?;
        let tags = inheritance.as_ref().and_then(|inheritance| inheritance.tags.as_ref());
        self.tell_former(book, &left.summaries, |tag| tags.and_then(|tags| tags.of(tag)))?;

        MemoFile::new(journal.folder(), &left.name()).remove();
        left.remove()?;
        let (count, known) = inheritance.map_or((0, 0), |inheritance| (inheritance.read, inheritance.known));
        self.tell(State::Resumed(WatchResumed { unix_ns: now(), since_unix_ns: last_word, count, known, whole }))
    }

    /// Everything that the rings hold, until it is told and written down.
    async fn read_to_the_end(&mut self, first: Batch) -> Result<()> {
        self.take(first)?;
        self.take_the_rest(None).await?;
        tokio::time::timeout(A_WHILE, self.written()).await.context("the journal does not come to an end with it")
    }

    /// Reads an access of another watch as one of this: whether it is to be told.
    pub(super) fn inherited(&mut self, access: &mut Access) -> bool {
        let Some(inheritance) = &mut self.inheritance else { return true };
        if inheritance.recorded.has(&access.record) {
            inheritance.known += 1;
            return false;
        }
        // The former watch's hooks take this one for anybody: it cuts a torn entry off, and maps their rings.
        if is_own(access.file.tag) && self.session.is_itself(access.process.pid, access.process.start_ns) {
            return false;
        }
        inheritance.read += 1;
        if !inheritance.tags.as_ref().is_some_and(|tags| retag(access, tags)) {
            access.file.tag = self.list.tag_of(access, &self.session);
        }
        true
    }
}
