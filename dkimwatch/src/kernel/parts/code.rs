//! Code that a signer maps.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const CODE: Limit = (
    "short-lived-library",
    "code that a signer's process maps beside its program (LD_PRELOAD, dlopen) is looked for in /proc only, where a process that ends at once is gone",
);

/// The same for both backends that have trampolines.
const PROTECTED: Part = Part::new(
    programs::FENTRY_PROTECT_CODE,
    Hook::MapCode,
    Attach::Fentry("security_file_mprotect"),
    (
        "protected-code",
        "code that a signer's process maps as data and makes code of then (mprotect): the hook for it did not attach",
    ),
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm => {
            const { &[Part::new(programs::LSM_MAP_CODE, Hook::MapCode, Attach::Lsm("mmap_file"), CODE), PROTECTED] }
        }
        Backend::Fentry => {
            const {
                &[
                    Part::new(programs::FENTRY_MAP_CODE, Hook::MapCode, Attach::Fentry("security_mmap_file"), CODE),
                    PROTECTED,
                ]
            }
        }
        Backend::Tracepoint => {
            const {
                &[Part::new(
                    programs::SYS_ENTER_MAP_CODE,
                    Hook::MapCode,
                    Attach::Tracepoints("syscalls", &["sys_enter_mmap"]),
                    CODE,
                )]
            }
        }
    }
}

const LATER: Limit = (
    "late-library",
    "somebody's library that a signer's process maps once it has read its key for the last time: it is told with the next access to a key, and there is none",
);

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm => {
            const {
                &[
                    LATER,
                    (
                        "code-as-data",
                        "somebody's library of which a signer's process maps nothing as code from its file: one that writes its code into memory without a file as it is loaded",
                    ),
                ]
            }
        }
        Backend::Fentry => {
            const {
                &[
                    LATER,
                    (
                        "code-as-data",
                        "somebody's library of which a signer's process maps nothing as code from its file: one that writes its code into memory without a file as it is loaded, or in a process for which all that may be read is code (READ_IMPLIES_EXEC)",
                    ),
                ]
            }
        }
        Backend::Tracepoint => {
            const {
                &[
                    LATER,
                    (
                        "code-as-data",
                        "somebody's library of which a signer's process maps nothing as code from its file: one that writes its code into memory without a file as it is loaded, or is mapped as data and made code then (mprotect), or in a process for which all that may be read is code (READ_IMPLIES_EXEC)",
                    ),
                ]
            }
        }
    }
}
