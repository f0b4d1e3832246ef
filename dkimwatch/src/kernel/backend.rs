//! The ways into the kernel: which programs each one is, and what each one cannot see.

use std::fmt;

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Lsm, Program, ProgramError, TracePoint},
};
use dkimwatch_common::{names::programs, record::Via, tally::Hook};
use serde::Serialize;

use super::{KernelError, tracefs};

/// A way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// BPF LSM programs: needs `bpf` in the kernel's LSM list.
    Lsm,
    /// fexit and fentry programs on the `security_*` functions.
    Fentry,
    /// Syscall tracepoints and BTF tracepoints: for kernels that refuse trampolines.
    Tracepoint,
}

impl Backend {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Fentry, Self::Tracepoint];

    /// The name on the command line and in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.via().name()
    }

    /// As a record names it.
    #[must_use]
    pub const fn via(self) -> Via {
        match self {
            Self::Lsm => Via::Lsm,
            Self::Fentry => Via::Fentry,
            Self::Tracepoint => Via::Tracepoint,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendChoice {
    /// The first that reports a canary, in the order lsm, fentry, tracepoint.
    #[default]
    Auto,
    /// Only this one.
    Lsm,
    /// Only this one.
    Fentry,
    /// Only this one.
    Tracepoint,
}

impl BackendChoice {
    /// The backends to try, in order.
    #[must_use]
    pub const fn candidates(self) -> &'static [Backend] {
        match self {
            Self::Auto => &Backend::ALL,
            Self::Lsm => &[Backend::Lsm],
            Self::Fentry => &[Backend::Fentry],
            Self::Tracepoint => &[Backend::Tracepoint],
        }
    }
}

/// Something that this backend on this kernel does not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// A short, stable name.
    pub id: &'static str,
    /// What is not seen, why, and what would change it.
    pub text: String,
}

/// A backend's programs, attached.
pub(super) struct Attached {
    /// The hooks that they are at.
    pub(super) hooks: Vec<Hook>,
    /// What stays unseen.
    pub(super) unseen: Vec<Unseen>,
}

