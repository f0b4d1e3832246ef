//! One session with the kernel: the object loaded, the process table kept, then one backend live.

use std::{os::fd::AsFd as _, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
    programs::Iter,
};
use dkimwatch_common::{
    identity::Identified,
    limits,
    names::{globals, maps, programs},
    tally::Hook,
    watch::{FileWatch, file_watch},
};
use serde::Serialize;

use super::{
    Backend, BackendChoice, KernelError, Rings, Summaries, Switch, Tally, Unseen, WatchSet,
    backend::{self, Attached},
    canary::Canary,
    identify::{self, Handle},
    links::Links,
    lru,
    object::KERNEL_OBJECT,
    offsets,
    parts::Part,
    pins::Pinned,
    pod,
    ring::Mapped,
};

/// A backend that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Which.
    pub backend: Backend,
    /// Why it does not work; `None`: it reported the canary.
    pub refused: Option<String>,
}

/// A backend, proven live.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// Which.
    pub backend: Backend,
    /// What was tried before it, and it.
    pub attempts: Vec<Attempt>,
    /// The hooks that are attached.
    #[serde(skip)]
    pub hooks: Vec<Hook>,
    /// What it does not see here.
    pub unseen: Vec<Unseen>,
}

/// The iterators, and what each one goes over.
pub(super) const ITERATORS: [(&str, &str); 2] =
    [(programs::ITER_IDENTIFY, "task_file"), (programs::ITER_PROCESSES, "task")];

/// The programs that keep the process table, and their BTF tracepoints, in the order in which they are to be called.
pub(super) const PROCESS_TABLE: [(&str, &str); 4] = [
    (programs::PROCESS_EXEC, "sched_process_exec"),
    (programs::PROCESS_ENVIRONMENT, "sched_process_exec"),
    (programs::PROCESS_FORK, "sched_process_fork"),
    (programs::PROCESS_EXIT, "sched_process_exit"),
];

/// The loaded kernel side. Dropping it detaches everything.
pub struct Session {
    pub(super) ebpf: Ebpf,
    pub(super) btf: Btf,
    pub(super) links: Links,
    /// What outlives the process, once it is pinned.
    pub(super) pinned: Option<Pinned>,
    /// The maps that somebody else needs to read what these hooks tell, once more.
    pub(super) kept: Vec<(&'static str, MapData)>,
    /// Taken by [`Session::rings`].
    rings: Option<[Mapped; 3]>,
    settings: Array<MapData, u32>,
    itself: Array<MapData, pod::Itself>,
    /// Programs that are not needed yet.
    waiting: Vec<&'static Part>,
    /// What is watched.
    pub watch_set: WatchSet,
    /// The hooks' counters.
    pub tally: Tally,
    /// Expected opens that are counted.
    pub summaries: Summaries,
}

impl Session {
    /// Loads the object, starts the process table and fills it with the processes that are there. `log_level` is aya-log's,
    /// 0 for none.
    ///
    /// # Errors
    /// When rights, BTF or a map are missing.
    pub fn open(log_level: u8) -> Result<Self, KernelError> {
        if let Some(sentence) = super::missing_rights() {
            return Err(KernelError::Rights(sentence));
        }
        let offsets::Resolved { offsets, idmap, task_regs, io_uring_cqe, controllers } =
            offsets::resolve(Path::new(offsets::VMLINUX))?;
        let offsets = pod::FieldOffsets(offsets);
        let btf = Btf::from_sys_fs()
            .map_err(|error| KernelError::Btf { path: offsets::VMLINUX.into(), reason: error.to_string() })?;
        let mut loader = EbpfLoader::new();
        let cpus = aya::util::nr_cpus().map_err(|(what, source)| KernelError::Cpus { what, source })?;
        for (table, places) in lru::tables(cpus) {
            loader.map_max_entries(table, places);
        }
        let mut ebpf = loader
            .btf(Some(&btf))
            .override_global(globals::OFFSETS, &offsets, true)
            .override_global(globals::IDMAP, &idmap, true)
            .override_global(globals::TASK_REGS, &task_regs, true)
            .override_global(globals::IO_URING_CQE, &io_uring_cqe, true)
            .override_global(globals::CONTROLLERS, &controllers, true)
            .override_global(globals::LOG_LEVEL, &log_level, true)
            .load(KERNEL_OBJECT)?;

        let watch_set = WatchSet {
            files: take(&mut ebpf, maps::FILES, HashMap::try_from)?,
            dirs: take(&mut ebpf, maps::DIRS, HashMap::try_from)?,
            names: take(&mut ebpf, maps::NAMES, HashMap::try_from)?,
            filter: take(&mut ebpf, maps::FILTER, Array::try_from)?,
            signers: take(&mut ebpf, maps::SIGNERS, HashMap::try_from)?,
            scripts: take(&mut ebpf, maps::SCRIPTS, HashMap::try_from)?,
            libraries: take(&mut ebpf, maps::LIBRARIES, HashMap::try_from)?,
            ways: take(&mut ebpf, maps::WAYS, HashMap::try_from)?,
            backing: take(&mut ebpf, maps::BACKING, HashMap::try_from)?,
            layers: take(&mut ebpf, maps::LAYERS, HashMap::try_from)?,
            routed_anew: false,
        };
        let kept = KEPT.iter().map(|name| Ok((*name, again(&ebpf, name)?))).collect::<Result<_, KernelError>>()?;
        let tally = Tally(take(&mut ebpf, maps::TALLY, PerCpuArray::try_from)?);
        let summaries = Summaries {
            guises: take(&mut ebpf, maps::GUISES, HashMap::try_from)?,
            counts: take(&mut ebpf, maps::SUMMARIES, HashMap::try_from)?,
            switch: Switch::new(take(&mut ebpf, maps::SWITCH, Array::try_from)?),
        };
        let settings = take(&mut ebpf, maps::SETTINGS, Array::try_from)?;
        let itself = take(&mut ebpf, maps::ITSELF, Array::try_from)?;
        let rings = Some([
            ring(&mut ebpf, maps::STRANGER_RING)?,
            ring(&mut ebpf, maps::SIGNER_RING)?,
            ring(&mut ebpf, maps::ATTEMPT_RING)?,
        ]);
        let mut session = Self {
            ebpf,
            btf,
            links: Links::default(),
            pinned: None,
            kept,
            rings,
            settings,
            itself,
            waiting: Vec::new(),
            watch_set,
            tally,
            summaries,
        };
        session.load_iterators()?;
        session.keep_processes()?;
        Ok(session)
    }

