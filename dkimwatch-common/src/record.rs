//! The raw record: one access as the hook saw it, with everything attribution needs, captured at that moment.
//!
//! A record has a fixed size and is filled in place in the ring: a scratch buffer per CPU would be shared by two tasks
//! where hooks can be preempted (LSM programs on a preemptible kernel), and would blame one for the other. Text that was
//! not filled holds old ring bytes, never meaning: each text has a length, each optional fact a bit.

use crate::{deed::Deed, exec::ExecImage, identity::FileId, limits};

/// Layout version; decode refuses any other.
pub const VERSION: u16 = 4;

/// What happened, as the hook knows it.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file was opened, or an open was refused.
    Open = 1,
    /// Data was reached without an own open (inherited descriptor, io_uring, mapping).
    Data = 2,
    /// A watched file or folder, or its name, was changed, or somebody tried to.
    Tamper = 3,
    /// An open was refused before it had a file: the record has the path as it was asked for.
    Refused = 4,
    /// A device was opened through which a key can be read around its file system.
    Device = 5,
    /// The memory of a process that holds a key was reached.
    Memory = 6,
    /// A signer mapped code: no event, but a fact for the judge.
    Library = 7,
    /// Something was done to the watcher's process, or to its maps, programs or links.
    Itself = 8,
}

/// All kinds, in order.
pub const KINDS: [Kind; 8] =
    [Kind::Open, Kind::Data, Kind::Tamper, Kind::Refused, Kind::Device, Kind::Memory, Kind::Library, Kind::Itself];

impl TryFrom<u16> for Kind {
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        KINDS.into_iter().find(|kind| *kind as u16 == value).ok_or(value)
    }
}

/// The way into the kernel that a record came by.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// BPF LSM programs.
    Lsm = 1,
    /// fentry and fexit programs on the `security_*` functions.
    Fentry = 2,
    /// Syscall tracepoints and BTF tracepoints.
    Tracepoint = 3,
}

impl Via {
    /// The backend's name on the command line and in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl TryFrom<u16> for Via {
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        match value {
            1 => Ok(Self::Lsm),
            2 => Ok(Self::Fentry),
            3 => Ok(Self::Tracepoint),
            other => Err(other),
        }
    }
}

/// Bits of [`RawRecord::known`] and [`RawRecord::unreadable`]: a fact in neither was not asked.
pub mod fact {
    /// `path`.
    pub const PATH: u32 = 1 << 0;
    /// `args`.
    pub const ARGS: u32 = 1 << 1;
    /// `image` (identity of the executable).
    pub const IMAGE: u32 = 1 << 2;
    /// `claimed` and `claimed_path` (`mm->exe_file` at the access).
    pub const CLAIMED: u32 = 1 << 3;
    /// `cgroup_id` and `cgroup`.
    pub const CGROUP: u32 = 1 << 4;
    /// `login_uid` and `session`.
    pub const LOGIN: u32 = 1 << 5;
    /// `namespaces`.
    pub const NAMESPACES: u32 = 1 << 6;
    /// `inner_pid`.
    pub const INNER_PID: u32 = 1 << 7;
    /// `creds`.
    pub const CREDS: u32 = 1 << 8;
    /// The outcome: a hook before the decision does not know it.
    pub const OUTCOME: u32 = 1 << 9;
    /// `flags` and `mode` of the open; a data access has none of its own.
    pub const OPEN_FLAGS: u32 = 1 << 10;
    /// `other` of an extended record.
    pub const OTHER: u32 = 1 << 11;
    /// `change` of an extended record.
    pub const CHANGE: u32 = 1 << 12;
    /// `second` of an extended record.
    pub const SECOND: u32 = 1 << 13;
    /// `uid_map` and `gid_map`.
    pub const ID_MAPS: u32 = 1 << 14;
}

