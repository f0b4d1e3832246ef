//! Names of maps, programs and globals, once. A test opens the built object and checks them both ways.

/// Maps.
pub mod maps {
    /// Watched files: `FileId` → `FileWatch`.
    pub const FILES: &str = "FILES";
    /// Watched folders: `FileId` → `DirWatch`.
    pub const DIRS: &str = "DIRS";
    /// Awaited names: `NestName` → tag.
    pub const NAMES: &str = "NAMES";
    /// One bit per watched inode number.
    pub const FILTER: &str = "FILTER";
    /// Executables of signers: `FileId` → 1.
    pub const SIGNERS: &str = "SIGNERS";
    /// Scripts of signers: [`crate::filter::name_hash`] of the path → 1.
    pub const SCRIPTS: &str = "SCRIPTS";
    /// Code that is known to be the system's: `FileId` → change time.
    pub const LIBRARIES: &str = "LIBRARIES";
    /// The process table: tgid → `ExecImage`.
    pub const PROCESSES: &str = "PROCESSES";
    /// `SeenBy` → 1.
    pub const SEEN: &str = "SEEN";
    /// `struct file *` → `Opener`.
    pub const OPENERS: &str = "OPENERS";
    /// Per-CPU counters, see [`crate::tally`].
    pub const TALLY: &str = "TALLY";
    /// Per-CPU, per-ring sequence numbers.
    pub const SEQUENCE: &str = "SEQUENCE";
    /// Accesses by strangers.
    pub const STRANGER_RING: &str = "STRANGER_RING";
    /// Accesses by processes that run a signer's executable.
    pub const SIGNER_RING: &str = "SIGNER_RING";
    /// Refused attempts.
    pub const ATTEMPT_RING: &str = "ATTEMPT_RING";
    /// Folders that lead to what is watched: `FileId` → the tag of one such.
    pub const WAYS: &str = "WAYS";
    /// Folders above what is mounted in another mount namespace, with the tag of that.
    pub const ELSEWHERE: &str = "ELSEWHERE";
    /// Deeds that are being done, by thread.
    pub const PENDING: &str = "PENDING";
    /// `Refusal` → when it was told last.
    pub const RECENT: &str = "RECENT";
    /// Attributes of what is watched, as they were last: `FileId` → `RawAttributes`.
    pub const ATTRIBUTES: &str = "ATTRIBUTES";
    /// Changes by the system call that makes them and has not returned.
    pub const CHANGES: &str = "CHANGES";
    /// Records that are being filled, by thread.
    pub const DRAFTS: &str = "DRAFTS";
    /// Processes whose memory holds a key: tgid → `Holder`.
    pub const HOLDERS: &str = "HOLDERS";
    /// Files behind loop devices: `FileId` → tag.
    pub const BACKING: &str = "BACKING";
    /// Files in the layers below keys on overlays: `FileId` → the overlay's `FileId`.
    pub const LAYERS: &str = "LAYERS";
    /// Which process the watcher is: one `Itself`.
    pub const ITSELF: &str = "ITSELF";
    /// The watcher's maps, programs and links: the kernel's address of each → when it was noted.
    pub const OWN: &str = "OWN";
    /// What signers' processes were when they were told of: tgid → `Guise`.
    pub const GUISES: &str = "GUISES";
    /// What they are while they are looked at, by thread.
    pub const DRAWN: &str = "DRAWN";
    /// Expected opens that are counted and not told one by one: `SummaryKey` → `Summary`.
    pub const SUMMARIES: &str = "SUMMARIES";
    /// Whether that is done, and since when, see [`crate::summary::switch`].
    pub const SWITCH: &str = "SWITCH";
    /// What the loader tells the programs after they are loaded, see [`crate::limits::SETTINGS`].
    pub const SETTINGS: &str = "SETTINGS";
    /// All of them.
    pub const ALL: &[&str] = &[
        SETTINGS,
        FILES,
        DIRS,
        NAMES,
        FILTER,
        SIGNERS,
        SCRIPTS,
        LIBRARIES,
        PROCESSES,
        SEEN,
        OPENERS,
        WAYS,
        ELSEWHERE,
        PENDING,
        RECENT,
        ATTRIBUTES,
        CHANGES,
        DRAFTS,
        HOLDERS,
        BACKING,
        LAYERS,
        ITSELF,
        OWN,
        GUISES,
        DRAWN,
        SUMMARIES,
        SWITCH,
        TALLY,
        SEQUENCE,
        STRANGER_RING,
        SIGNER_RING,
        ATTEMPT_RING,
    ];
}

