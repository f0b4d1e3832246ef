//! Expected opens that the kernel side counts: switched on and off, judged, read.

use std::{cell::RefCell, rc::Rc};

use aya::maps::{Array, HashMap, MapData, MapError};
use dkimwatch_common::{
    identity::FileId,
    names::maps,
    summary::{Guise, Summary, SummaryKey, switch},
    watch::Tag,
};

use super::{KernelError, pod};
use crate::decode::Access;

/// The kernel side's counting of expected opens. It begins switched off.
pub struct Summaries {
    pub(super) guises: HashMap<MapData, u32, pod::Guise>,
    pub(super) counts: HashMap<MapData, pod::SummaryKey, pod::Summary>,
    pub(super) switch: Switch,
}

/// An entry of what is counted, as it lies in the kernel.
#[derive(Clone, Copy, Debug)]
pub struct CountedBy {
    /// Whose opens of what.
    pub key: SummaryKey,
    /// How many.
    pub summary: Summary,
    /// Real uid (initial user namespace) and program (`mm->exe_file`) of the process, where that is still there.
    pub process: Option<(u32, FileId)>,
}

/// What it is switched by, for more than one hand.
#[derive(Clone)]
pub struct Switch(Rc<RefCell<Array<MapData, u64>>>);

impl Switch {
    pub(super) fn new(map: Array<MapData, u64>) -> Self {
        Self(Rc::new(RefCell::new(map)))
    }

    /// Lets opens be counted, of whoever is judged from now on.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn on(&self) -> Result<(), KernelError> {
        // Whoever counted by this map before, judged by another policy.
        self.judge_anew()?;
        self.set(switch::ON, 1)
    }

    /// Has every open told in full from now on.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn off(&self) -> Result<(), KernelError> {
        self.set(switch::ON, 0)
    }

    /// Another policy judges from now on: nobody is counted whom it has not judged.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn judge_anew(&self) -> Result<(), KernelError> {
        let policy = self.at(switch::POLICY)?;
        self.set(switch::POLICY, policy.wrapping_add(1))
    }

    /// Begins another span, and returns the number of the one that has ended.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn next_span(&self) -> Result<u64, KernelError> {
        let span = self.at(switch::SPAN)?;
        self.set(switch::SPAN, span.wrapping_add(1))?;
        Ok(span)
    }

    /// The number of the policy that judges.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn policy(&self) -> Result<u64, KernelError> {
        self.at(switch::POLICY)
    }

    fn at(&self, which: u32) -> Result<u64, KernelError> {
        self.0.borrow().get(&which, 0).map_err(KernelError::map(maps::SWITCH))
    }

    fn set(&self, which: u32, value: u64) -> Result<(), KernelError> {
        self.0.borrow_mut().set(which, value, 0).map_err(KernelError::map(maps::SWITCH))
    }
}

impl Summaries {
    /// What it is switched by.
    #[must_use]
    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }

    /// Whether the process of an access is known by the guise in its record, still is what the record says, and was judged
    /// by the policy of now.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn is_as_judged(&self, access: &Access) -> Result<bool, KernelError> {
        let Some(guise) = self.guise(access.process.pid)? else { return Ok(false) };
        Ok(guise.number == access.guise && guise.policy == self.switch.policy()? && is_of(&guise, access))
    }

    /// Counts further opens like this one. `false` where (`E2BIG`) there is no room for it: they are told in full, then.
    ///
    /// # Errors
    /// When the map refuses for another reason.
    pub fn count(&mut self, key: SummaryKey, access: &Access) -> Result<bool, KernelError> {
        let (tag, kind): (Tag, u32) = (access.file.tag, access.file.watch_kind);
        let summary = Summary {
            // A span that is none yet: the first one that is counted is the first of its span.
            span: u64::MAX,
            tag,
            kind,
            generation: access.file.watch_generation,
            ..Summary::default()
        };
        // `BPF_NOEXIST`: what was counted is never written over.
        const NOEXIST: u64 = 1;
        match self.counts.insert(pod::SummaryKey(key), pod::Summary(summary), NOEXIST) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::ArgumentListTooLong => {
                Ok(false)
            }
            Err(error) => Err(KernelError::map(maps::SUMMARIES)(error)),
        }
    }

    /// What was counted; `None` where there is no such entry.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn read(&self, key: SummaryKey) -> Result<Option<Summary>, KernelError> {
        found(self.counts.get(&pod::SummaryKey(key), 0), maps::SUMMARIES).map(|found| found.map(|found| found.0))
    }

    /// All that is counted, and of whom: the user and the program that a process has said it is, where it still is there.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn all(&self) -> Result<Vec<CountedBy>, KernelError> {
        let mut all = Vec::new();
        for entry in self.counts.iter() {
            let (key, summary) = entry.map_err(KernelError::map(maps::SUMMARIES))?;
            let guise = self.guise(key.0.tgid)?.filter(|guise| guise.number == key.0.guise);
            let process = guise.map(|guise| (guise.creds.uid, guise.claimed));
            all.push(CountedBy { key: key.0, summary: summary.0, process });
        }
        Ok(all)
    }

    /// Whether a process still has a guise. Where it has not, its opens in that one are no longer counted, but for one that is
    /// being counted at this moment.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn goes_on(&self, tgid: u32, guise: u64) -> Result<bool, KernelError> {
        Ok(self.guise(tgid)?.is_some_and(|known| known.number == guise))
    }

    /// Removes an entry that is over.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn remove(&mut self, key: SummaryKey) -> Result<(), KernelError> {
        found(self.counts.remove(&pod::SummaryKey(key)), maps::SUMMARIES).map(drop)
    }

    fn guise(&self, tgid: u32) -> Result<Option<Guise>, KernelError> {
        found(self.guises.get(&tgid, 0), maps::GUISES).map(|found| found.map(|found| found.0))
    }
}

fn found<T>(result: Result<T, MapError>, map: &'static str) -> Result<Option<T>, KernelError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KernelError::map(map)(error)),
    }
}

/// Whether a record says of its process what the guise says. Between the one and the other, somebody may have moved it to another
/// control group.
fn is_of(guise: &Guise, access: &Access) -> bool {
    let process = &access.process;
    let (Some(creds), Some(spaces)) = (process.creds.known(), process.namespaces.known()) else { return false };
    let (Some(cgroup), Some(claimed), Some(image)) =
        (process.cgroup.known(), process.claimed.known(), process.image.known())
    else {
        return false;
    };
    let (now, kept) = (&guise.creds, &guise.namespaces);
    let ids = [creds.uid, creds.euid, creds.suid, creds.fsuid, creds.gid, creds.egid, creds.sgid, creds.fsgid];
    let namespaces = [spaces.mnt, spaces.pid, spaces.net, spaces.uts, spaces.ipc, spaces.cgroup, spaces.user];
    ids == [now.uid, now.euid, now.suid, now.fsuid, now.gid, now.egid, now.sgid, now.fsgid]
        && creds.cap_effective == now.cap_effective
        && namespaces == [kept.mnt, kept.pid, kept.net, kept.uts, kept.ipc, kept.cgroup, kept.user]
        && guise.start == process.start_ns
        && guise.cgroup == cgroup.id
        && guise.claimed == claimed.id
        && guise.executed == image.executed_ns
        && guise.marks == image.marks
}
