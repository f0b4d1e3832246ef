//! The memory of processes that hold a key.

use dkimwatch_common::{names::programs, tally::Hook};

use super::{Attach, Limit, Part};
use crate::kernel::Backend;

const MEMORY: Limit = (
    "signer-memory",
    "ptrace, /proc/PID/mem, process_vm_readv and pidfd_getfd on a process that holds a key: this kernel has no way to see it",
);
const TRACEME: Limit = (
    "memory-traceme",
    "a process that holds a key and hands itself to its parent (PTRACE_TRACEME): the hook for it did not attach",
);
const SIGNAL: Limit = (
    "core-signal",
    "a signal that makes a process which holds a key dump its memory: the tracepoint signal_generate did not attach",
);

const EXECUTED: Part = Part::new(
    programs::EXEC_TRACED,
    Hook::Process,
    Attach::BtfTracepoint("sched_process_exec"),
    (
        "memory-traced-before",
        "who traces a process before it executes a signer's program: the tracepoint sched_process_exec did not attach",
    ),
);

/// The system calls that reach another process's memory, or its descriptors.
const CALLS: &[&str] =
    &["sys_exit_ptrace", "sys_exit_process_vm_readv", "sys_exit_process_vm_writev", "sys_exit_pidfd_getfd"];

const DUMPED: Part =
    Part::new(programs::SIGNAL_GENERATE, Hook::Signal, Attach::BtfTracepoint("signal_generate"), SIGNAL);

pub(super) const fn parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm | Backend::Fentry => {
            const {
                &[
                    Part::new(
                        programs::FEXIT_PTRACE_ACCESS,
                        Hook::PtraceAccess,
                        Attach::Fexit("__ptrace_may_access"),
                        MEMORY,
                    ),
                    Part::new(
                        programs::FEXIT_TRACEME,
                        Hook::PtraceAccess,
                        Attach::Fexit("security_ptrace_traceme"),
                        TRACEME,
                    ),
                    DUMPED,
                    EXECUTED,
                ]
            }
        }
        Backend::Tracepoint => {
            const {
                &[
                    Part::new(
                        programs::SYS_EXIT_MEMORY,
                        Hook::SysExitMemory,
                        Attach::Tracepoints("syscalls", CALLS),
                        MEMORY,
                    ),
                    DUMPED,
                    EXECUTED,
                ]
            }
        }
    }
}

/// The kernel's own debuggers read any memory, and ask nobody.
const PROBES: Limit = (
    "kernel-probe",
    "a signer's memory, or a key's data, read by code within the kernel: a uprobe or kprobe, a BPF program, a module; samples of its stack (perf_event_open); and what of it lies in swap or in a hibernation image",
);

pub(super) const fn unseen(backend: Backend) -> &'static [Limit] {
    match backend {
        Backend::Lsm | Backend::Fentry => &[PROBES],
        Backend::Tracepoint => &[
            PROBES,
            (
                "memory-32-bit",
                "a signer's memory reached by a 32-bit system call, of which no tracepoint tells; and an open of its /proc/PID/mem that is refused",
            ),
        ],
    }
}