/// Read-only globals.
pub mod globals {
    /// [`crate::offsets::Offsets`].
    pub const OFFSETS: &str = "OFFSETS";
    /// 1 where the kernel's `vfs_*` functions take a mount's id map first (5.12), see `dkimwatch::kernel`.
    pub const IDMAP: &str = "IDMAP";
    /// 1 where the tracepoint `io_uring_complete` is given the completion itself (6.14), see `dkimwatch::kernel`.
    pub const IO_URING_CQE: &str = "IO_URING_CQE";
    /// 1 where `bpf_task_pt_regs()` is a helper (5.15).
    pub const TASK_REGS: &str = "TASK_REGS";
    /// The controllers whose hierarchies of version 1 may know a container that the unified one does not, see
    /// `dkimwatch::kernel`.
    pub const CONTROLLERS: &str = "CONTROLLERS";
    /// aya-log's level.
    pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
}

/// Programs.
pub mod programs {
    /// `lsm/file_open`.
    pub const LSM_FILE_OPEN: &str = "lsm_file_open";
    /// `lsm/d_instantiate`.
    pub const LSM_D_INSTANTIATE: &str = "lsm_d_instantiate";
    /// `lsm/inode_rename`.
    pub const LSM_INODE_RENAME: &str = "lsm_inode_rename";
    /// `fexit/security_file_open`.
    pub const FEXIT_FILE_OPEN: &str = "fexit_file_open";
    /// `fentry/security_d_instantiate`.
    pub const FENTRY_D_INSTANTIATE: &str = "fentry_d_instantiate";
    /// `fentry/security_inode_rename`.
    pub const FENTRY_INODE_RENAME: &str = "fentry_inode_rename";
    /// `tracepoint/syscalls/sys_exit_*` of the open family: one program, attached to each.
    pub const SYS_EXIT_OPEN: &str = "sys_exit_open";
    /// `fexit/path_openat`: opens that were refused.
    pub const FEXIT_PATH_OPENAT: &str = "fexit_path_openat";
    /// `tracepoint/syscalls/sys_exit_*` of the open family: opens that were refused.
    pub const SYS_EXIT_REFUSED: &str = "sys_exit_refused";
    /// `tp_btf/mm_filemap_get_pages`.
    pub const FILEMAP_GET_PAGES: &str = "mm_filemap_get_pages";
    /// `tp_btf/mm_filemap_map_pages`.
    pub const FILEMAP_MAP_PAGES: &str = "mm_filemap_map_pages";
    /// `tp_btf/mm_filemap_fault`.
    pub const FILEMAP_FAULT: &str = "mm_filemap_fault";
    /// `tracepoint/syscalls/sys_exit_*` of the calls that read from a descriptor.
    pub const SYS_EXIT_READ: &str = "sys_exit_read";
    /// `tracepoint/syscalls/sys_exit_mmap`: a descriptor was mapped.
    pub const SYS_EXIT_MAP: &str = "sys_exit_map";
    /// `tracepoint/syscalls/sys_exit_ioctl`: files share extents, or are compared.
    pub const SYS_EXIT_SHARE: &str = "sys_exit_share";
    /// `tracepoint/syscalls/sys_exit_io_submit`: reads by libaio.
    pub const SYS_EXIT_SUBMIT: &str = "sys_exit_submit";
    /// `tp_btf/iomap_dio_rw_begin`.
    pub const DIRECT_READ: &str = "iomap_dio_rw_begin";
    /// `lsm/mmap_file`: a signer maps code.
    pub const LSM_MAP_CODE: &str = "lsm_map_code";
    /// `fentry/security_mmap_file`: a signer maps code.
    pub const FENTRY_MAP_CODE: &str = "fentry_map_code";
    /// `fentry/security_file_mprotect`: a signer makes code of what it has mapped.
    pub const FENTRY_PROTECT_CODE: &str = "fentry_protect_code";
    /// `tracepoint/syscalls/sys_enter_mmap`: a signer maps code.
    pub const SYS_ENTER_MAP_CODE: &str = "sys_enter_map_code";
    /// `tp_btf/io_uring_complete`.
    pub const IO_URING_COMPLETE: &str = "io_uring_complete";
    /// `tp_btf/inode_set_ctime_to_ts`: an inode changed.
    pub const CTIME_SET: &str = "inode_set_ctime_to_ts";
    /// `tp_btf/ctime_ns_xchg`: an inode changed.
    pub const CTIME_EXCHANGED: &str = "ctime_ns_xchg";
    /// `tp_btf/ctime_xchg_skip`: an inode changed again.
    pub const CTIME_KEPT: &str = "ctime_xchg_skip";
    /// `raw_tp/ext4_mark_inode_dirty`: an inode changed.
    pub const EXT4_DIRTY: &str = "ext4_mark_inode_dirty";
    /// `tracepoint/syscalls/sys_exit_*` of the calls that change a file: one program, attached to each.
    pub const SYS_EXIT_CHANGE: &str = "sys_exit_change";
    /// `tracepoint/syscalls/sys_exit_*` of the calls that mount.
    pub const SYS_EXIT_MOUNT: &str = "sys_exit_mount";
    /// `fexit/__ptrace_may_access`: one process wants another one's memory.
    pub const FEXIT_PTRACE_ACCESS: &str = "fexit_ptrace_access";
    /// `fexit/security_ptrace_traceme`: a process gives its memory to its parent.
    pub const FEXIT_TRACEME: &str = "fexit_traceme";
    /// `tp_btf/sched_process_exec`: a signer's program is executed by who is traced.
    pub const EXEC_TRACED: &str = "sched_process_traced";
    /// `tp_btf/signal_generate`: a signal that dumps core.
    pub const SIGNAL_GENERATE: &str = "signal_generate";
    /// `tp_btf/signal_generate`: a signal to the watcher.
    pub const SIGNAL_TO_ITSELF: &str = "signal_to_itself";
    /// `fentry/security_bpf`: bpf(2) on what is the watcher's.
    pub const FENTRY_BPF: &str = "fentry_bpf";
    /// `tracepoint/syscalls/sys_exit_bpf`: the same.
    pub const SYS_EXIT_BPF: &str = "sys_exit_bpf";
    /// `fentry/security_mmap_file`: a map of the watcher's is mapped.
    pub const FENTRY_OWN_MAPPED: &str = "fentry_own_mapped";
    /// `tracepoint/syscalls/sys_exit_mmap`: the same.
    pub const SYS_EXIT_OWN_MAPPED: &str = "sys_exit_own_mapped";
    /// `tracepoint/syscalls/sys_exit_*` of the calls that reach another process's memory.
    pub const SYS_EXIT_MEMORY: &str = "sys_exit_memory";
    /// `fexit/blkdev_open`.
    pub const FEXIT_BLKDEV_OPEN: &str = "fexit_blkdev_open";
    /// `fexit/open_port`: `/dev/mem` and its kin.
    pub const FEXIT_OPEN_PORT: &str = "fexit_open_port";
    /// `fexit/open_kcore`.
    pub const FEXIT_OPEN_KCORE: &str = "fexit_open_kcore";
    /// `fentry/security_file_permission`.
    pub const FENTRY_FILE_PERMISSION: &str = "fentry_file_permission";
    /// `fentry/security_mmap_file`.
    pub const FENTRY_MMAP_FILE: &str = "fentry_mmap_file";
    /// `fentry/filemap_map_pages`.
    pub const FENTRY_MAP_PAGES: &str = "fentry_map_pages";
    /// `fentry/filemap_fault`.
    pub const FENTRY_FAULT: &str = "fentry_fault";
    /// `fentry/shmem_fault`.
    pub const FENTRY_SHMEM_FAULT: &str = "fentry_shmem_fault";
    /// `fentry/vfs_unlink`.
    pub const FENTRY_UNLINK: &str = "fentry_unlink";
    /// `fexit/vfs_unlink`.
    pub const FEXIT_UNLINK: &str = "fexit_unlink";
    /// `fentry/vfs_rmdir`.
    pub const FENTRY_RMDIR: &str = "fentry_rmdir";
    /// `fexit/vfs_rmdir`.
    pub const FEXIT_RMDIR: &str = "fexit_rmdir";
    /// `fentry/vfs_rename`.
    pub const FENTRY_RENAME: &str = "fentry_rename";
    /// `fexit/vfs_rename`.
    pub const FEXIT_RENAME: &str = "fexit_rename";
    /// `fentry/vfs_link`.
    pub const FENTRY_LINK: &str = "fentry_link";
    /// `fexit/vfs_link`.
    pub const FEXIT_LINK: &str = "fexit_link";
    /// `fentry/notify_change`.
    pub const FENTRY_NOTIFY_CHANGE: &str = "fentry_notify_change";
    /// `fexit/notify_change`.
    pub const FEXIT_NOTIFY_CHANGE: &str = "fexit_notify_change";
    /// `fentry/vfs_truncate`.
    pub const FENTRY_TRUNCATE: &str = "fentry_truncate";
    /// `fexit/vfs_truncate`.
    pub const FEXIT_TRUNCATE: &str = "fexit_truncate";
    /// `fentry/vfs_setxattr`.
    pub const FENTRY_SETXATTR: &str = "fentry_setxattr";
    /// `fexit/vfs_setxattr`.
    pub const FEXIT_SETXATTR: &str = "fexit_setxattr";
    /// `fentry/vfs_removexattr`.
    pub const FENTRY_REMOVEXATTR: &str = "fentry_removexattr";
    /// `fexit/vfs_removexattr`.
    pub const FEXIT_REMOVEXATTR: &str = "fexit_removexattr";
    /// `fentry/vfs_set_acl`.
    pub const FENTRY_SET_ACL: &str = "fentry_set_acl";
    /// `fexit/vfs_set_acl`.
    pub const FEXIT_SET_ACL: &str = "fexit_set_acl";
    /// `fentry/vfs_remove_acl`.
    pub const FENTRY_REMOVE_ACL: &str = "fentry_remove_acl";
    /// `fexit/vfs_remove_acl`.
    pub const FEXIT_REMOVE_ACL: &str = "fexit_remove_acl";
    /// `fentry/vfs_fileattr_set`.
    pub const FENTRY_FILEATTR_SET: &str = "fentry_fileattr_set";
    /// `fexit/vfs_fileattr_set`.
    pub const FEXIT_FILEATTR_SET: &str = "fexit_fileattr_set";
    /// `fentry/path_umount`.
    pub const FENTRY_PATH_UMOUNT: &str = "fentry_path_umount";
    /// `fexit/path_umount`.
    pub const FEXIT_PATH_UMOUNT: &str = "fexit_path_umount";
    /// `fexit/path_mount`: something was mounted, in whatever mount namespace.
    pub const FEXIT_PATH_MOUNT: &str = "fexit_path_mount";
    /// `fentry/security_move_mount`: something is about to be mounted, in whatever mount namespace.
    pub const FENTRY_MOVE_MOUNT: &str = "fentry_move_mount";
    /// `fexit/path_mount`: something was mounted in the host's mount namespace.
    pub const FEXIT_HOST_MOUNT: &str = "fexit_host_mount";
    /// `fentry/security_move_mount`: something is about to be mounted in the host's mount namespace.
    pub const FENTRY_HOST_MOVE_MOUNT: &str = "fentry_host_move_mount";
    /// `fexit/__x64_sys_move_mount`.
    pub const FEXIT_MOVE_MOUNT: &str = "fexit_move_mount";
    /// `fexit/__ia32_sys_move_mount`.
    pub const FEXIT_MOVE_MOUNT_32: &str = "fexit_move_mount_32";
    /// `fexit/mnt_set_mountpoint`: a mount has spread.
    pub const FEXIT_SPREAD_MOUNT: &str = "fexit_spread_mount";
    /// `fexit/attach_recursive_mnt`: something was mounted.
    pub const FEXIT_ATTACH_MOUNT: &str = "fexit_attach_mount";
    /// `fentry/attach_recursive_mnt`.
    pub const FENTRY_LEAVE_MOUNT: &str = "fentry_leave_mount";
    /// `fexit/attach_recursive_mnt`.
    pub const FEXIT_LEAVE_MOUNT: &str = "fexit_leave_mount";
    /// `tp_btf/sched_process_exec`.
    pub const PROCESS_EXEC: &str = "sched_process_exec";
    /// `tp_btf/sched_process_exec`, attached after the one above: the environment of a signer.
    pub const PROCESS_ENVIRONMENT: &str = "sched_process_environment";
    /// `tp_btf/sched_process_fork`.
    pub const PROCESS_FORK: &str = "sched_process_fork";
    /// `tp_btf/sched_process_exit`.
    pub const PROCESS_EXIT: &str = "sched_process_exit";
    /// `iter/task`: reads the executables of processes older than the watch.
    pub const ITER_PROCESSES: &str = "iter_processes";
    /// `iter/task_file`: says what a file of the watcher is to the kernel.
    pub const ITER_IDENTIFY: &str = "iter_identify";
    /// All of them.
    pub const ALL: &[&str] = &[
        LSM_FILE_OPEN,
        LSM_D_INSTANTIATE,
        LSM_INODE_RENAME,
        FEXIT_FILE_OPEN,
        FENTRY_D_INSTANTIATE,
        FENTRY_INODE_RENAME,
        SYS_EXIT_OPEN,
        FEXIT_PATH_OPENAT,
        SYS_EXIT_REFUSED,
        FILEMAP_GET_PAGES,
        FILEMAP_MAP_PAGES,
        FILEMAP_FAULT,
        SYS_EXIT_READ,
        SYS_EXIT_MAP,
        SYS_EXIT_SHARE,
        SYS_EXIT_SUBMIT,
        DIRECT_READ,
        LSM_MAP_CODE,
        FENTRY_MAP_CODE,
        FENTRY_PROTECT_CODE,
        SYS_ENTER_MAP_CODE,
        IO_URING_COMPLETE,
        CTIME_SET,
        CTIME_EXCHANGED,
        CTIME_KEPT,
        EXT4_DIRTY,
        SYS_EXIT_CHANGE,
        SYS_EXIT_MOUNT,
        FEXIT_PTRACE_ACCESS,
        FEXIT_TRACEME,
        EXEC_TRACED,
        SIGNAL_GENERATE,
        SIGNAL_TO_ITSELF,
        FENTRY_BPF,
        SYS_EXIT_BPF,
        FENTRY_OWN_MAPPED,
        SYS_EXIT_OWN_MAPPED,
        SYS_EXIT_MEMORY,
        FEXIT_BLKDEV_OPEN,
        FEXIT_OPEN_PORT,
        FEXIT_OPEN_KCORE,
        FENTRY_FILE_PERMISSION,
        FENTRY_MMAP_FILE,
        FENTRY_MAP_PAGES,
        FENTRY_FAULT,
        FENTRY_SHMEM_FAULT,
        FENTRY_UNLINK,
        FEXIT_UNLINK,
        FENTRY_RMDIR,
        FEXIT_RMDIR,
        FENTRY_RENAME,
        FEXIT_RENAME,
        FENTRY_LINK,
        FEXIT_LINK,
        FENTRY_NOTIFY_CHANGE,
        FEXIT_NOTIFY_CHANGE,
        FENTRY_TRUNCATE,
        FEXIT_TRUNCATE,
        FENTRY_SETXATTR,
        FEXIT_SETXATTR,
        FENTRY_REMOVEXATTR,
        FEXIT_REMOVEXATTR,
        FENTRY_SET_ACL,
        FEXIT_SET_ACL,
        FENTRY_REMOVE_ACL,
        FEXIT_REMOVE_ACL,
        FENTRY_FILEATTR_SET,
        FEXIT_FILEATTR_SET,
        FEXIT_PATH_MOUNT,
        FENTRY_MOVE_MOUNT,
        FEXIT_HOST_MOUNT,
        FENTRY_HOST_MOVE_MOUNT,
        FEXIT_MOVE_MOUNT,
        FEXIT_MOVE_MOUNT_32,
        FEXIT_SPREAD_MOUNT,
        FENTRY_PATH_UMOUNT,
        FEXIT_PATH_UMOUNT,
        FEXIT_ATTACH_MOUNT,
        FENTRY_LEAVE_MOUNT,
        FEXIT_LEAVE_MOUNT,
        PROCESS_EXEC,
        PROCESS_ENVIRONMENT,
        PROCESS_FORK,
        PROCESS_EXIT,
        ITER_PROCESSES,
        ITER_IDENTIFY,
    ];
}
