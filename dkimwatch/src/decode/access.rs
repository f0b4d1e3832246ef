//! The noun of the first stage: one access, as the kernel recorded it.

use bytes::Bytes;
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    record::{Kind, Via},
    tally::Hook,
    watch::Tag,
};

/// A fact of a record: an access is never dropped because one could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// The kernel read it.
    Known(T),
    /// The kernel was asked and could not read it (a swapped-out command line, for instance).
    Unreadable,
    /// Not asked: this kernel or this hook does not have it.
    NotAsked,
}

impl<T> Fact<T> {
    /// The value, where known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unreadable | Self::NotAsked => None,
        }
    }

    /// The same fact of a part of the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(f(value)),
            Self::Unreadable => Fact::Unreadable,
            Self::NotAsked => Fact::NotAsked,
        }
    }
}

/// The ring that a record came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Accesses by anybody else.
    Stranger,
    /// Accesses by processes that run a signer's executable. A routing hint, not a verdict.
    Signer,
    /// Refused attempts, which anybody can make.
    Attempt,
}

/// One access to a watched file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What happened.
    pub kind: Kind,
    /// What was done, where the kind does not say everything.
    pub deed: Deed,
    /// The backend.
    pub via: Via,
    /// The hook.
    pub hook: Hook,
    /// The ring.
    pub ring: Ring,
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`), taken in the hook.
    pub boot_ns: u64,
    /// This CPU's and ring's running number: a gap is a loss.
    pub sequence: u64,
    /// CPU that ran the hook.
    pub cpu: u32,
    /// `Ok` when it was allowed, `Err(errno)` (positive) when it was refused.
    pub outcome: Fact<Result<(), i32>>,
    /// The file.
    pub file: OpenedFile,
    /// The process, as it was at that moment.
    pub process: Process,
    /// Another process that matters: who opened the descriptor that was used, whose memory was reached.
    pub other: Fact<Ancestor>,
    /// The record itself, as evidence; empty where it did not come through a ring.
    pub record: Bytes,
    /// The number of what the process was at this open, see [`dkimwatch_common::summary::Guise`]; 0 where none is kept.
    pub guise: u64,
    /// `other` may dump no core but through a pipe.
    pub core_limited: bool,
    /// `i_rdev` of a device that was opened, in the kernel's encoding; 0 where it is none.
    pub device: u32,
    /// What changed.
    pub change: Fact<Change>,
    /// The signal that was sent to `other`.
    pub signal: Option<Signal>,
    /// The process is the parent of `other`.
    pub by_parent: bool,
    /// A second text: the other path of a rename, a link or a mount, the path as it was asked for, an attribute's name.
    pub second: Fact<KernelPath>,
}

/// A signal, as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number (signal(7)), of x86-64.
    pub number: u32,
    /// `si_code` (sigaction(2)).
    pub code: i32,
}

impl Signal {
    /// The kernel made it, and not the process in whose time it did: a terminal, a timer, want of memory (`SI_KERNEL` and all
    /// that is above zero).
    #[must_use]
    pub const fn is_the_kernels(self) -> bool {
        self.code > 0
    }

    /// As people call it: `SIGTERM`, or `signal 40`.
    #[must_use]
    pub fn name(self) -> String {
        const NAMES: [&str; 31] = [
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
            "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
            "WINCH", "IO", "PWR", "SYS",
        ];
        let at = usize::try_from(self.number).ok().and_then(|number| number.checked_sub(1));
        match at.and_then(|at| NAMES.get(at)) {
            Some(name) => format!("SIG{name}"),
            None => format!("signal {}", self.number),
        }
    }
}

/// A file's attributes, as they were or became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: u64,
    /// `i_mode`.
    pub mode: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
    /// `i_flags`: `S_IMMUTABLE` and the like (`include/linux/fs.h`).
    pub flags: u32,
}

/// What a deed changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub before: Attributes,
    /// After.
    pub after: Attributes,
}

/// The file, as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    /// Identity.
    pub id: FileId,
    /// Identity of the folder it was opened through.
    pub dir: FileId,
    /// `i_generation`: tells a reused inode number from the former file.
    pub generation: u32,
    /// The generation it had when it was enrolled.
    pub watch_generation: u32,
    /// `i_mode`: type and permission bits.
    pub mode: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
    /// Path, from the root of the mount tree it was opened in.
    pub path: Fact<KernelPath>,
    /// The path begins at the root of its file system, not of the mount tree: the hook had no mount.
    pub path_in_fs: bool,
    /// It is a watched folder, not a file in it.
    pub is_folder: bool,
    /// The deed was done to this folder, or to what lies in it: which, its path says a moment later.
    pub in_doubt: bool,
    /// The name was gone (unlinked) already.
    pub unlinked: bool,
    /// The watch list's entry.
    pub tag: Tag,
    /// `dkimwatch_common::watch::file_watch`.
    pub watch_kind: u32,
    /// How it was opened; a data access has no open of its own.
    pub open: Fact<OpenMode>,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMode {
    /// `file->f_flags`, `O_*`.
    pub flags: u32,
    /// `file->f_mode`, `FMODE_*`.
    pub mode: u32,
}

impl OpenMode {
    const FMODE_READ: u32 = 0x1;
    const FMODE_WRITE: u32 = 0x2;
    const FMODE_CREATED: u32 = 0x10_0000;
    const O_TRUNC: u32 = 0o1000;

    /// Opened for reading (`FMODE_READ`).
    #[must_use]
    pub const fn reads(self) -> bool {
        self.mode & Self::FMODE_READ != 0
    }

    /// Opened for writing (`FMODE_WRITE`).
    #[must_use]
    pub const fn writes(self) -> bool {
        self.mode & Self::FMODE_WRITE != 0
    }

    /// This open created the file (`FMODE_CREATED`).
    #[must_use]
    pub const fn created(self) -> bool {
        self.mode & Self::FMODE_CREATED != 0
    }

    /// This open emptied the file (`O_TRUNC`).
    #[must_use]
    pub const fn truncated(self) -> bool {
        self.flags & Self::O_TRUNC != 0
    }
}

/// A path from the kernel: bytes, absolute unless cut. (Or a text that is no path, see [`Access::second`].)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPath {
    /// The path, with a leading `/`, or `…/` when cut.
    pub bytes: Vec<u8>,
    /// The root end is missing: it had more components or bytes than a record keeps. The rest stands behind `…/`.
    pub cut: bool,
}

/// The process that reached the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id, initial pid namespace.
    pub pid: u32,
    /// Thread id, initial pid namespace.
    pub tid: u32,
    /// Process id in its own pid namespace.
    pub inner_pid: Fact<u32>,
    /// Start of the process, nanoseconds since boot: with `pid` an identity that survives pid reuse.
    pub start_ns: u64,
    /// User and group ids and effective capabilities.
    pub creds: Fact<Creds>,
    /// Login uid (`audit_loginuid`); `None` when never set.
    pub login_uid: Fact<Option<u32>>,
    /// Audit session; `None` when never set.
    pub session: Fact<Option<u32>>,
    /// Namespaces, by inode number.
    pub namespaces: Fact<Namespaces>,
    /// What ids mean in its user namespace.
    pub id_maps: Fact<super::IdMaps>,
    /// Cgroup in the unified hierarchy.
    pub cgroup: Fact<Cgroup>,
    /// `comm`: for display only.
    pub comm: Vec<u8>,
    /// The executable as recorded at exec: identity.
    pub image: Fact<Image>,
    /// `mm->exe_file` at the access: what `/proc/PID/exe` would say.
    pub claimed: Fact<ClaimedExe>,
    /// Command line: for display only, the process can rewrite it.
    pub args: Fact<Args>,
    /// A kernel thread.
    pub kernel_thread: bool,
    /// An io_uring worker.
    pub io_worker: bool,
    /// Another process traces it (`task->ptrace`).
    pub traced: bool,
    /// The tracer's process id, initial pid namespace; 0 where there is none.
    pub tracer: u32,
    /// Forebears, parent first.
    pub ancestors: Vec<Ancestor>,
    /// There were more forebears than a record keeps.
    pub ancestors_cut: bool,
}

/// User and group ids, initial user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "credentials(7) explains each")]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub cap_effective: u64,
}

/// Namespace inode numbers, 0 where unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "namespaces(7) explains each")]
pub struct Namespaces {
    pub mnt: u32,
    pub pid: u32,
    pub net: u32,
    pub uts: u32,
    pub ipc: u32,
    pub cgroup: u32,
    pub user: u32,
}

/// A cgroup of the unified hierarchy; of a process at its root one of version 1, where it is not at that one's root, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Inode number of its folder.
    pub id: u64,
    /// Path from the hierarchy's root, outermost first, with a leading `/` (`…/` when cut); `/` is the root.
    pub path: Vec<u8>,
    /// The outer end is missing.
    pub cut: bool,
}

/// How the executable's identity came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Recorded when the process executed it.
    Exec,
    /// Read from `mm->exe_file` when the watch started.
    OlderThanWatch,
    /// Read from `mm->exe_file` at the access: the process may have chosen it.
    AtAccess,
}

/// The executable of a process, as it was at exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Identity of the file (for a script, its interpreter).
    pub id: FileId,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `i_mode`.
    pub mode: u32,
    /// Hard links: 0 for a memfd or a deleted file.
    pub nlink: u32,
    /// `i_ctime` in whole seconds, where this kernel has it: changes when the file is overwritten in place.
    pub ctime: u64,
    /// When it was executed, nanoseconds since boot; with `id` it is what processes forked from each other share. 0 for a
    /// process older than the watch.
    pub executed_ns: u64,
    /// Things noticed at exec and since, see [`dkimwatch_common::exec::mark`].
    pub marks: u32,
    /// Mount namespace at exec.
    pub mnt_ns: u32,
    /// The path that `execve` was given; for a script, the script's. Empty when older than the watch.
    pub path: Vec<u8>,
    /// How it is known.
    pub source: ImageSource,
}

/// What `/proc/PID/exe` would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedExe {
    /// Identity.
    pub id: FileId,
    /// Path, from the root of its mount tree.
    pub path: KernelPath,
    /// The file's name was gone.
    pub unlinked: bool,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The arguments.
    pub list: Vec<Vec<u8>>,
    /// The end is missing.
    pub cut: bool,
}

/// One forebear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Process id, initial pid namespace.
    pub pid: u32,
    /// Start, nanoseconds since boot.
    pub start_ns: u64,
    /// Real user.
    pub uid: u32,
    /// `comm`: for display only.
    pub comm: Vec<u8>,
    /// Executable as recorded at exec, where known.
    pub exe: Option<FileId>,
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn a_signal_has_its_name_or_its_number() {
        let named = |number| Signal { number, code: 0 }.name();
        assert_eq!([1, 9, 15, 19, 31].map(named), ["SIGHUP", "SIGKILL", "SIGTERM", "SIGSTOP", "SIGSYS"]);
        assert_eq!([0, 32, 64].map(named), ["signal 0", "signal 32", "signal 64"]);
    }

    #[test]
    fn who_made_a_signal_is_in_its_code() {
        // SI_USER, SI_TKILL, SI_QUEUE; SI_KERNEL, SEGV_MAPERR.
        assert!([0, -6, -1].iter().all(|code| !Signal { number: 15, code: *code }.is_the_kernels()));
        assert!([0x80, 1].iter().all(|code| Signal { number: 9, code: *code }.is_the_kernels()));
    }
}
