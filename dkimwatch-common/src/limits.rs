//! Sizes and capacities that both sides must agree on, each with the reason for its value.

/// Ancestors kept with an access. Eight reaches from a shell's child through sshd to init with room to spare.
pub const ANCESTORS: usize = 8;
/// `UID_GID_MAP_MAX_BASE_EXTENTS` (`include/linux/user_namespace.h`): ranges of an id map that the kernel keeps in it.
pub const ID_EXTENTS: usize = 5;
/// `TASK_COMM_LEN` (`include/linux/sched.h`).
pub const COMM: usize = 16;
/// Path components kept, leaf first. A deeper path is cut at the root end and marked so; the decision never uses it.
pub const PATH_DEPTH: usize = 24;
/// Bytes for one path: components, each followed by a NUL.
pub const PATH_BYTES: usize = 1024;
/// Where the second of two paths as they were asked for begins in `RawExtended::second`.
pub const SECOND_ASKED: usize = PATH_BYTES / 2;
/// `NAME_MAX` and its NUL (`include/uapi/linux/limits.h`).
pub const NAME: usize = 256;
/// Bytes of command line kept, from the start (`mm->arg_start`).
pub const ARGS: usize = 768;
/// Levels of the cgroup path kept, innermost first. Kubernetes nests five deep.
pub const CGROUP_DEPTH: usize = 8;
/// Bytes for the names of those levels, each followed by a NUL.
pub const CGROUP_BYTES: usize = 512;
/// Bytes kept of the path that `execve` was given (`bprm->filename`).
pub const EXEC_PATH: usize = 128;

/// Keys, and files born in watched folders, at once.
pub const WATCHED_FILES: u32 = 16_384;
/// Folders and parents of keys at once.
pub const WATCHED_DIRS: u32 = 4_096;
/// Names awaited in parents of keys.
pub const WATCHED_NAMES: u32 = 16_384;
/// Executables of expected signers.
pub const SIGNERS: u32 = 1_024;
/// Scripts of expected signers.
pub const SCRIPTS: u32 = 1_024;
/// Files of code that are known to be the system's. One that is not kept costs a record each time a signer maps it.
pub const LIBRARIES: u32 = 8_192;
/// Strings of an environment that are looked at, and bytes of each look: a longer string takes several.
pub const ENVIRONMENT: u32 = 256;
/// Live processes whose executable is remembered from exec. 32,768 is the kernel's default `pid_max`; beyond it the
/// identity falls back to `mm->exe_file` and the record says so.
pub const PROCESSES: u32 = 32_768;
/// (process, key) pairs remembered, so that data access after an own open is not reported a second time.
pub const SEEN: u32 = 16_384;
/// Open descriptors of watched files whose opener is remembered; beyond it the least recently used are forgotten, and a
/// reader is then told without the opener.
pub const OPENERS: u32 = 8_192;
/// Descriptors of a process that are looked through for the one by which data was reached, where the hook has none.
pub const DESCRIPTORS: usize = 256;

/// Folders on the ways to what is watched. A way is some five folders deep, and keys share theirs.
pub const WAYS: u32 = 4_096;
/// Refusals remembered, so that one repeated at once is told once.
pub const RECENT: u32 = 4_096;
/// Nanoseconds after which a refusal that repeats itself is told again.
pub const RECENT_NS: u64 = 1_000_000_000;
/// The same of what is in doubt: less than passes until it is looked at, so that one look is behind all that was not told.
pub const DOUBT_NS: u64 = 5_000_000;

/// Watched files and folders whose attributes are kept, to say of a change what they were.
pub const ATTRIBUTES: u32 = WATCHED_FILES + WATCHED_DIRS + WAYS;
/// What system calls are changing at once, up to four things each; beyond it, changes are counted as lost.
pub const CHANGES: u32 = 1_024;
/// Processes whose memory holds a key: signers, their workers, and who has read a key and not ended; beyond it the least
/// recently used are forgotten.
pub const HOLDERS: u32 = 16_384;
/// Files behind loop devices.
pub const BACKING: u32 = 256;
/// Files in the layers below keys on overlays: an overlay has several layers.
pub const LAYERS: u32 = 2 * WATCHED_FILES;

/// Maps, programs and links of the watcher's: of two watches, where one takes over from the other.
pub const OWN: u32 = 2_048;

/// Bytes of the ring for accesses by anybody who is not running a signer's executable.
pub const STRANGER_RING: u32 = 16 << 20;
/// Bytes of the ring for accesses by processes that run a signer's executable, so that they cannot crowd out a stranger.
pub const SIGNER_RING: u32 = 8 << 20;
/// Bytes of the ring for refused attempts, which anybody can make as many of as he likes: a flood of them must not crowd
/// out a theft.
pub const ATTEMPT_RING: u32 = 2 << 20;

/// Deeds that are being done at this moment, beyond which they are counted as lost, and the longest that one may be on its way: an
/// older one was never ended.
pub const PENDING: u32 = 1_024;
/// See [`PENDING`].
pub const PENDING_NS: u64 = 10_000_000_000;
/// Records that are being filled at this moment: one for each CPU, and one for each task that was preempted in the midst of
/// it, where programs can be.
pub const DRAFTS: u32 = 512;
/// Mounts that are looked through for one of the host's that shares with a mount what is mounted on it.
pub const PEERS: usize = 32;

/// Requests of one io_submit(2) that are looked at.
pub const SUBMITTED: u64 = 64;

/// Folders that are remembered above what was mounted in other mount namespaces than the host's, and levels of them.
pub const ELSEWHERE: u32 = 1_024;
/// See [`ELSEWHERE`].
pub const ABOVE: usize = 16;

/// Entries of the settings.
pub const SETTINGS: u32 = 4;
/// Setting: [`crate::record::Via`] of the backend that is tried, for programs that several backends share.
pub const SETTING_VIA: u32 = 0;
/// Setting: the host's mount namespace (`ns.inum`), in which a mount over a key hides it.
pub const SETTING_MOUNTS: u32 = 1;

/// States of signers' processes that are remembered: one a process. Where there is no room, each access is told.
pub const GUISES: u32 = 16_384;
/// Processes and keys whose expected opens are counted and not told one by one; beyond it, they are told.
pub const SUMMARIES: u32 = 16_384;
/// Entries of the switch of summaries, see [`crate::summary::switch`].
pub const SWITCH: u32 = 4;