    fn load_iterators(&mut self) -> Result<(), KernelError> {
        for (name, kind) in ITERATORS {
            let program = iterator(&mut self.ebpf, name)?;
            program.load(kind, &self.btf).map_err(|error| backend::refused(name, error))?;
        }
        Ok(())
    }

    /// The hooks first, then the processes that were there before them, so that none falls between.
    fn keep_processes(&mut self) -> Result<(), KernelError> {
        for (name, tracepoint) in PROCESS_TABLE {
            backend::attach_btf_tracepoint(&mut self.ebpf, name, tracepoint, &self.btf, &mut self.links)?;
        }
        identify::run(iterator(&mut self.ebpf, programs::ITER_PROCESSES)?, programs::ITER_PROCESSES).map(drop)
    }

    /// Takes processes that run a signer's program, and are older than the watch, for signers: what they have in memory is
    /// watched. Once for each program that has become known.
    ///
    /// # Errors
    /// When the iterator cannot be run.
    pub fn recall_signers(&mut self) -> Result<(), KernelError> {
        if !std::mem::take(&mut self.watch_set.routed_anew) {
            return Ok(());
        }
        identify::run(iterator(&mut self.ebpf, programs::ITER_PROCESSES)?, programs::ITER_PROCESSES).map(drop)
    }

    /// What each handle is to the kernel, in their order; `None` for one that the kernel did not list.
    ///
    /// # Errors
    /// When the iterator cannot be run.
    pub fn identify(&mut self, handles: &[Handle]) -> Result<Vec<Option<Identified>>, KernelError> {
        identify::identify(iterator(&mut self.ebpf, programs::ITER_IDENTIFY)?, handles)
    }

    /// Attaches the first backend that reports a canary. To be called before anything is armed: it empties the canary's
    /// slot in the filter.
    ///
    /// # Errors
    /// When none does: the reasons of each.
    pub fn go_live(&mut self, choice: BackendChoice) -> Result<Live, KernelError> {
        let mut attempts = Vec::new();
        for candidate in choice.candidates() {
            match self.try_backend(*candidate) {
                Ok(()) => {
                    let Attached { hooks, unseen, waiting } =
                        backend::attach_others(*candidate, &mut self.ebpf, &self.btf, &mut self.links);
                    self.waiting = waiting;
                    attempts.push(Attempt { backend: *candidate, refused: None });
                    return Ok(Live { backend: *candidate, attempts, hooks, unseen });
                }
                Err(error) => {
                    tracing::debug!(backend = %candidate, %error, "refused");
                    attempts.push(Attempt { backend: *candidate, refused: Some(error.to_string()) });
                }
            }
        }
        let reasons: Vec<String> = attempts
            .iter()
            .map(|attempt| format!("  {}: {}", attempt.backend, attempt.refused.as_deref().unwrap_or_default()))
            .collect();
        Err(KernelError::NoBackend(reasons.join("\n")))
    }

    /// Something is watched whose data is not read through the page cache: what sees that is attached, where it is not yet.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn see_around_page_cache(&mut self) -> Result<(), KernelError> {
        backend::attach_waiting(&mut self.waiting, &mut self.ebpf, &self.btf, &mut self.links)?;
        self.pin_more()
    }

