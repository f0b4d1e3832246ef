//! What is done to the watch itself: signals to its process, and bpf(2) on what it has in the kernel. (Its memory is among that of
//! signers, its files are among the keys.)

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const SIGNALS: Limit =
    ("monitor-signal", "a signal that ends or stops the watch itself: the tracepoint signal_generate did not attach");
const OBJECTS: Limit = (
    "monitor-kernel-side",
    "a map, program or link of the watch's own that somebody else alters (bpf(2)): the hook for it did not attach",
);
const MAPPED: Limit = (
    "monitor-ring-mapped",
    "a ring of the watch's own that somebody else maps, and takes records from: the hook for it did not attach",
);

const SIGNALLED: Part =
    Part::new(programs::SIGNAL_TO_ITSELF, Hook::Signal, Attach::BtfTracepoint("signal_generate"), SIGNALS);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => {
            const {
                &[
                    SIGNALLED,
                    Part::new(programs::FENTRY_BPF, Hook::Bpf, Attach::Fentry("security_bpf"), OBJECTS),
                    Part::new(
                        programs::FENTRY_OWN_MAPPED,
                        Hook::OwnMapped,
                        Attach::Fentry("security_mmap_file"),
                        MAPPED,
                    ),
                ]
            }
        }
        Backend::Tracepoint => {
            const {
                &[
                    SIGNALLED,
                    Part::new(
                        programs::SYS_EXIT_BPF,
                        Hook::SysExitBpf,
                        Attach::Tracepoints("syscalls", &["sys_exit_bpf"]),
                        OBJECTS,
                    ),
                    Part::new(
                        programs::SYS_EXIT_OWN_MAPPED,
                        Hook::OwnMapped,
                        Attach::Tracepoints("syscalls", &["sys_exit_mmap"]),
                        MAPPED,
                    ),
                ]
            }
        }
    }
}

/// What root can do, and no program of ours is asked about.
const OTHERWISE: Limit = (
    "monitor-otherwise",
    "the watch itself held or ended without a signal: its control group frozen, its processor time or memory taken away, the kernel replaced (kexec), a module or another BPF program that alters what it sees; and a unit that is stopped through the service manager is told as that one's doing, whoever asked it to",
);
const RACED: Limit = (
    "monitor-kernel-side-raced",
    "bpf(2) on a map, program or link of the watch's own, where another thread changes the call's attributes or descriptors before it ends; a 32-bit call of that kind",
);

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[OTHERWISE],
        Backend::Tracepoint => &[OTHERWISE, RACED],
    }
}
