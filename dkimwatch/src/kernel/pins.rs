//! What outlives the process: hooks, rings and counters, pinned below a folder of a BPF file system (`bpffs`), one folder for each
//! session. Whoever comes next reads what the rings hold, and detaches the hooks once its own see.
//!
//! Nothing but that is taken over: the next process loads programs and tables of its own, so that it may be of another version. What it
//! reads are records, and a record says its version.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::links::PinnedLink,
};
use dkimwatch_common::names::maps;
use rustix::fs::{FlockOperation, OFlags, StatFs};

use super::{KernelError, Rings, Session, Summaries, Switch, Tally, links::PinnedLinks, ring::Mapped};
use crate::clock::boot_ns;

/// Where pins are, unless somebody says otherwise.
pub const FOLDER: &str = "/sys/fs/bpf/dkimwatch";

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// What a session has pinned.
pub(super) struct Pinned {
    folder: PathBuf,
    /// In the order in which they were attached.
    links: Vec<PinnedLink>,
    /// Programs that end with the process all the same.
    fleeting: Vec<&'static str>,
}

/// A folder in a session's that says that all of it outlives its process.
pub(super) const WHOLE: &str = "whole";

/// What came of pinning.
#[derive(Debug)]
pub enum Pinning {
    /// All of it outlives the process.
    Whole,
    /// These programs end with it.
    But(Vec<&'static str>),
    /// Nothing is pinned, and everything is attached as it was.
    Not(KernelError),
}

impl Pinned {
    /// Says whether it is all that sees something.
    fn mark(&self) -> Result<(), KernelError> {
        let path = self.folder.join(WHOLE);
        let marked = if self.fleeting.is_empty() { fs::create_dir(&path) } else { fs::remove_dir(&path) };
        match marked {
            Err(error) if !matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                Err(KernelError::Pin { path, reason: error.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// The folder with the sessions' folders, held by one process at a time.
#[derive(Debug)]
pub struct PinFolder {
    path: PathBuf,
    _lock: File,
}

impl PinFolder {
    /// Makes the folder if it is not there, and takes hold of it.
    ///
    /// # Errors
    /// It is on no BPF file system, it is somebody else's, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        let wrong = |reason: String| KernelError::Pin { path: path.to_owned(), reason };
        let io = |error: std::io::Error| wrong(error.to_string());
        let is_new = match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => {
                let mount = "is the BPF file system mounted? mount -t bpf bpf /sys/fs/bpf";
                return Err(wrong(format!("{error}; {mount}")));
            }
        };
        // Anybody may make a link in the usual place, which is everybody's to write: it is not followed.
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits();
        let folder = fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
        let folder = folder.map_err(|error| wrong(format!("{error}: it is to be a folder, and no link to one")))?;
        if !is_bpf_system(&rustix::fs::fstatfs(&folder).map_err(|errno| io(errno.into()))?) {
            if is_new {
                // It is of no use here.
                let _ = fs::remove_dir(path);
            }
            return Err(wrong("no BPF file system is mounted there: mount -t bpf bpf /sys/fs/bpf".to_owned()));
        }
        let meta = folder.metadata().map_err(io)?;
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(wrong(
                "others than root can change it: remove it, or say `chmod 700` and `chown root`".to_owned(),
            ));
        }
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: folder }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(wrong(
                "another dkimwatch that runs holds it: end that first, or name another folder with --pins".to_owned(),
            )),
            Err(errno) => Err(io(errno.into())),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What former sessions have left there, the oldest first. Whatever else is there is not ours, and stays.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn left(&self) -> Result<Vec<PathBuf>, KernelError> {
        sessions(&self.path).map_err(|error| KernelError::Pin { path: self.path.clone(), reason: error.to_string() })
    }
}

impl Session {
    /// Pins all that is attached, and what a successor needs to read it.
    ///
    /// # Errors
    /// When the kernel refuses a hook's pin. That hook is detached by then, and so are those before it: this session does not see what
    /// it should.
    pub fn pin(&mut self, folder: &PinFolder) -> Result<Pinning, KernelError> {
        let path = folder.path.join(format!("{:016x}", boot_ns()));
        // The rings first: hooks without them would be of no use to anybody.
        if let Err(error) = pin_maps(&path, &self.kept) {
            let _ = remove(&path);
            return Ok(Pinning::Not(error));
        }
        match self.links.pin(&mut self.ebpf, &self.btf, &path, 0) {
            Ok(PinnedLinks { links, fleeting }) => {
                let pinning = if fleeting.is_empty() { Pinning::Whole } else { Pinning::But(fleeting.clone()) };
                let pinned = self.pinned.insert(Pinned { folder: path, links, fleeting });
                pinned.mark()?;
                Ok(pinning)
            }
            Err(error) => {
                let _ = remove(&path);
                Err(error)
            }
        }
    }

    /// Pins what was attached since.
    ///
    /// # Errors
    /// As [`Self::pin`], of these hooks.
    pub(super) fn pin_more(&mut self) -> Result<(), KernelError> {
        let Some(pinned) = &mut self.pinned else { return Ok(()) };
        // Behind the others: they are detached in the order of their numbers, from the last one on.
        let more = self.links.pin(&mut self.ebpf, &self.btf, &pinned.folder, pinned.links.len())?;
        pinned.links.extend(more.links);
        pinned.fleeting = more.fleeting;
        pinned.mark()
    }

    /// Whether all that sees something now goes on when this process has ended.
    #[must_use]
    pub fn outlives_us(&self) -> bool {
        self.pinned.as_ref().is_some_and(|pinned| pinned.fleeting.is_empty())
    }

    /// The name of what is pinned, if it is.
    #[must_use]
    pub fn pin_name(&self) -> Option<&str> {
        self.pinned.as_ref()?.folder.file_name()?.to_str()
    }

    /// Removes the hooks' pins, the last attached one's first, which detaches them. The rings' stay.
    pub(super) fn detach_pinned(&mut self) {
        let Some(pinned) = &mut self.pinned else { return };
        while let Some(link) = pinned.links.pop() {
            if let Err(error) = link.unpin() {
                tracing::debug!(%error, "a pin was gone already");
            }
        }
    }

    /// Removes what is left of the pins: what was in the rings is written down.
    pub fn remove_pins(&mut self) {
        let Some(pinned) = self.pinned.take() else { return };
        if let Err(error) = remove(&pinned.folder) {
            tracing::error!(%error, "what was pinned is not removed");
        }
    }
}

/// What another process has left: hooks that still see, and rings that hold what they saw.
pub struct Left {
    folder: PathBuf,
    /// What they saw.
    pub rings: Rings,
    /// What they could not hand over.
    pub tally: Tally,
    /// What they count.
    pub summaries: Summaries,
}

impl Left {
    /// Opens it.
    ///
    /// # Errors
    /// When the rings or counters are not there any more, or are another kernel object's.
    pub fn open(folder: &Path) -> Result<Self, KernelError> {
        let map = |name: &'static str| {
            let path = folder.join(name);
            MapData::from_pin(&path).map_err(|error| KernelError::pin(&path, &error))
        };
        let ring = |name| Mapped::new(map(name)?, name);
        let rings = Rings::new([ring(maps::STRANGER_RING)?, ring(maps::SIGNER_RING)?, ring(maps::ATTEMPT_RING)?])?;
        let tally =
            PerCpuArray::try_from(Map::PerCpuArray(map(maps::TALLY)?)).map_err(KernelError::map(maps::TALLY))?;
        let hash = |name| map(name).map(Map::HashMap);
        let switch = Array::try_from(Map::Array(map(maps::SWITCH)?)).map_err(KernelError::map(maps::SWITCH))?;
        let summaries = Summaries {
            guises: HashMap::try_from(hash(maps::GUISES)?).map_err(KernelError::map(maps::GUISES))?,
            counts: HashMap::try_from(hash(maps::SUMMARIES)?).map_err(KernelError::map(maps::SUMMARIES))?,
            switch: Switch::new(switch),
        };
        Ok(Self { folder: folder.to_owned(), rings, tally: Tally(tally), summaries })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether all hooks went on when the process ended. To be asked before they are detached.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.folder.join(WHOLE).is_dir()
    }

    /// Detaches the hooks, the last attached first. What the rings hold stays.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(&self) -> Result<(), KernelError> {
        detach(&self.folder).map(drop)
    }