    /// Tries every backend and leaves none attached; of the first that works, what it does not see.
    pub fn survey(&mut self) -> (Vec<Attempt>, Option<(Backend, Vec<Unseen>)>) {
        let mut attempts = Vec::new();
        let mut chosen = None;
        for candidate in Backend::ALL {
            let refused = match self.try_backend(candidate) {
                Ok(()) => {
                    if chosen.is_none() {
                        let attached = backend::attach_others(candidate, &mut self.ebpf, &self.btf, &mut self.links);
                        chosen = Some((candidate, attached.unseen));
                    }
                    backend::detach(candidate, &mut self.ebpf, &mut self.links);
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            attempts.push(Attempt { backend: candidate, refused });
        }
        (attempts, chosen)
    }

    /// Attaches what a backend cannot do without, and proves it on a canary.
    fn try_backend(&mut self, candidate: Backend) -> Result<(), KernelError> {
        let canary = Canary::new()?;
        let identity = self.identify(&[canary.handle()?])?.into_iter().flatten().next();
        let Some(identity) = identity else { return Err(KernelError::Silent(candidate)) };
        // A duplicate's descriptor names the same file; the canary's own stays open until it is proven.
        let watch = FileWatch { tag: 0, kind: file_watch::CANARY, generation: identity.generation, pad: 0 };
        self.watch_set.arm_file(identity.file, watch)?;
        let via = u32::from(candidate.via() as u16);
        self.settings.set(limits::SETTING_VIA, via, 0).map_err(KernelError::map(maps::SETTINGS))?;
        let mounts = super::host_mount_namespace();
        self.settings.set(limits::SETTING_MOUNTS, mounts, 0).map_err(KernelError::map(maps::SETTINGS))?;
        backend::attach_essential(candidate, &mut self.ebpf, &self.btf, &mut self.links)?;
        let proven = canary.open().map(|()| self.heard_canary());
        self.watch_set.disarm_canary(identity.file)?;
        if proven? {
            return Ok(());
        }
        backend::detach(candidate, &mut self.ebpf, &mut self.links);
        Err(KernelError::Silent(candidate))
    }

    /// Whether a ring holds a canary's record. A hook submits before the open returns, so there is nothing to wait for.
    fn heard_canary(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return false };
        let mut heard = false;
        for ring in rings {
            while let Some(record) = ring.next() {
                heard |= crate::decode::is_canary(record);
            }
            ring.give_back(ring.position());
        }
        heard
    }

    /// Whether a process is this one: its id in the initial pid namespace, and its start in nanoseconds since boot, as records have
    /// them.
    #[must_use]
    pub fn is_itself(&self, pid: u32, start_ns: u64) -> bool {
        self.itself.get(&0, 0).is_ok_and(|itself| itself.0.tgid == pid && itself.0.start == start_ns)
    }

    /// Detaches a backend: its hooks report nothing more.
    pub fn detach(&mut self, backend: Backend) {
        self.detach_pinned();
        backend::detach(backend, &mut self.ebpf, &mut self.links);
    }

    /// Calls that a backend's programs were not asked about, by hook: the kernel does not enter a tracing program that another
    /// task was preempted in (`recursion_misses` in the program's `fdinfo`, 5.12 and later).
    #[must_use]
    pub fn passed_by(&self, backend: Backend) -> Vec<(Hook, u64)> {
        backend::passed_by(backend, &self.ebpf)
    }

    /// The rings, registered with the runtime.
    ///
    /// # Errors
    /// When they were taken before, or cannot be polled.
    pub fn rings(&mut self) -> Result<Rings, KernelError> {
        let rings = self.rings.take().ok_or(KernelError::Contract { kind: "map", name: maps::STRANGER_RING })?;
        Rings::new(rings)
    }

    /// The kernel side's own log.
    ///
    /// # Errors
    /// When the log's map is missing.
    pub fn log(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
    }
}

fn iterator<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Iter, KernelError> {
    backend::program(ebpf, name)?.try_into().map_err(|error| backend::refused(name, error))
}

/// The maps that a successor reads, see [`super::Left`].
pub(super) const KEPT: [&str; 7] = [
    maps::STRANGER_RING,
    maps::SIGNER_RING,
    maps::ATTEMPT_RING,
    maps::TALLY,
    maps::GUISES,
    maps::SUMMARIES,
    maps::SWITCH,
];

/// A second descriptor of a map.
fn again(ebpf: &Ebpf, name: &'static str) -> Result<MapData, KernelError> {
    let Some(Map::RingBuf(map) | Map::PerCpuArray(map) | Map::HashMap(map) | Map::Array(map)) = ebpf.map(name) else {
        return Err(KernelError::Contract { kind: "map", name });
    };
    let fd = map.fd().as_fd().try_clone_to_owned().map_err(KernelError::io("a second descriptor of a map"))?;
    MapData::from_fd(fd).map_err(KernelError::map(name))
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Mapped, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::RingBuf(map)) => Mapped::new(map, name),
        _ => Err(KernelError::Contract { kind: "map", name }),
    }
}

fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    open: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Contract { kind: "map", name })?;
    open(map).map_err(KernelError::map(name))
}