/// Bits of [`RawRecord::marks`]: things that were noticed.
pub mod mark {
    /// The path has more components or bytes than were kept; its root end is missing.
    pub const PATH_CUT: u32 = 1 << 0;
    /// The file's name was gone (unlinked) when it was opened.
    pub const UNLINKED: u32 = 1 << 1;
    /// The command line is longer than what was kept.
    pub const ARGS_CUT: u32 = 1 << 2;
    /// There are more ancestors than were kept.
    pub const ANCESTORS_CUT: u32 = 1 << 3;
    /// The executable's path has more components or bytes than were kept.
    pub const CLAIMED_PATH_CUT: u32 = 1 << 4;
    /// The cgroup path has more levels or bytes than were kept.
    pub const CGROUP_CUT: u32 = 1 << 5;
    /// The reader is a kernel thread (`PF_KTHREAD`).
    pub const KERNEL_THREAD: u32 = 1 << 6;
    /// The reader is an io_uring worker (`PF_IO_WORKER`).
    pub const IO_WORKER: u32 = 1 << 7;
    /// The record went through the signers' ring.
    pub const SIGNER_RING: u32 = 1 << 8;
    /// The file's name was unlinked at the claimed executable.
    pub const CLAIMED_UNLINKED: u32 = 1 << 9;
    /// The record went through the attempts' ring.
    pub const ATTEMPT_RING: u32 = 1 << 10;
    /// `path` begins at the root of its file system: the hook had no mount.
    pub const PATH_IN_FS: u32 = 1 << 11;
    /// `second` is longer than what was kept.
    pub const SECOND_CUT: u32 = 1 << 12;
    /// The process is being traced (`task->ptrace`).
    pub const TRACED: u32 = 1 << 13;
    /// The deed was done to a watched folder, not to a file in it.
    pub const FOLDER: u32 = 1 << 14;
    /// `second` is a path as it was asked for, which begins at `path`: what it leads to is not known yet.
    pub const AS_ASKED: u32 = 1 << 16;
    /// The process is the parent of `other`.
    pub const PARENT: u32 = 1 << 17;
    /// The deed was done to a folder, or to what lies in it: which, its path says a moment later.
    pub const IN_DOUBT: u32 = 1 << 18;
    /// `other` may dump no core but through a pipe (`RLIMIT_CORE` is zero).
    pub const CORE_LIMITED: u32 = 1 << 15;
}

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// [`VERSION`].
    pub version: u16,
    /// [`Kind`].
    pub kind: u16,
    /// Bytes of the record, this header included.
    pub len: u32,
}

/// User and group ids, as the initial user namespace has them, from `task->real_cred` (on overlayfs the effective
/// credentials are the mounter's while the real file is opened).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Creds {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Saved user.
    pub suid: u32,
    /// File-system user: the one permission checks use.
    pub fsuid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// Saved group.
    pub sgid: u32,
    /// File-system group.
    pub fsgid: u32,
    /// Effective capabilities, bit numbers of `capability.h`.
    pub cap_effective: u64,
}

/// Namespace inode numbers (`ns.inum`), 0 where unreadable.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespaces {
    /// Mount.
    pub mnt: u32,
    /// Pid (for children).
    pub pid: u32,
    /// Network.
    pub net: u32,
    /// Host name.
    pub uts: u32,
    /// System V IPC.
    pub ipc: u32,
    /// Cgroup.
    pub cgroup: u32,
    /// User.
    pub user: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

/// A range of ids: `struct uid_gid_extent` (user_namespaces(7)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RawIdExtent {
    /// The first one, as the namespace has it.
    pub first: u32,
    /// The first one, as the initial user namespace has it.
    pub lower_first: u32,
    /// How many.
    pub count: u32,
}

/// What ids mean in a user namespace: `struct uid_gid_map`, where it has few extents.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RawIdMap {
    /// Extents that there are. More than are kept: the kernel keeps them elsewhere, and these are none.
    pub count: u32,
    /// They.
    pub extents: [RawIdExtent; limits::ID_EXTENTS],
}

const _: () = assert!(size_of::<RawIdMap>() == 64);

/// One of the process's forebears.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RawAncestor {
    /// `start_boottime`, nanoseconds.
    pub start: u64,
    /// Executable, as recorded at exec; zero when not known.
    pub exe: FileId,
    /// `tgid`.
    pub pid: u32,
    /// Real user.
    pub uid: u32,
    /// `comm`: for display only.
    pub comm: [u8; limits::COMM],
}

const _: () = assert!(size_of::<RawAncestor>() == 48);