    /// Lets go of the rest.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(self) -> Result<(), KernelError> {
        remove(&self.folder)
    }
}

/// Whether a path is on a BPF file system. A link in its last place is followed.
pub(super) fn is_bpf(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| is_bpf_system(&system))
}

fn is_bpf_system(system: &StatFs) -> bool {
    u64::try_from(system.f_type) == Ok(BPF_FS_MAGIC)
}

/// The sessions' folders, the oldest first.
pub(super) fn sessions(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_session(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    // They are named by their time.
    folders.sort();
    Ok(folders)
}

/// The hooks' pins in a session's folder, in the order in which they were attached.
pub(super) fn hooks(session: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let mut hooks = pins(session)?;
    // They are numbered.
    hooks.retain(|pin| {
        pin.file_name().is_some_and(|name| name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
    });
    Ok(hooks)
}

/// Whether a session's folder is called so: by its time, see [`Session::pin`].
fn is_session(name: &OsStr) -> bool {
    name.len() == 16 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// Makes a session's folder, and pins the maps in it.
fn pin_maps(folder: &Path, maps: &[(&'static str, MapData)]) -> Result<(), KernelError> {
    let failed = |error: std::io::Error| KernelError::Pin { path: folder.to_owned(), reason: error.to_string() };
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
    maps.iter().try_for_each(|(name, map)| {
        let pin = folder.join(name);
        map.pin(&pin).map_err(|error| KernelError::pin(&pin, &error))
    })
}

/// Removes the pins of hooks. How many there were.
fn detach(folder: &Path) -> Result<usize, KernelError> {
    let links = hooks(folder)?;
    for link in links.iter().rev() {
        fs::remove_file(link).map_err(|error| KernelError::Pin { path: link.clone(), reason: error.to_string() })?;
    }
    Ok(links.len())
}

/// Removes what another process has left and nobody can read.
///
/// # Errors
/// When a pin cannot be removed.
pub fn discard(folder: &Path) -> Result<(), KernelError> {
    remove(folder)
}

/// Removes a session's pins and its folder.
fn remove(folder: &Path) -> Result<(), KernelError> {
    let _ = fs::remove_dir(folder.join(WHOLE));
    for pin in pins(folder)? {
        fs::remove_file(&pin).map_err(|error| KernelError::Pin { path: pin.clone(), reason: error.to_string() })?;
    }
    fs::remove_dir(folder).map_err(|error| KernelError::Pin { path: folder.to_owned(), reason: error.to_string() })
}

/// What is pinned in a folder, in the order of the names; nothing, where there is none.
fn pins(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let failed = |error: std::io::Error| KernelError::Pin { path: folder.to_owned(), reason: error.to_string() };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut pins =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    pins.sort();
    Ok(pins)
}

/// Removes everything that was left: no hook sees anything any more, and what the rings hold is gone. How many hooks there were.
///
/// # Errors
/// As [`PinFolder::open`], and when a pin cannot be removed.
pub fn unload(path: &Path) -> Result<usize, KernelError> {
    if !path.exists() {
        return Ok(0);
    }
    let folder = PinFolder::open(path)?;
    let mut hooks = 0;
    for left in folder.left()? {
        hooks += detach(&left)?;
        remove(&left)?;
    }
    // Unless something lies there that is not ours.
    let _ = fs::remove_dir(path);
    Ok(hooks)
}
