//! Data, whoever opened the file.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const DATA: Limit = (
    "data-without-open",
    "data reached without an own open, where no system call of 64 bits was handed the descriptor: by a mapping that was there before, a 32-bit system call, the 65th request of one io_submit(), a splice through io_uring (before 5.18 a read, too), or below an overlay: this kernel has no mm_filemap_* tracepoints (6.10)",
);
const THROUGH_DESCRIPTOR: Limit = (
    "inherited-descriptor",
    "reads and writes through a descriptor that another process opened (inherited, passed over a socket): the opener is reported, the later reader is not",
);
const THROUGH_MAPPING: Limit =
    ("inherited-mapping", "data reached by a mapping that a process got from its parent, or had before the start");
const SHARED: Limit = (
    "shared-extents",
    "a key whose extents are shared with, or compared with, another file's, by who has not opened it: sys_exit_ioctl could not be hooked",
);
const IO_URING: Limit = (
    "io-uring-open",
    "an open through io_uring: this kernel's io_uring_complete tracepoint does not name the request (5.18)",
);

/// The same for both backends that have trampolines: an LSM hook on permission would be asked no more often, but only after
/// other modules.
const TRAMPOLINES: &[Part] = &[
    Part::new(
        programs::FENTRY_FILE_PERMISSION,
        Hook::FilePermission,
        Attach::Fentry("security_file_permission"),
        THROUGH_DESCRIPTOR,
    ),
    Part::new(programs::FENTRY_MMAP_FILE, Hook::MmapFile, Attach::Fentry("security_mmap_file"), THROUGH_DESCRIPTOR),
    Part::new(programs::FENTRY_MAP_PAGES, Hook::MapPages, Attach::Fentry("filemap_map_pages"), THROUGH_MAPPING),
    Part::new(programs::FENTRY_FAULT, Hook::PageFault, Attach::Fentry("filemap_fault"), THROUGH_MAPPING),
    Part::new(programs::FENTRY_SHMEM_FAULT, Hook::PageFault, Attach::Fentry("shmem_fault"), THROUGH_MAPPING),
];

const TRACEPOINTS: &[Part] = &[
    Part::new(programs::IO_URING_COMPLETE, Hook::IoUringComplete, Attach::BtfTracepoint("io_uring_complete"), IO_URING)
        .where_arguments_fit(),
    Part::new(programs::FILEMAP_GET_PAGES, Hook::FilemapGetPages, Attach::BtfTracepoint("mm_filemap_get_pages"), DATA),
    Part::new(programs::FILEMAP_MAP_PAGES, Hook::FilemapMapPages, Attach::BtfTracepoint("mm_filemap_map_pages"), DATA),
    Part::new(programs::FILEMAP_FAULT, Hook::FilemapFault, Attach::BtfTracepoint("mm_filemap_fault"), DATA),
    // Before there was this tracepoint, only the system call tells of `O_DIRECT`.
    Part::where_present(
        programs::DIRECT_READ,
        Hook::DirectRead,
        Attach::BtfTracepoint("iomap_dio_rw_begin"),
        THROUGH_DESCRIPTOR,
    ),
    // On the way of every read of the host; and on kernels that preempt themselves, who is preempted in it keeps others out of
    // the programs at other system calls' ends.
    Part::new(programs::SYS_EXIT_READ, Hook::SysExitRead, Attach::Tracepoints("syscalls", READING), THROUGH_DESCRIPTOR)
        .waits_beside(programs::FILEMAP_GET_PAGES),
    Part::new(
        programs::SYS_EXIT_SUBMIT,
        Hook::SysExitRead,
        Attach::Tracepoints("syscalls", &["sys_exit_io_submit"]),
        THROUGH_DESCRIPTOR,
    )
    .waits_beside(programs::FILEMAP_GET_PAGES),
    Part::new(
        programs::SYS_EXIT_SHARE,
        Hook::SysExitRead,
        Attach::Tracepoints("syscalls", &["sys_exit_ioctl"]),
        SHARED,
    ),
    Part::new(
        programs::SYS_EXIT_MAP,
        Hook::SysExitRead,
        Attach::Tracepoints("syscalls", &["sys_exit_mmap"]),
        THROUGH_DESCRIPTOR,
    )
    .instead_of(programs::FILEMAP_MAP_PAGES),
];

/// The system calls that read from a descriptor.
const READING: &[&str] = &[
    "sys_exit_read",
    "sys_exit_pread64",
    "sys_exit_readv",
    "sys_exit_preadv",
    "sys_exit_preadv2",
    "sys_exit_sendfile64",
    "sys_exit_splice",
    "sys_exit_copy_file_range",
];

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => TRAMPOLINES,
        Backend::Tracepoint => TRACEPOINTS,
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => &[
            (
                "data-around-cache",
                "data reached without an own open and around the page cache (of a file on tmpfs, by a reflink or a comparison of extents), by a 32-bit system call, by the 65th request of one io_submit(), by a splice through io_uring, or by a descriptor that another thread replaces before the system call returns",
            ),
            (
                "ring-without-completion",
                "an open through io_uring that asks for no completion (IOSQE_CQE_SKIP_SUCCESS), and such a read where only its completion would tell of it (before 6.10, or on tmpfs)",
            ),
            (
                "written-without-open",
                "a write through a descriptor that another process opened for writing: the opener is reported, as one that may change the key",
            ),
        ],
    }
}