/// One access, as the hook saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawRecord {
    /// Version, kind, length.
    pub header: Header,
    /// `bpf_ktime_get_boot_ns()`: nanoseconds since boot, suspend included.
    pub boot_ns: u64,
    /// Counts this CPU's records for this ring, lost ones included: a gap is a loss.
    pub sequence: u64,
    /// CPU that ran the hook.
    pub cpu: u32,
    /// [`crate::tally::Hook`].
    pub hook: u16,
    /// [`Via`].
    pub via: u16,
    /// Facts that are known, see [`fact`].
    pub known: u32,
    /// Facts that were asked and could not be read.
    pub unreadable: u32,
    /// Things noticed, see [`mark`].
    pub marks: u32,
    /// Outcome: 0, or a negative errno.
    pub outcome: i32,

    /// The file.
    pub file: FileId,
    /// The folder it was opened through.
    pub dir: FileId,
    /// `inode->i_generation`.
    pub file_generation: u32,
    /// The generation it had when it was enrolled ([`crate::watch::FileWatch::generation`]).
    pub watch_generation: u32,
    /// `inode->i_mode`.
    pub file_mode: u32,
    /// Owner, initial user namespace.
    pub file_uid: u32,
    /// Group, initial user namespace.
    pub file_gid: u32,
    /// Hard links.
    pub file_nlink: u32,
    /// [`crate::watch::file_watch`]: why it is watched.
    pub watch_kind: u32,
    /// The watch list's entry.
    pub watch_tag: u32,
    /// `file->f_flags`: `O_*`.
    pub open_flags: u32,
    /// `file->f_mode`: `FMODE_*`.
    pub open_mode: u32,

    /// Process id, initial pid namespace (`task->tgid`).
    pub tgid: u32,
    /// Thread id, initial pid namespace (`task->pid`).
    pub tid: u32,
    /// Process id in its own pid namespace.
    pub inner_pid: u32,
    /// Process id of its tracer, where [`mark::TRACED`].
    pub tracer: u32,
    /// Start of the process (its first thread), nanoseconds since boot.
    pub start: u64,
    /// `audit_loginuid`, `u32::MAX` when never set.
    pub login_uid: u32,
    /// `audit_sessionid`, `u32::MAX` when never set.
    pub session: u32,
    /// User and group ids.
    pub creds: Creds,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// User ids in its user namespace.
    pub uid_map: RawIdMap,
    /// Group ids there.
    pub gid_map: RawIdMap,
    /// `kernfs_node->id` of the cgroup in the unified hierarchy: the inode number of its folder.
    pub cgroup_id: u64,
    /// The number of what the process was at this open ([`crate::summary::Guise`]); 0 where that is not kept.
    pub guise: u64,
    /// `comm` of the thread: for display only.
    pub comm: [u8; limits::COMM],
    /// The executable as recorded at exec.
    pub image: ExecImage,
    /// `mm->exe_file` at the access: what `/proc/PID/exe` would say, which the process can change.
    pub claimed: FileId,

    /// Entries used in `ancestors`.
    pub ancestor_count: u32,
    /// Bytes used in `path`.
    pub path_len: u32,
    /// Bytes used in `claimed_path`.
    pub claimed_path_len: u32,
    /// Bytes used in `args`.
    pub args_len: u32,
    /// Bytes used in `cgroup`.
    pub cgroup_len: u32,
    /// [`Deed`].
    pub deed: u32,
    /// Forebears, parent first.
    pub ancestors: [RawAncestor; limits::ANCESTORS],
    /// The file's path as opened: components, leaf first, each followed by a NUL, up to the root of its mount tree.
    pub path: [u8; limits::PATH_BYTES],
    /// The path of `mm->exe_file`, in the same form.
    pub claimed_path: [u8; limits::PATH_BYTES],
    /// The command line: arguments, each followed by a NUL.
    pub args: [u8; limits::ARGS],
    /// Cgroup names, innermost first, each followed by a NUL; the root has none.
    pub cgroup: [u8; limits::CGROUP_BYTES],
}

impl RawRecord {
    /// What `deed` holds where the kind says everything.
    pub const NO_DEED: u32 = Deed::None as u32;
}

/// A file's attributes, as they were or became.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawAttributes {
    /// `inode->i_size`, bytes.
    pub size: u64,
    /// `inode->i_mode`.
    pub mode: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
    /// `inode->i_flags`: `S_IMMUTABLE` and the like.
    pub flags: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<RawAttributes>() == 32);

/// What a deed changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawChange {
    /// Before.
    pub before: RawAttributes,
    /// After.
    pub after: RawAttributes,
}

/// A record of something other than an open: what an open's has, and more.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawExtended {
    /// Who, what and when.
    pub record: RawRecord,
    /// Another process that matters: who opened the descriptor, whose memory it was.
    pub other: RawAncestor,
    /// What changed.
    pub change: RawChange,
    /// Bytes used in `second`.
    pub second_len: u32,
    /// `inode->i_rdev` of a device that was opened, the kernel's encoding; 0 where it is none.
    pub device: u32,
    /// The number of a signal that was sent to `other` (signal(7)); 0 where none was.
    pub signal: u32,
    /// Its `si_code` (sigaction(2)): who made it.
    pub signal_code: i32,
    /// A second text: a path, in the form of `path`, where [`Deed::second_is_path`], else as it is (a path as it was
    /// asked for, the name of an extended attribute).
    pub second: [u8; limits::PATH_BYTES],
}

const _: () = assert!(size_of::<Header>() == 8);
const _: () = assert!(size_of::<RawExtended>().is_multiple_of(8));
const _: () = assert!(size_of::<Creds>() == 40);
const _: () = assert!(size_of::<Namespaces>() == 32);
const _: () = assert!(size_of::<RawRecord>().is_multiple_of(8));
// Below one page, so that a 16 MiB ring holds four thousand accesses.
const _: () = assert!(size_of::<RawRecord>() <= 4608);
