//! Data, whoever opened the file.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const DATA: Limit = (
    "data-without-open",
    "data reached without an own open (inherited or passed descriptors, io_uring, 32-bit system calls): this kernel has no mm_filemap_* tracepoints (6.10)",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[],
        Backend::Tracepoint => {
            const {
                &[
                    Part::new(
                        programs::FILEMAP_GET_PAGES,
                        Hook::FilemapGetPages,
                        Attach::BtfTracepoint("mm_filemap_get_pages"),
                        DATA,
                    ),
                    Part::new(
                        programs::FILEMAP_MAP_PAGES,
                        Hook::FilemapMapPages,
                        Attach::BtfTracepoint("mm_filemap_map_pages"),
                        DATA,
                    ),
                    Part::new(
                        programs::FILEMAP_FAULT,
                        Hook::FilemapFault,
                        Attach::BtfTracepoint("mm_filemap_fault"),
                        DATA,
                    ),
                ]
            }
        }
    }
}

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[(
            "inherited-descriptor",
            "reads through a descriptor that another process opened (inherited, passed over a socket): the opener is reported, the later reader is not",
        )],
        Backend::Tracepoint => &[],
    }
}
