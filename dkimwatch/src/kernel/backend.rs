//! The ways into the kernel: attaching one, and detaching it again. Which programs each one is made of: [`parts`].

use std::{
    fmt, fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Btf, BtfError, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, Lsm, Program, ProgramError, RawTracePoint, TracePoint},
};
use dkimwatch_common::{record::Via, tally::Hook};
use serde::Serialize;

use super::{
    KernelError,
    links::{LinkId, Links},
    parts::{self, Attach, Part},
    session::PROCESS_TABLE,
    symbols, tracefs,
};

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

impl From<parts::Limit> for Unseen {
    fn from((id, text): parts::Limit) -> Self {
        Self { id, text: text.to_owned() }
    }
}

/// A backend's programs, attached.
pub(super) struct Attached {
    /// The hooks that they are at.
    pub(super) hooks: Vec<Hook>,
    /// What stays unseen.
    pub(super) unseen: Vec<Unseen>,
    /// What is not needed yet.
    pub(super) waiting: Vec<&'static Part>,
}

/// Loads and attaches what a backend cannot do without, which is enough to hear the canary: whether it works at all is known
/// before the many others are loaded.
///
/// # Errors
/// When one is refused; everything is detached again then.
pub(super) fn attach_essential(
    backend: Backend,
    ebpf: &mut Ebpf,
    btf: &Btf,
    links: &mut Links,
) -> Result<(), KernelError> {
    for part in parts::of(backend).filter(|part| part.essential) {
        if let Err(error) = attach_part(part, ebpf, btf, links) {
            detach(backend, ebpf, links);
            return Err(error);
        }
    }
    Ok(())
}

/// Loads and attaches the others.
pub(super) fn attach_others(backend: Backend, ebpf: &mut Ebpf, btf: &Btf, links: &mut Links) -> Attached {
    let mut hooks: Vec<Hook> = Vec::new();
    for part in parts::of(backend).filter(|part| part.essential) {
        if !hooks.contains(&part.hook) {
            hooks.push(part.hook);
        }
    }
    let mut attached = Vec::new();
    let mut waiting = Vec::new();
    let mut unseen: Vec<Unseen> = parts::always_unseen(backend).map(Unseen::from).collect();
    for part in parts::of(backend).filter(|part| !part.essential) {
        if part.instead_of.is_some_and(|other| attached.contains(&other)) {
            continue;
        }
        if part.waits_beside.is_some_and(|other| attached.contains(&other)) {
            waiting.push(part);
            continue;
        }
        match attach_part(part, ebpf, btf, links) {
            Ok(()) => {
                attached.push(part.name);
                if !hooks.contains(&part.hook) {
                    hooks.push(part.hook);
                }
            }
            Err(KernelError::NoFunction { .. }) if part.where_present => {}
            Err(error) => {
                report_left_out(part, &error);
                for lost in part.lost.iter().chain(part.lost_too) {
                    if !unseen.iter().any(|known| known.id == lost.0) {
                        unseen.push(Unseen::from(*lost));
                    }
                }
            }
        }
    }
    Attached { hooks, unseen, waiting }
}

/// Our own fault is said aloud: as a limit alone it would be taken for the kernel's.
fn report_left_out(part: &Part, error: &KernelError) {
    tracing::debug!(program = part.name, %error, "left out");
    if matches!(error, KernelError::Verifier { .. }) && !part.where_arguments_fit {
        tracing::warn!(
            program = part.name,
            "this kernel's verifier refused a program of dkimwatch, and what it is for goes unseen; please report it with \
             what DKIMWATCH_LOG=dkimwatch=debug says"
        );
    }
}

/// Loads and attaches what was not needed.
///
/// # Errors
/// When the kernel refuses one.
pub(super) fn attach_waiting(
    waiting: &mut Vec<&'static Part>,
    ebpf: &mut Ebpf,
    btf: &Btf,
    links: &mut Links,
) -> Result<(), KernelError> {
    std::mem::take(waiting).into_iter().try_for_each(|part| attach_part(part, ebpf, btf, links))
}

/// See [`super::Session::passed_by`].
pub(super) fn passed_by(backend: Backend, ebpf: &Ebpf) -> Vec<(Hook, u64)> {
    let mut passed: Vec<(Hook, u64)> = Vec::new();
    let table = PROCESS_TABLE.iter().map(|(name, _)| (*name, Hook::Process));
    for (name, hook) in parts::of(backend).map(|part| (part.name, part.hook)).chain(table) {
        // One that was not loaded has no descriptor.
        let Some(Ok(fd)) = ebpf.program(name).map(Program::fd) else { continue };
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())) else { continue };
        let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok());
        let Some(misses) = misses.filter(|misses| *misses > 0) else { continue };
        match passed.iter_mut().find(|(known, _)| *known == hook) {
            Some((_, count)) => *count += misses,
            None => passed.push((hook, misses)),
        }
    }
    passed
}

