//! Counters that the hooks keep per CPU, so that loss is a number and not a silence.

/// A hook, as counted and as named in a record.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `lsm/file_open`.
    LsmFileOpen = 1,
    /// `fexit/security_file_open`.
    FexitFileOpen = 2,
    /// `sys_exit_*` of the open family.
    SysExitOpen = 3,
    /// `tp_btf/mm_filemap_get_pages`: data read through the page cache.
    FilemapGetPages = 4,
    /// `tp_btf/mm_filemap_map_pages`: data mapped.
    FilemapMapPages = 5,
    /// `tp_btf/mm_filemap_fault`: data faulted in.
    FilemapFault = 6,
    /// `security_d_instantiate`: a name got its inode.
    Instantiate = 7,
    /// `security_inode_rename`.
    Rename = 8,
    /// `tp_btf/sched_process_exec`, `_fork`, `_exit`: the process table.
    Process = 9,
    /// `security_file_permission`: data read or written through a descriptor.
    FilePermission = 10,
    /// `security_mmap_file`: a file mapped.
    MmapFile = 11,
    /// `filemap_map_pages`: pages mapped around a fault, where there is no tracepoint for it.
    MapPages = 12,
    /// `filemap_fault`: a page faulted in, where there is no tracepoint for it.
    PageFault = 13,
    /// `tp_btf/io_uring_complete`.
    IoUringComplete = 14,
    /// `path_openat`: an open was refused.
    OpenRefused = 15,
    /// `vfs_unlink`, `vfs_rmdir`.
    Unlink = 16,
    /// `vfs_rename`.
    RenameDone = 17,
    /// `vfs_link`.
    Link = 18,
    /// `notify_change`: mode, owner, size, times.
    NotifyChange = 19,
    /// `vfs_setxattr`, `vfs_removexattr`.
    Xattr = 20,
    /// `vfs_set_acl`, `vfs_remove_acl`.
    Acl = 21,
    /// `vfs_fileattr_set`: inode flags.
    FileAttr = 22,
    /// `attach_recursive_mnt`, `mnt_set_mountpoint`: something was mounted; `path_umount`.
    Mount = 23,
    /// `path_mount`, `security_move_mount`, `move_mount`: something is mounted, in whatever mount namespace.
    MoveMount = 24,
    /// `tp_btf/inode_set_ctime_to_ts` and its kin: an inode changed.
    InodeDirty = 25,
    /// `__ptrace_may_access`.
    PtraceAccess = 26,
    /// `tp_btf/signal_generate`.
    Signal = 27,
    /// `sys_exit_*` of the calls that reach another process's memory.
    SysExitMemory = 28,
    /// `sys_exit_*` of the calls that mount.
    SysExitMount = 29,
    /// `security_mmap_file`, `sys_enter_mmap`: a signer maps code.
    MapCode = 30,
    /// `sys_exit_*` of the open family: an open was refused.
    SysExitRefused = 31,
    /// `sys_exit_*` of the calls that reach data by a descriptor.
    SysExitRead = 32,
    /// `tp_btf/iomap_dio_rw_begin`: data read or written around the page cache.
    DirectRead = 33,
    /// `blkdev_open`, `open_port`, `open_kcore`: a device was opened.
    DeviceOpen = 40,
    /// `security_bpf`: bpf(2) on what is the watcher's.
    Bpf = 41,
    /// `sys_exit_bpf`: the same.
    SysExitBpf = 42,
    /// `security_mmap_file`, `sys_exit_mmap`: a map of the watcher's is mapped.
    OwnMapped = 43,
}

