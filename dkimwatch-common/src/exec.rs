//! What a process executed, recorded when it did so and kept with the process.

use crate::{identity::FileId, limits};

/// The executable as it was at exec. `mm->exe_file` can be changed later by an unprivileged process
/// (`prctl(PR_SET_MM_MAP)` in a user namespace of its own), so identity is taken from `bprm->file` at
/// `sched_process_exec` and inherited over `sched_process_fork`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecImage {
    /// `task->start_boottime` of the process, nanoseconds: an entry that a reused pid left behind does not match it.
    pub start: u64,
    /// When it was executed, nanoseconds since boot: what a process mapped is known by this of all that were forked from
    /// it. 0 for a process older than the watch.
    pub executed: u64,
    /// The file that was executed (for a script, its interpreter, as the kernel has it).
    pub file: FileId,
    /// `inode->i_ctime`, whole seconds: it changes when the file is overwritten in place.
    pub ctime: u64,
    /// Owner (`inode->i_uid`, initial user namespace).
    pub uid: u32,
    /// Group (`inode->i_gid`).
    pub gid: u32,
    /// `inode->i_mode`.
    pub mode: u32,
    /// `inode->i_nlink`: 0 for a memfd or a deleted file.
    pub nlink: u32,
    /// Mount namespace at exec (`nsproxy->mnt_ns->ns.inum`): a path below means something only there.
    pub mnt_ns: u32,
    /// One of [`source`].
    pub source: u32,
    /// Bytes used in `path`, without a NUL.
    pub path_len: u32,
    /// Things that were noticed, see [`mark`].
    pub marks: u32,
    /// `bprm->filename`, the path that `execve` was given: for a script, the script. Text, not identity.
    pub path: [u8; limits::EXEC_PATH],
}

const _: () = assert!(size_of::<ExecImage>() == 72 + limits::EXEC_PATH);

/// Bits of [`ExecImage::marks`]. All but [`ENTERED`](mark::ENTERED) are only looked for where an expected signer's program is
/// executed.
pub mod mark {
    /// It is a signer's program: from here on, what it maps as code is looked at.
    pub const RECORDED: u32 = 1 << 0;
    /// It, or a process that it was forked from, mapped code that was not known to be the system's: a record tells what.
    pub const UNKNOWN_CODE: u32 = 1 << 1;
    /// `LD_PRELOAD` was set and not empty (ld.so(8)).
    pub const PRELOAD: u32 = 1 << 2;
    /// `LD_AUDIT` was.
    pub const AUDIT: u32 = 1 << 3;
    /// `LD_LIBRARY_PATH` was.
    pub const LIBRARY_PATH: u32 = 1 << 4;
    /// `PYTHONPATH`, `PYTHONHOME`, `PYTHONUSERBASE` or `PYTHONPYCACHEPREFIX` was.
    pub const PYTHON: u32 = 1 << 5;
    /// `PERL5LIB`, `PERLLIB` or `PERL5OPT` was.
    pub const PERL: u32 = 1 << 6;
    /// `LUA_PATH`, `LUA_CPATH` or `LUA_INIT` was.
    pub const LUA: u32 = 1 << 7;
    /// The environment is longer than what was looked at, or could not be read.
    pub const ENVIRONMENT_CUT: u32 = 1 << 8;
    /// It, or a process that it was forked from, was forked into a pid namespace that was there already (setns(2)): it is not
    /// of that one's own tree.
    pub const ENTERED: u32 = 1 << 9;
}

/// How an [`ExecImage`] came to be known.
pub mod source {
    /// Nothing is known.
    pub const NONE: u32 = 0;
    /// Recorded by `sched_process_exec`.
    pub const EXEC: u32 = 1;
    /// Read from `mm->exe_file` when the watch started, for a process older than the watch.
    pub const OLDER_THAN_WATCH: u32 = 2;
    /// Read from `mm->exe_file` at the access, because nothing was recorded (the process table was full).
    pub const AT_ACCESS: u32 = 3;
}
