//! Code that a signer maps.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const CODE: Limit = (
    "short-lived-library",
    "code that a signer's process maps beside its program (LD_PRELOAD, dlopen) is looked for in /proc only, where a process that ends at once is gone",
);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm => const { &[Part::new(programs::LSM_MAP_CODE, Hook::MapCode, Attach::Lsm("mmap_file"), CODE)] },
        Backend::Fentry => {
            const { &[Part::new(programs::FENTRY_MAP_CODE, Hook::MapCode, Attach::Fentry("security_mmap_file"), CODE)] }
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