/// All hooks, in order.
pub const HOOKS: &[Hook] = &[
    Hook::LsmFileOpen,
    Hook::FexitFileOpen,
    Hook::SysExitOpen,
    Hook::FilemapGetPages,
    Hook::FilemapMapPages,
    Hook::FilemapFault,
    Hook::Instantiate,
    Hook::Rename,
    Hook::Process,
    Hook::FilePermission,
    Hook::MmapFile,
    Hook::MapPages,
    Hook::PageFault,
    Hook::IoUringComplete,
    Hook::OpenRefused,
    Hook::Unlink,
    Hook::RenameDone,
    Hook::Link,
    Hook::NotifyChange,
    Hook::Xattr,
    Hook::Acl,
    Hook::FileAttr,
    Hook::Mount,
    Hook::MoveMount,
    Hook::InodeDirty,
    Hook::PtraceAccess,
    Hook::Signal,
    Hook::SysExitMemory,
    Hook::SysExitMount,
    Hook::MapCode,
    Hook::SysExitRefused,
    Hook::SysExitRead,
    Hook::DirectRead,
    Hook::DeviceOpen,
    Hook::Bpf,
    Hook::SysExitBpf,
    Hook::OwnMapped,
];

impl Hook {
    /// The program's name as the kernel's own documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LsmFileOpen => "lsm/file_open",
            Self::FexitFileOpen => "fexit/security_file_open",
            Self::SysExitOpen => "tracepoint/sys_exit_open*",
            Self::FilemapGetPages => "tp_btf/mm_filemap_get_pages",
            Self::FilemapMapPages => "tp_btf/mm_filemap_map_pages",
            Self::FilemapFault => "tp_btf/mm_filemap_fault",
            Self::Instantiate => "security_d_instantiate",
            Self::Rename => "security_inode_rename",
            Self::Process => "tp_btf/sched_process_*",
            Self::FilePermission => "security_file_permission",
            Self::MmapFile => "security_mmap_file",
            Self::MapPages => "filemap_map_pages",
            Self::PageFault => "filemap_fault",
            Self::IoUringComplete => "tp_btf/io_uring_complete",
            Self::OpenRefused => "fexit/path_openat",
            Self::Unlink => "vfs_unlink",
            Self::RenameDone => "vfs_rename",
            Self::Link => "vfs_link",
            Self::NotifyChange => "notify_change",
            Self::Xattr => "vfs_setxattr",
            Self::Acl => "vfs_set_acl",
            Self::FileAttr => "vfs_fileattr_set",
            Self::Mount => "attach_recursive_mnt",
            Self::MoveMount => "path_mount",
            Self::InodeDirty => "tp_btf/inode_set_ctime_to_ts",
            Self::PtraceAccess => "__ptrace_may_access",
            Self::Signal => "tp_btf/signal_generate",
            Self::SysExitMemory => "tracepoint/sys_exit_ptrace*",
            Self::MapCode => "mmap of code by a signer",
            Self::SysExitMount => "tracepoint/sys_exit_mount*",
            Self::SysExitRefused => "tracepoint/sys_exit_open* (refused)",
            Self::SysExitRead => "tracepoint/sys_exit_read*",
            Self::DirectRead => "tp_btf/iomap_dio_rw_begin",
            Self::DeviceOpen => "blkdev_open",
            Self::Bpf => "security_bpf",
            Self::SysExitBpf => "tracepoint/sys_exit_bpf",
            Self::OwnMapped => "mmap of a map of the watch",
        }
    }
}

impl TryFrom<u16> for Hook {
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        match HOOKS.iter().find(|hook| **hook as u16 == value) {
            Some(hook) => Ok(*hook),
            None => Err(value),
        }
    }
}

/// How a hook ended. An unrelated file is not counted: that exit is the hot path of the whole host, and the kernel
/// counts it itself (`run_cnt`) when `kernel.bpf_stats_enabled` is set.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Not ours, found out on the first look.
    Unrelated = 0,
    /// The filter let it through, the tables did not.
    FilterMiss = 1,
    /// A record was submitted.
    Submitted = 2,
    /// A record was due and the ring was full: a lost access.
    RingFull = 3,
    /// Told already: data access after the process's own open, or an attempt that was repeated at once.
    AlreadySeen = 4,
    /// A file or folder was enrolled.
    Enrolled = 5,
    /// A table was full.
    TableFull = 6,
    /// An expected open that was counted, to be told in sum.
    Summarised = 7,
}

/// Counters per hook; a hook's counters start at `hook as u32 * EXITS`.
pub const EXITS: u32 = 8;
/// Entries of the counter array.
pub const COUNTERS: u32 = 64 * EXITS;
