//! The maps. Their names are in `dkimwatch_common::names`, which a test holds against the built object.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use dkimwatch_common::{
    exec::ExecImage,
    filter,
    identity::FileId,
    limits,
    record::{RawAttributes, RawExtended},
    summary::{Guise, Summary, SummaryKey},
    tally::COUNTERS,
    watch::{DirWatch, FileWatch, Holder, Itself, NestName, Opener, Refusal, SeenBy, Tag},
};

use crate::{
    change::{Change, Place},
    elsewhere::Above,
    pending::Pending,
};

/// Watched files.
#[map]
pub static FILES: HashMap<FileId, FileWatch> = HashMap::with_max_entries(limits::WATCHED_FILES, 0);

/// Watched folders.
#[map]
pub static DIRS: HashMap<FileId, DirWatch> = HashMap::with_max_entries(limits::WATCHED_DIRS, 0);

/// Names awaited in the parents of keys.
#[map]
pub static NAMES: HashMap<NestName, Tag> = HashMap::with_max_entries(limits::WATCHED_NAMES, 0);

/// One slot per inode number, see `dkimwatch_common::filter`.
#[map]
pub static FILTER: Array<u64> = Array::with_max_entries(filter::SLOTS, 0);

/// Executables of signers: a process that runs one is recorded in a ring of its own.
#[map]
pub static SIGNERS: HashMap<FileId, u32> = HashMap::with_max_entries(limits::SIGNERS, 0);

/// Scripts of signers, by the hash of their paths.
#[map]
pub static SCRIPTS: HashMap<u64, u32> = HashMap::with_max_entries(limits::SCRIPTS, 0);

/// Code that is known to be the system's, with its change time.
#[map]
pub static LIBRARIES: HashMap<FileId, u64> = HashMap::with_max_entries(limits::LIBRARIES, 0);

/// What each process executed.
#[map]
pub static PROCESSES: HashMap<u32, ExecImage> = HashMap::with_max_entries(limits::PROCESSES, 0);

/// Which process reached which file already, and how.
#[map]
pub static SEEN: LruHashMap<SeenBy, u32> = LruHashMap::with_max_entries(limits::SEEN, 0);

/// Who opened a watched file, by the open file.
#[map]
pub static OPENERS: LruHashMap<u64, Opener> = LruHashMap::with_max_entries(limits::OPENERS, 0);

/// Folders that lead to what is watched, with the tag of one such: an open refused at one is always told.
#[map]
pub static WAYS: HashMap<FileId, u32> = HashMap::with_max_entries(limits::WAYS, 0);

/// Folders above what is watched and was mounted there in another mount namespace than the host's, with the tag of that.
#[map]
pub static ELSEWHERE: LruHashMap<Above, Tag> = LruHashMap::with_max_entries(limits::ELSEWHERE, 0);

/// Deeds that are being done, by the thread that does them. Not of the least recently used: such a table can throw out what was put
/// in a moment ago, and tells nobody.
#[map]
pub static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(limits::PENDING, 0);

/// Records that are being filled, by the thread (its `struct task_struct *`) that does so.
#[map]
pub static DRAFTS: HashMap<u64, RawExtended> = HashMap::with_max_entries(limits::DRAFTS, 0);

/// Refusals that were told a moment ago.
#[map]
pub static RECENT: LruHashMap<Refusal, u64> = LruHashMap::with_max_entries(limits::RECENT, 0);

/// Attributes of what is watched, as they were last.
#[map]
pub static ATTRIBUTES: LruHashMap<FileId, RawAttributes> = LruHashMap::with_max_entries(limits::ATTRIBUTES, 0);

/// Changes by the system call that makes them and has not returned. No more than the deeds above.
#[map]
pub static CHANGES: HashMap<Place, Change> = HashMap::with_max_entries(limits::CHANGES, 0);

/// Processes whose memory holds a key.
#[map]
pub static HOLDERS: LruHashMap<u32, Holder> = LruHashMap::with_max_entries(limits::HOLDERS, 0);

/// Files behind loop devices whose file systems hold keys.
#[map]
pub static BACKING: HashMap<FileId, Tag> = HashMap::with_max_entries(limits::BACKING, 0);

/// Files in the layers below keys on overlays, with the overlay's own files.
#[map]
pub static LAYERS: HashMap<FileId, FileId> = HashMap::with_max_entries(limits::LAYERS, 0);

/// Which process the watcher is.
#[map]
pub static ITSELF: Array<Itself> = Array::with_max_entries(1, 0);

/// The watcher's maps, programs and links, by the kernel's address of each: when it was noted.
#[map]
pub static OWN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(limits::OWN, 0);

/// What signers' processes were when they were told of.
#[map]
pub static GUISES: HashMap<u32, Guise> = HashMap::with_max_entries(limits::GUISES, 0);

/// What they are while they are looked at, by the thread (its `struct task_struct *`).
#[map]
pub static DRAWN: HashMap<u64, Guise> = HashMap::with_max_entries(limits::DRAFTS, 0);

/// Expected opens that are counted and not told one by one. Not of the least recently used: a count that made room for
/// another one would be lost.
#[map]
pub static SUMMARIES: HashMap<SummaryKey, Summary> = HashMap::with_max_entries(limits::SUMMARIES, 0);

/// Whether they are, see `dkimwatch_common::summary::switch`.
#[map]
pub static SWITCH: Array<u64> = Array::with_max_entries(limits::SWITCH, 0);

/// Counters per hook and exit.
#[map]
pub static TALLY: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Running numbers per ring.
#[map]
pub static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(3, 0);

/// Accesses by anybody who does not run a signer's executable.
#[map]
pub static STRANGER_RING: RingBuf = RingBuf::with_byte_size(limits::STRANGER_RING, 0);

/// Accesses by processes that run a signer's executable, so that they cannot crowd out a stranger.
#[map]
pub static SIGNER_RING: RingBuf = RingBuf::with_byte_size(limits::SIGNER_RING, 0);

/// Refused attempts, so that a flood of them cannot crowd out a theft.
#[map]
pub static ATTEMPT_RING: RingBuf = RingBuf::with_byte_size(limits::ATTEMPT_RING, 0);

/// What the loader says after the programs are loaded, by `limits::SETTING_*`.
#[map]
pub static SETTINGS: Array<u32> = Array::with_max_entries(limits::SETTINGS, 0);
