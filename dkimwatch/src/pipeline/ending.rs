//! How a pipeline ends: what was read is told to its end.

use std::time::Duration;

use anyhow::Result;

use super::Pipeline;
use crate::{clock::boot_ns, print::Counts};

/// How long the end of the watch waits for details that are still looked for.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How often it is asked whether everything is written down, and how long at the end.
const LOOK: Duration = Duration::from_millis(2);
/// See [`LOOK`].
const WRITTEN: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Ends, and says what was told.
    pub(super) async fn end(mut self) -> Result<Counts> {
        let goes_on = self.session.outlives_us() && !self.before.is_drawn();
        if goes_on {
            // What comes from now on is for the next watch.
            self.take_the_rest(Some(boot_ns())).await?;
        } else {
            // Nothing comes after this, so that what is in the rings has an end and is told to the end, however slowly.
            self.session.detach(self.live.backend);
            self.take_the_rest(None).await?;
        }
        // What was told without its container's details has a moment more.
        let last = tokio::time::Instant::now() + LAST_LOOK;
        while !self.followed.is_empty() {
            match tokio::time::timeout_at(last, self.enricher.next()).await {
                Ok(name) => self.take_details(&name)?,
                Err(_) => break,
            }
        }
        self.tell_summaries()?;
        self.tell_losses()?;
        if !self.before.is_drawn() {
            self.tell_stopped()?;
        }
        // What is not written down by then stays in the rings, if they stay.
        let _ = tokio::time::timeout(WRITTEN, self.written()).await;
        if !goes_on {
            self.session.remove_pins();
            if let Some(memo) = &self.memo {
                memo.remove();
            }
        }
        Ok(self.told)
    }

    /// Waits until all that was read is written down, and gives it back.
    pub(super) async fn written(&mut self) {
        loop {
            self.settle();
            if self.settling.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells of what the rings hold, and of what is on its way, to the end; of what happened after `until` (nanoseconds since boot) as
    /// far as it was read by then.
    pub(super) async fn take_the_rest(&mut self, until: Option<u64>) -> Result<()> {
        loop {
            let batch = self.rings.drain();
            let is_empty = batch.records.is_empty();
            let youngest = self.take(batch)?;
            while !self.refused.is_idle() {
                let (access, answer) = self.refused.next().await;
                self.take_refused(access, &answer)?;
            }
            // What was refused may have been held back.
            if (is_empty && !self.rings.are_held())
                || until.zip(youngest).is_some_and(|(until, youngest)| youngest > until)
            {
                break;
            }
        }
        self.end_doubts().await?;
        while let Some(last) = self.held.iter().map(|held| held.until).max() {
            tokio::select! {
                answer = self.list.answer() => {
                    self.list.learn(answer);
                    self.tell_held(None)?;
                }
                name = self.enricher.next() => self.take_details(&name)?,
                () = tokio::time::sleep_until(last) => self.tell_held(Some(last))?,
            }
        }
        Ok(())
    }
}