/// Detaches and unloads a backend's programs, the last attached first: data that is reached by an open which nobody saw any more
/// would be told as that of whose descriptor had the same address before.
pub(super) fn detach(backend: Backend, ebpf: &mut Ebpf, links: &mut Links) {
    links.forget(|program| parts::of(backend).any(|part| part.name == program));
    let parts: Vec<_> = parts::of(backend).collect();
    for part in parts.into_iter().rev() {
        if let Some(program) = ebpf.program_mut(part.name) {
            // One that was never loaded says so, and that is fine.
            let _ = match program {
                Program::Lsm(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::BtfTracePoint(program) => program.unload(),
                Program::TracePoint(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }
}

fn attach_part(part: &Part, ebpf: &mut Ebpf, btf: &Btf, links: &mut Links) -> Result<(), KernelError> {
    if let Attach::Fexit(function) | Attach::Fentry(function) = part.attach
        && part.where_whole
        && symbols::is_split(function)
    {
        return Err(KernelError::Split { program: part.name, function });
    }
    attach_named(ebpf, part.name, &part.attach, btf, links)
}

/// Attaches a program of an object.
///
/// # Errors
/// When the object does not hold it, or the kernel refuses it.
pub(super) fn attach_named(
    ebpf: &mut Ebpf,
    name: &'static str,
    attach: &Attach,
    btf: &Btf,
    links: &mut Links,
) -> Result<(), KernelError> {
    let program = program(ebpf, name)?;
    let done = match attach {
        Attach::Tracepoints(..) => tracefs::within(|| attach_program(program, attach, btf))?,
        _ => attach_program(program, attach, btf),
    };
    for id in done.map_err(|error| refused(name, error))? {
        links.add(name, id);
    }
    Ok(())
}

/// A program of the object.
///
/// # Errors
/// When the object does not hold it.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, KernelError> {
    ebpf.program_mut(name).ok_or(KernelError::Contract { kind: "program", name })
}

fn attach_program(program: &mut Program, attach: &Attach, btf: &Btf) -> Result<Vec<LinkId>, ProgramError> {
    let id = match attach {
        Attach::Lsm(hook) => {
            let program: &mut Lsm = program.try_into()?;
            program.load(hook, btf)?;
            LinkId::Lsm(program.attach()?)
        }
        Attach::Fexit(function) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            LinkId::Fexit(program.attach()?)
        }
        Attach::Fentry(function) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, btf)?;
            LinkId::Fentry(program.attach()?)
        }
        Attach::BtfTracepoint(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            LinkId::BtfTracepoint(program.attach()?)
        }
        Attach::RawTracepoint(tracepoint) => {
            let program: &mut RawTracePoint = program.try_into()?;
            program.load()?;
            LinkId::RawTracepoint(program.attach(tracepoint)?)
        }
        Attach::Tracepoints(category, names) => {
            let program: &mut TracePoint = program.try_into()?;
            program.load()?;
            let mut attached = Vec::new();
            let mut last = None;
            for name in *names {
                match program.attach(category, name) {
                    Ok(id) => attached.push(LinkId::Tracepoint(id)),
                    // An architecture without open(2) has no such tracepoint.
                    Err(error) => last = Some(error),
                }
            }
            return match last {
                Some(error) if attached.is_empty() => Err(error),
                _ => Ok(attached),
            };
        }
    };
    Ok(vec![id])
}

/// Attaches one of the process table's tracepoints.
pub(super) fn attach_btf_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
    btf: &Btf,
    links: &mut Links,
) -> Result<(), KernelError> {
    attach_named(ebpf, name, &Attach::BtfTracepoint(tracepoint), btf, links)
}

/// The names of a backend's programs.
#[cfg(test)]
pub(super) fn program_names(backend: Backend) -> impl Iterator<Item = &'static str> {
    parts::of(backend).map(|part| part.name)
}

/// A refusal in words: the kernel's own, and what an empty one means.
pub(super) fn refused(program: &'static str, error: ProgramError) -> KernelError {
    let reason = match error {
        ProgramError::Btf(BtfError::UnknownBtfTypeName { type_name }) => {
            return KernelError::NoFunction { program, function: type_name };
        }
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = last_lines(&verifier_log.to_string());
            if log.is_empty() {
                format!("the kernel refused to load it: {io_error}")
            } else if log.contains("processed 0 insns") {
                // The verifier has not begun: it is the place that it is to be attached to.
                format!("the kernel refused to load it ({io_error}): {log}")
            } else {
                return KernelError::Verifier { program, source: io_error, log };
            }
        }
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => match std::error::Error::source(&other) {
            Some(source) => format!("{other}: {source}"),
            None => other.to_string(),
        },
    };
    KernelError::Program { program, reason }
}

/// The end of a verifier's log, which says why; the rest is its trace.
fn last_lines(log: &str) -> String {
    const LINES: usize = 60;
    let mut lines: Vec<&str> = log.trim().lines().rev().take(LINES).collect();
    lines.reverse();
    lines.join("\n")
}
