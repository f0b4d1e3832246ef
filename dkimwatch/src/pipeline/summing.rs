//! Expected traffic in sum: who was judged is counted by the kernel side, and what it counted is told now and then.

use anyhow::{Context as _, Result};
use dkimwatch_common::{limits, watch::Tag};

use super::Pipeline;
use crate::{
    clock::{boot_ns, now},
    judge::JudgedAccess,
    kernel::{CountedBy, KernelError, Summaries, Switch},
    print::State,
    summary::{Book, Counted, Fate, Group, Id},
};

/// Entries from which on those that are over are looked for each second, and not each minute: a server that makes a process for
/// each mail leaves one each.
const MANY: usize = limits::SUMMARIES as usize / 8;

/// What is counted, and by what it is switched.
pub(super) struct Summing {
    book: Book,
    switch: Switch,
    /// An entry was noted since the memo was written.
    noted: bool,
}

impl Summing {
    /// What is counted, and of whom.
    pub(super) const fn book(&self) -> &Book {
        &self.book
    }
}

impl Pipeline {
    /// Has expected opens counted by the kernel side, and tells them in sum.
    ///
    /// # Errors
    /// When the kernel side cannot be told.
    pub fn with_summaries(mut self) -> Result<Self> {
        let switch = self.session.summaries.switch();
        switch.on().context("switch summaries on")?;
        self.summing = Some(Summing { book: Book::default(), switch, noted: false });
        Ok(self)
    }

    /// What expected opens are counted by, if they are: who takes over from this pipeline has each told in full before.
    #[must_use]
    pub fn switch(&self) -> Option<Switch> {
        self.summing.as_ref().map(|summing| summing.switch.clone())
    }

    /// An access was judged. The kernel side counts those like it, if the judge would say the same of each.
    pub(super) fn count_like(&mut self, judged: &JudgedAccess) {
        let Some(summing) = &mut self.summing else { return };
        let Some(group) = Group::of(judged, self.list.policy()) else { return };
        let access = &judged.attributed.access;
        let id = Id::of(access);
        if summing.book.has(&id) {
            // The list has enrolled the file anew since, and the entry is of what it was: another guise gets another entry.
            let entry = self.session.summaries.read(id.key()).ok().flatten();
            let file = (access.file.tag, access.file.watch_kind, access.file.watch_generation);
            if entry.is_some_and(|entry| (entry.tag, entry.kind, entry.generation) != file) {
                self.judge_anew();
            }
            return;
        }
        let counted = match self.session.summaries.is_as_judged(access) {
            Ok(true) => {
                summing.book.note(id, group, access);
                summing.noted = true;
                self.session.summaries.count(id.key(), access)
            }
            other => other,
        };
        match counted {
            Ok(true) => {}
            // It is told in full, then.
            Ok(false) => summing.book.forget(&id),
            Err(error) => {
                summing.book.forget(&id);
                tracing::error!(%error, "expected opens cannot be counted");
            }
        }
    }

    /// The policy has changed, or what it is asked with: whoever was expected is judged anew.
    pub(super) fn judge_anew(&self) {
        if let Some(summing) = &self.summing
            && let Err(error) = summing.switch.judge_anew()
        {
            tracing::error!(%error, "expected opens are counted by a former policy");
        }
    }

    /// Makes room, where there are many entries.
    pub(super) fn clear_summaries(&mut self) -> Result<()> {
        if self.summing.as_ref().is_some_and(|summing| summing.book.len() > MANY) {
            // The memo with so many waits for the minute.
            return self.read_summaries().map_err(Into::into);
        }
        if self.summing.as_mut().is_some_and(|summing| std::mem::take(&mut summing.noted)) {
            self.remember();
        }
        Ok(())
    }

    /// Tells what another watch's hooks counted and nobody told, by that one's book and map. `tag` says what its tags are called now.
    pub(super) fn tell_former(
        &mut self,
        mut book: Book,
        summaries: &Summaries,
        tag: impl Fn(Tag) -> Option<Tag>,
    ) -> Result<()> {
        for CountedBy { key, summary, process } in summaries.all()? {
            let id = Id::of_key(key);
            if !book.has(&id) {
                book.note_former(id, Group::of_former(tag(summary.tag), process, self.list.policy()));
            }
            // Its hooks are detached: all of it belongs to this span.
            book.read(&id, &Counted { summary, span: u64::MAX, goes_on: true }, boot_ns());
        }
        self.tell_book(&mut book)
    }

    /// Tells what was counted since the last time.
    pub(super) fn tell_summaries(&mut self) -> Result<()> {
        self.read_summaries()?;
        let Some(mut book) = self.summing.as_mut().map(|summing| std::mem::take(&mut summing.book)) else {
            return Ok(());
        };
        let told = self.tell_book(&mut book);
        if let Some(summing) = &mut self.summing {
            (summing.book, summing.noted) = (book, false);
        }
        // What was told is not to be told again by whoever comes next.
        self.remember();
        told
    }

    fn tell_book(&mut self, book: &mut Book) -> Result<()> {
        let unix_ns = now();
        for summed in book.close(unix_ns, unix_ns - i128::from(boot_ns())) {
            self.told.expected = self.told.expected.saturating_add(summed.count);
            self.printer.state(&State::Summarised(Box::new(summed))).context("write the event")?;
        }
        Ok(())
    }

    /// Reads what was counted, and removes what is over.
    fn read_summaries(&mut self) -> Result<(), KernelError> {
        let Some(Summing { book, switch, .. }) = &mut self.summing else { return Ok(()) };
        // Before anything is read: what is counted meanwhile begins a span of its own.
        let span = switch.next_span()?;
        let summaries = &mut self.session.summaries;
        for id in book.ids() {
            let looked = boot_ns();
            let goes_on = summaries.goes_on(id.tgid(), id.guise())?;
            let Some(summary) = summaries.read(id.key())? else {
                book.forget(&id);
                continue;
            };
            if book.read(&id, &Counted { summary, span, goes_on }, looked) == Fate::Over {
                summaries.remove(id.key())?;
            }
        }
        Ok(())
    }
}
