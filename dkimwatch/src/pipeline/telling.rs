//! What the pipeline says: accesses, the watch's beginning and end, and what was lost; and how many there were of each.

use anyhow::{Context as _, Result};

use super::{HELD, Pipeline};
use crate::{
    clock::now,
    containers::Enrichment,
    decode::DecodeError,
    judge::{JudgedAccess, Verdict},
    print::{EventsLost, Heartbeat, Loss, State, WatchStarted, WatchStopped},
};

impl Pipeline {
    pub(super) fn tell_access(&mut self, judged: &JudgedAccess) -> Result<()> {
        match judged.verdict {
            Verdict::Expected => self.told.expected += 1,
            Verdict::Maintenance => self.told.maintenance += 1,
            Verdict::Unexpected => self.told.unexpected += 1,
        }
        let is_alert = judged.verdict == Verdict::Unexpected;
        if is_alert && judged.attributed.enrichment == Enrichment::Pending && self.followed.len() < HELD {
            self.followed.push_back(judged.attributed.clone());
        }
        self.printer.access(judged).context("write the event")?;
        // Once it is recorded.
        self.count_like(judged);
        Ok(())
    }

    pub(super) fn tell(&mut self, state: State) -> Result<()> {
        self.printer.state(&state).context("write the event")
    }

    pub(super) fn tell_started(&mut self) -> Result<()> {
        let (keys, folders) = self.list.keys_and_folders();
        let signers = self.list.policy().readers.iter().filter(|reader| reader.is_there());
        let started = WatchStarted {
            unix_ns: now(),
            backend: self.live.backend.via(),
            hooks: self.live.hooks.clone(),
            keys,
            folders,
            signers: signers.map(|reader| reader.name.clone()).collect(),
            blind_spots: self.live.unseen.iter().map(|unseen| format!("{}: {}", unseen.id, unseen.text)).collect(),
        };
        self.tell(State::Started(started))
    }

    pub(super) fn tell_undecodable(&mut self, error: &DecodeError) -> Result<()> {
        tracing::error!(%error, "a record could not be decoded");
        let lost = self.losses.undecodable(now());
        self.tell_lost(lost)
    }

    pub(super) fn tell_losses(&mut self) -> Result<()> {
        let lost = self.losses.look(now(), &self.session, self.live.backend)?;
        if lost.is_empty() {
            return Ok(());
        }
        for lost in lost {
            self.tell_lost(lost)?;
        }
        self.remember();
        Ok(())
    }

    pub(super) fn tell_lost(&mut self, lost: EventsLost) -> Result<()> {
        // Most of what passes by is about something else.
        let sum = if lost.why == Loss::PassedBy { &mut self.told.passed_by } else { &mut self.told.lost };
        *sum += lost.count;
        self.tell(State::Lost(lost))
    }

    pub(super) fn tell_stopped(&mut self) -> Result<()> {
        let (unix_ns, ran) = (now(), self.started.elapsed());
        let goes_on = self.session.outlives_us();
        self.tell(State::Stopped(WatchStopped { unix_ns, ran, counts: self.told, goes_on }))
    }

    pub(super) fn tell_heartbeat(&mut self) -> Result<()> {
        let (unix_ns, ran) = (now(), self.started.elapsed());
        self.tell(State::Heartbeat(Heartbeat { unix_ns, ran, counts: self.told }))
    }
}
