//! Accesses of which only a path or a device is known: which key that leads to is asked first.

use anyhow::Result;
use dkimwatch_common::{deed::Deed, identity::FileId, record::Kind, watch::Tag};

use super::Pipeline;
use crate::{
    decode::Access,
    refused::{self, Answer},
};

impl Pipeline {
    /// Something was done to a path.
    pub(super) fn ask_about(&mut self, mut access: Access) -> Result<()> {
        if access.deed == Deed::Exchange {
            // Two names changed places, and no hook had what bears them.
            if let Some(moved) = self.list.exchanged(&access) {
                return self.go_on(refused::exchanged(access, moved));
            }
            // What it was, the paths do not say: they can be too long, or others by now. The folders do.
            for access in self.list.folders_of(&access) {
                self.doubt(access)?;
            }
            // By its new name, something may have become a key.
            access.deed = Deed::Place;
        }
        if access.deed == Deed::Place {
            (access.file.id, access.file.dir) = (FileId::default(), FileId::default());
        }
        let is_mount = matches!(access.deed, Deed::Mount | Deed::Unmount);
        let host = self.list.policy().host_mnt_ns;
        if is_mount && access.process.namespaces.known().is_some_and(|namespaces| namespaces.mnt != host) {
            // Now: what it reaches here may be taken away soon.
            return match refused::propagated(access, self.list.places()) {
                Some(access) => self.go_on(access),
                None => Ok(()),
            };
        }
        if is_mount {
            return match refused::mounted_as_asked(access, self.list.places()) {
                Ok(access) => self.go_on(access),
                Err(access) => {
                    self.refused.ask(*access);
                    Ok(())
                }
            };
        }
        self.refused.ask(access);
        Ok(())
    }

    /// A block device was opened: does it hold a key?
    pub(super) fn take_device(&mut self, mut access: Access) -> Result<()> {
        match self.list.on_device(access.device) {
            Some(tag) => {
                access.file.tag = tag;
                self.go_on(access)
            }
            None => Ok(()),
        }
    }

    /// A refused open, once it is known what its path leads to.
    pub(super) fn take_refused(&mut self, access: Access, answer: &Answer) -> Result<()> {
        self.rings.hold_attempts(self.refused.is_full());
        if *answer == Answer::Undecided {
            tracing::debug!(pid = access.process.pid, "what a refused open asked for could not be found out");
        }
        let (folder, known) = (access.file.dir, access.file.tag != Tag::MAX);
        if access.kind == Kind::Tamper {
            let places = self.list.places();
            let found = match access.deed {
                Deed::Mount | Deed::Unmount => refused::mounted(access, answer, places),
                _ => refused::changed(access, answer, places),
            };
            return match found {
                Some(access) => self.go_on(access),
                None => Ok(()),
            };
        }
        let Some(access) = refused::identified(access, answer, self.list.places()) else { return Ok(()) };
        if !known && folder != FileId::default() {
            // It leads to a key, by a link or a mount that the list does not know of.
            if let Err(error) = self.session.watch_set.leads(folder, access.file.tag) {
                tracing::error!(%error, "cannot note a folder that leads to a key");
            }
        }
        self.go_on(access)
    }
}