/// How a program is attached.
pub(super) enum Attach {
    Lsm(&'static str),
    Fexit(&'static str),
    Fentry(&'static str),
    BtfTracepoint(&'static str),
    /// One program on several tracepoints of a category, those that the kernel has.
    Tracepoints(&'static str, &'static [&'static str]),
}

/// A program of a backend.
struct Part {
    name: &'static str,
    hook: Hook,
    attach: Attach,
    /// Without it the backend is none. Any other part's absence costs its own coverage only.
    essential: bool,
    /// What is unseen without it.
    lost: (&'static str, &'static str),
}

const OPEN_FAMILY: &[&str] =
    &["sys_exit_openat", "sys_exit_openat2", "sys_exit_open", "sys_exit_creat", "sys_exit_open_by_handle_at"];

const OPEN_BY_PATH: &[&str] = &["sys_exit_openat", "sys_exit_openat2", "sys_exit_open", "sys_exit_creat"];

const NEW_SUBFOLDER: (&str, &str) = (
    "new-subfolder",
    "a key in a subfolder made after the start is seen only once the folder has been noticed by inotify",
);
const MOVED_SUBFOLDER: (&str, &str) = (
    "moved-subfolder",
    "a key in a subfolder that was moved into a watched one is seen only once the folder has been noticed by inotify",
);
const DATA: (&str, &str) = (
    "data-without-open",
    "data reached without an own open (inherited or passed descriptors, io_uring, 32-bit system calls): this kernel has no mm_filemap_* tracepoints (6.10)",
);

const CODE: (&str, &str) = (
    "short-lived-library",
    "code that a signer's process maps beside its program (LD_PRELOAD, dlopen) is looked for in /proc only, where a process that ends at once is gone",
);

const REFUSED: (&str, &str) = (
    "refused-open",
    "an open that permission bits, or a security module that is asked first, refuse: this kernel has no way to see it",
);

/// Opens that were refused, for the backends that may use trampolines.
const REFUSED_WALKS: &[Part] = &[Part {
    name: programs::FEXIT_PATH_OPENAT,
    hook: Hook::OpenRefused,
    attach: Attach::Fexit("path_openat"),
    essential: false,
    lost: REFUSED,
}];

/// Opens that were refused, for the one that may not.
const REFUSED_CALLS: &[Part] = &[Part {
    name: programs::SYS_EXIT_REFUSED,
    hook: Hook::SysExitRefused,
    attach: Attach::Tracepoints("syscalls", OPEN_BY_PATH),
    essential: false,
    lost: REFUSED,
}];

/// A backend's programs.
fn parts(backend: Backend) -> impl Iterator<Item = &'static Part> {
    let refused = match backend {
        Backend::Lsm | Backend::Fentry => REFUSED_WALKS,
        Backend::Tracepoint => REFUSED_CALLS,
    };
    own_parts(backend).iter().chain(refused)
}

fn own_parts(backend: Backend) -> &'static [Part] {
    match backend {
        Backend::Lsm => &[
            Part {
                name: programs::LSM_FILE_OPEN,
                hook: Hook::LsmFileOpen,
                attach: Attach::Lsm("file_open"),
                essential: true,
                lost: ("", ""),
            },
            Part {
                name: programs::LSM_D_INSTANTIATE,
                hook: Hook::Instantiate,
                attach: Attach::Lsm("d_instantiate"),
                essential: false,
                lost: NEW_SUBFOLDER,
            },
            Part {
                name: programs::LSM_INODE_RENAME,
                hook: Hook::Rename,
                attach: Attach::Lsm("inode_rename"),
                essential: false,
                lost: MOVED_SUBFOLDER,
            },
            Part {
                name: programs::LSM_MAP_CODE,
                hook: Hook::MapCode,
                attach: Attach::Lsm("mmap_file"),
                essential: false,
                lost: CODE,
            },
        ],
        Backend::Fentry => &[
            Part {
                name: programs::FEXIT_FILE_OPEN,
                hook: Hook::FexitFileOpen,
                attach: Attach::Fexit("security_file_open"),
                essential: true,
                lost: ("", ""),
            },
            Part {
                name: programs::FENTRY_D_INSTANTIATE,
                hook: Hook::Instantiate,
                attach: Attach::Fentry("security_d_instantiate"),
                essential: false,
                lost: NEW_SUBFOLDER,
            },
            Part {
                name: programs::FENTRY_INODE_RENAME,
                hook: Hook::Rename,
                attach: Attach::Fentry("security_inode_rename"),
                essential: false,
                lost: MOVED_SUBFOLDER,
            },
            Part {
                name: programs::FENTRY_MAP_CODE,
                hook: Hook::MapCode,
                attach: Attach::Fentry("security_mmap_file"),
                essential: false,
                lost: CODE,
            },
        ],
        Backend::Tracepoint => &[
            Part {
                name: programs::SYS_EXIT_OPEN,
                hook: Hook::SysExitOpen,
                attach: Attach::Tracepoints("syscalls", OPEN_FAMILY),
                essential: true,
                lost: ("", ""),
            },
            Part {
                name: programs::FILEMAP_GET_PAGES,
                hook: Hook::FilemapGetPages,
                attach: Attach::BtfTracepoint("mm_filemap_get_pages"),
                essential: false,
                lost: DATA,
            },
            Part {
                name: programs::FILEMAP_MAP_PAGES,
                hook: Hook::FilemapMapPages,
                attach: Attach::BtfTracepoint("mm_filemap_map_pages"),
                essential: false,
                lost: DATA,
            },
            Part {
                name: programs::FILEMAP_FAULT,
                hook: Hook::FilemapFault,
                attach: Attach::BtfTracepoint("mm_filemap_fault"),
                essential: false,
                lost: DATA,
            },
            Part {
                name: programs::SYS_ENTER_MAP_CODE,
                hook: Hook::MapCode,
                attach: Attach::Tracepoints("syscalls", &["sys_enter_mmap"]),
                essential: false,
                lost: CODE,
            },
        ],
    }
}

/// What a backend never sees, on whatever kernel.
fn always_unseen(backend: Backend) -> Vec<Unseen> {
    let unseen = |id, text: &str| Unseen { id, text: text.to_owned() };
    let mut list = vec![unseen(
        "refused-fleeting",
        "an open that is refused in another mount namespace, of which no process lives any more when the path is followed; lsm and fentry see it all the same where the key itself refuses, or a folder above it",
    )];
    list.push(unseen(
        "fresh-mount",
        "a key on a file system that was mounted over its path a moment ago, until the mount has been noticed (milliseconds) and its place looked at",
    ));
    match backend {
        Backend::Lsm | Backend::Fentry => list.push(unseen(
            "inherited-descriptor",
            "reads through a descriptor that another process opened (inherited, passed over a socket): the opener is reported, the later reader is not",
        )),
        Backend::Tracepoint => {
            list.push(unseen(
                "swapped-descriptor",
                "an open whose descriptor another thread replaces before the system call returns; where the kernel has mm_filemap_* tracepoints the data access is seen all the same",
            ));
            list.push(unseen(
                "refused-io-uring",
                "an open that was refused through io_uring, by a 32-bit system call or by a file handle: no tracepoint has its path; nor is one that was asked for by a path of more than 1,022 bytes understood",
            ));
            list.push(unseen(
                "deep-new-subfolder",
                "a key more than four folders deep in a watched one, in folders made after the start and not yet noticed by inotify",
            ));
        }
    }
    list
}

/// Loads and attaches a backend's programs.
///
/// # Errors
/// When an essential program is refused; everything is detached again then.
pub(super) fn attach(backend: Backend, ebpf: &mut Ebpf, btf: &Btf) -> Result<Attached, KernelError> {
    let mut hooks = Vec::new();
    let mut unseen = always_unseen(backend);
    for part in parts(backend) {
        match attach_part(part, ebpf, btf) {
            Ok(()) => hooks.push(part.hook),
            Err(error) if part.essential => {
                detach(backend, ebpf);
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(program = part.name, %error, "left out");
                if !unseen.iter().any(|known| known.id == part.lost.0) {
                    unseen.push(Unseen { id: part.lost.0, text: part.lost.1.to_owned() });
                }
            }
        }
    }
    Ok(Attached { hooks, unseen })
}

/// Detaches and unloads a backend's programs.
pub(super) fn detach(backend: Backend, ebpf: &mut Ebpf) {
    for part in parts(backend) {
        if let Some(program) = ebpf.program_mut(part.name) {
            // One that was never loaded says so, and that is fine.
            let _ = match program {
                Program::Lsm(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::BtfTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }
}

fn attach_part(part: &Part, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), KernelError> {
    attach_named(ebpf, part.name, &part.attach, btf)
}

fn attach_named(ebpf: &mut Ebpf, name: &'static str, attach: &Attach, btf: &Btf) -> Result<(), KernelError> {
    let program = program(ebpf, name)?;
    let done = match attach {
        Attach::Tracepoints(..) => tracefs::within(|| attach_program(program, attach, btf))?,
        _ => attach_program(program, attach, btf),
    };
    done.map_err(|error| refused(name, error))
}

/// A program of the object.
///
/// # Errors
/// When the object does not hold it.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, KernelError> {
    ebpf.program_mut(name).ok_or(KernelError::Contract { kind: "program", name })
}

fn attach_program(program: &mut Program, attach: &Attach, btf: &Btf) -> Result<(), ProgramError> {
    match attach {
        Attach::Lsm(hook) => {
            let program: &mut Lsm = program.try_into()?;
            program.load(hook, btf)?;
            program.attach()?;
        }
        Attach::Fexit(function) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            program.attach()?;
        }
        Attach::Fentry(function) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, btf)?;
            program.attach()?;
        }
        Attach::BtfTracepoint(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            program.attach()?;
        }
        Attach::Tracepoints(category, names) => {
            let program: &mut TracePoint = program.try_into()?;
            program.load()?;
            let mut attached = 0;
            let mut last = None;
            for name in *names {
                match program.attach(category, name) {
                    Ok(_) => attached += 1,
                    // An architecture without open(2) has no such tracepoint.
                    Err(error) => last = Some(error),
                }
            }
            if let (0, Some(error)) = (attached, last) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Attaches one of the process table's tracepoints.
pub(super) fn attach_btf_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
    btf: &Btf,
) -> Result<(), KernelError> {
    attach_named(ebpf, name, &Attach::BtfTracepoint(tracepoint), btf)
}

/// Attaches an empty program, for the benchmark.
pub(super) fn attach_empty(backend: Backend, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), KernelError> {
    let (name, attach) = empty(backend);
    attach_named(ebpf, name, &attach, btf)
}

/// The empty program at a backend's hook.
pub(super) const fn empty(backend: Backend) -> (&'static str, Attach) {
    match backend {
        Backend::Lsm => (programs::EMPTY_LSM, Attach::Lsm("file_open")),
        Backend::Fentry => (programs::EMPTY_FEXIT, Attach::Fexit("security_file_open")),
        Backend::Tracepoint => (programs::EMPTY_SYS_EXIT, Attach::Tracepoints("syscalls", OPEN_FAMILY)),
    }
}

/// The names of a backend's programs.
#[cfg(test)]
pub(super) fn program_names(backend: Backend) -> impl Iterator<Item = &'static str> {
    parts(backend).map(|part| part.name)
}

/// A refusal in words: the kernel's own, and what an empty one means.
pub(super) fn refused(program: &'static str, error: ProgramError) -> KernelError {
    let reason = match &error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let log = log.trim();
            if log.is_empty() {
                format!("the kernel refused to load it: {io_error}")
            } else {
                // The verifier's last lines say why; the rest is its trace.
                let mut tail: Vec<&str> = log.lines().rev().take(60).collect();
                tail.reverse();
                format!("the verifier refused it ({io_error}): {}", tail.join("\n"))
            }
        }
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => match std::error::Error::source(other) {
            Some(source) => format!("{other}: {source}"),
            None => other.to_string(),
        },
    };
    KernelError::Program { program, reason }
}
