//! What others do to the watch itself: its process, what it has in the kernel, its configuration, its journal.
//!
//! Rules, by `rule.id`. As it should be, and recorded all the same:
//! - `monitor/service-manager`: the host's first process sent the signal, as `systemctl stop` and a shutdown have it do.
//! - `monitor/parent`: the process that started the watch did, as a shell's own `kill %1`, sudo(8) and timeout(1) do.
//! - `monitor/terminal`: its terminal did (Ctrl-C, a line that was hung up), or SIGINT came from its own login session.
//! - `monitor/kernel`: a limit or a timer did.
//!
//! An alert:
//! - `monitor/killed-by-kernel`: SIGKILL of the kernel's own making, as for want of memory.
//! - `monitor/signal`, `monitor/memory`, `monitor/kernel-side`, `monitor/configuration`, `monitor/journal`, `monitor/pins`: anybody
//!   else. Who is root can do all of it and is told of: an administrator knows that it was him, and an intruder that he was seen.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use dkimwatch_common::{
    deed::Deed,
    record::Kind,
    watch::{is_own, own_entry},
};

use super::{
    Action, JudgedAccess, JudgedKey, Policy, Verdict,
    decide::{changes_nothing, is_refused},
    deed, reason, severity,
    stranger::{self, Kind as Stranger},
};
use crate::{
    attribute::AttributedAccess,
    decode::{Access, Signal},
    escape,
};

/// A part of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Its process.
    Process,
    /// Its maps, programs and links in the kernel.
    KernelSide,
    /// Its configuration file.
    Configuration,
    /// The folder of its journal, and what is in it.
    Journal,
    /// The folder on a bpffs in which its maps and links are pinned.
    Pins,
}

impl Part {
    /// The word in events (`dkimwatch.monitor.part`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::KernelSide => "kernel-side",
            Self::Configuration => "configuration",
            Self::Journal => "journal",
            Self::Pins => "pins",
        }
    }
}

/// A file or folder of the watch's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// What it is: the configuration is a file, the others are folders.
    pub part: Part,
    /// Where it is, absolute.
    pub path: PathBuf,
}

/// Whether an access is about the watch itself.
pub(super) fn is_meant(access: &Access) -> bool {
    access.kind == Kind::Itself || is_own(access.file.tag)
}

/// Judges it; `None` for what alters nothing, and for an entry that is no longer guarded.
pub(super) fn judge(attributed: AttributedAccess, policy: &Policy) -> Option<JudgedAccess> {
    let access = &attributed.access;
    let (part, guarded) = part(access, policy)?;
    if changes_nothing(access) || !alters(access) {
        return None;
    }
    let path = path(access, guarded);
    let deed = sentence(&attributed, part, &path);
    let (verdict, rule, step, advice) = match access.signal.and_then(|signal| harmless(&attributed, signal, policy)) {
        Some((rule, advice)) => (Verdict::Maintenance, rule, severity::NOTICE, advice.to_owned()),
        None => (Verdict::Unexpected, rule(access, part), step(&attributed, part, policy), advice(&attributed, part)),
    };
    let refused = is_refused(access) && verdict == Verdict::Unexpected;
    Some(JudgedAccess {
        action: Action::MonitorTampered,
        key: JudgedKey { path, domain: None, selector: None, signer: None },
        part: Some(part),
        verdict,
        rule: rule.to_owned(),
        reason: format!("{deed}. {advice}"),
        undecided: false,
        severity: if refused { severity::refused(step) } else { step },
        attributed,
    })
}

fn part<'p>(access: &Access, policy: &'p Policy) -> Option<(Part, Option<&'p Guarded>)> {
    match access.kind {
        Kind::Itself if access.deed == Deed::Signal => Some((Part::Process, None)),
        Kind::Itself => Some((Part::KernelSide, None)),
        Kind::Memory => Some((Part::Process, None)),
        _ => {
            let guarded = policy.guarded.get(usize::from(own_entry(access.file.tag)?))?;
            Some((guarded.part, Some(guarded)))
        }
    }
}

/// Whether it is more than to look: what is the watch's own may be read, listed and saved.
fn alters(access: &Access) -> bool {
    match access.kind {
        Kind::Open | Kind::Refused => {
            access.file.open.known().is_some_and(|open| open.writes() || open.created() || open.truncated())
        }
        Kind::Data => access.deed == Deed::Write,
        Kind::Tamper | Kind::Memory | Kind::Itself => true,
        Kind::Device | Kind::Library => false,
    }
}

/// The path that it is about; where it is about none, what the watch is called.
fn path(access: &Access, guarded: Option<&Guarded>) -> PathBuf {
    let Some(guarded) = guarded else { return PathBuf::from("dkimwatch") };
    let whole = access.file.path.known().filter(|path| !access.file.path_in_fs && !path.cut);
    match whole.filter(|_| guarded.part != Part::Configuration || access.file.is_folder) {
        Some(path) => PathBuf::from(OsString::from_vec(path.bytes.clone())),
        None => guarded.path.clone(),
    }
}

/// The rule by which a signal is as it should be, and what that means.
fn harmless(attributed: &AttributedAccess, signal: Signal, policy: &Policy) -> Option<(&'static str, &'static str)> {
    /// signal(7).
    const HUP: u32 = 1;
    const INT: u32 = 2;
    const QUIT: u32 = 3;
    const KILL: u32 = 9;
    const STOPS: [u32; 3] = [20, 21, 22];
    let access = &attributed.access;
    if signal.is_the_kernels() {
        return match signal.number {
            KILL => None,
            HUP | INT | QUIT => Some(("monitor/terminal", "It came from its terminal.")),
            number if STOPS.contains(&number) => Some(("monitor/terminal", "It came from its terminal.")),
            _ => Some(("monitor/kernel", "The kernel made it, for a limit or a timer of the process.")),
        };
    }
    if access.process.pid == 1 {
        return Some((
            "monitor/service-manager",
            "The service manager does so when it is asked to, and when the host shuts down; who asked it, its own journal says.",
        ));
    }
    if access.by_parent {
        return Some(("monitor/parent", "It is the process that started the watch."));
    }
    let session = access.process.session.known().copied().flatten();
    if signal.number == INT && session.is_some() && session == policy.own_session {
        return Some(("monitor/terminal", "It came from the login session that the watch was started in."));
    }
    None
}

fn rule(access: &Access, part: Part) -> &'static str {
    match part {
        Part::Process if access.kind == Kind::Memory => "monitor/memory",
        Part::Process if access.signal.is_some_and(Signal::is_the_kernels) => "monitor/killed-by-kernel",
        Part::Process => "monitor/signal",
        Part::KernelSide => "monitor/kernel-side",
        Part::Configuration => "monitor/configuration",
        Part::Journal => "monitor/journal",
        Part::Pins => "monitor/pins",
    }
}

fn step(attributed: &AttributedAccess, part: Part, policy: &Policy) -> u8 {
    if attributed.access.signal.is_some_and(Signal::is_the_kernels) {
        return severity::HIGH;
    }
    let root = attributed.access.process.creds.known().is_some_and(|creds| creds.uid == 0);
    match stranger::kind(attributed, policy) {
        Stranger::Interactive | Stranger::Tool(_) if root && part == Part::Configuration => severity::LOW,
        Stranger::Root if part == Part::Configuration => severity::MEDIUM,
        Stranger::Interactive | Stranger::Tool(_) | Stranger::Root => severity::HIGH,
        _ => severity::CRITICAL,
    }
}

/// "root (uid 0) sent SIGTERM to dkimwatch (pid 812), with …".
fn sentence(attributed: &AttributedAccess, part: Part, path: &std::path::Path) -> String {
    let access = &attributed.access;
    let itself = || access.other.known().map_or_else(|| "dkimwatch".to_owned(), deed::process);
    let (who, by) = (reason::who(attributed), reason::by(attributed));
    let failed = access.outcome.known().copied().and_then(Result::err);
    let done = |done: &str, tried: &str| match failed {
        None => done.to_owned(),
        Some(errno) => format!("tried in vain ({}) to {tried}", super::errno_name(errno)),
    };
    let what = match (part, access.signal) {
        (Part::Process, Some(signal)) if signal.is_the_kernels() => {
            // Not that process's doing, though it was its time.
            return format!("The kernel sent {} to {}, in the time of {who}{by}", signal.name(), itself());
        }
        (Part::Process, Some(signal)) => format!("sent {} to {}", signal.name(), itself()),
        (Part::Process, None) => {
            let how = match access.deed {
                Deed::Ptrace => " (ptrace)",
                Deed::ProcMem => " (/proc/PID/mem)",
                Deed::VmRead => " (process_vm_readv)",
                Deed::TakeDescriptor => " (pidfd_getfd)",
                _ => "",
            };
            format!(
                "{}{how}",
                done(&format!("reached the memory of {}", itself()), &format!("reach the memory of {}", itself()))
            )
        }
        (Part::KernelSide, _) => {
            let map = access.second.known().map(|name| format!(" {}", escape::word(&name.bytes))).unwrap_or_default();
            let (did, to) = match access.deed {
                Deed::MapChange => (format!("altered the map{map}"), format!("alter the map{map}")),
                Deed::MapFreeze => (format!("froze the map{map}"), format!("freeze the map{map}")),
                Deed::MapMapped => (format!("mapped the map{map} to be written"), format!("map the map{map}")),
                Deed::LinkDetach => ("detached a link".to_owned(), "detach a link".to_owned()),
                Deed::LinkUpdate => ("changed a link's program".to_owned(), "change a link's program".to_owned()),
                _ => ("ran a program".to_owned(), "run a program".to_owned()),
            };
            // Where the hook is before the deed.
            let unsure = if access.outcome.known().is_none() { " (or tried to)" } else { "" };
            format!("{} of dkimwatch's in the kernel{unsure}", done(&did, &to))
        }
        (Part::Configuration | Part::Journal | Part::Pins, _) => {
            let did = Action::of(access).map(|action| deed::did(attributed, action)).unwrap_or_default();
            let folder = if access.file.is_folder { "the folder, or one on the way to it, of " } else { "" };
            let object = match part {
                Part::Configuration => "dkimwatch's configuration",
                Part::Journal if access.file.is_folder => "dkimwatch's journal",
                Part::Pins if access.file.is_folder => "dkimwatch's pins in the kernel",
                Part::Journal => "a file of dkimwatch's journal",
                _ => "a pin of dkimwatch's",
            };
            format!("{did} {folder}{object} {}{}", reason::shown(path), deed::details(access))
        }
    };
    format!("{who} {what}{by}")
}

/// What to do.
fn advice(attributed: &AttributedAccess, part: Part) -> String {
    let access = &attributed.access;
    let pid = access.process.pid;
    if is_refused(access) {
        return format!("It was not done. Find out what pid {pid} is and who started it.");
    }
    match part {
        Part::Process if access.signal.is_some_and(Signal::is_the_kernels) => {
            "Most likely the host had no memory left: look at the kernel's log, and give the service more (MemoryMin=, OOMScoreAdjust=).".to_owned()
        }
        Part::Process if access.kind == Kind::Memory => format!(
            "Whoever has its memory can make it blind, and write its journal: unless it was you, trust nothing it says from now on, and find out what pid {pid} is."
        ),
        Part::Process => format!(
            "Unless it was you, somebody wants not to be seen: see that the watch runs, find out who started pid {pid}, and take the keys for read in the meantime."
        ),
        Part::KernelSide => format!(
            "Nobody else has business there: unless it was you, the watch may be blind by now. Restart it, and find out what pid {pid} is."
        ),
        Part::Configuration => {
            "Unless it was you, compare it with what you have: what it says decides which keys are watched and who may read them.".to_owned()
        }
        Part::Journal => {
            "Nothing but dkimwatch writes there: unless it was you, verify the journal (dkimwatch journal verify) with the key that you keep off this host.".to_owned()
        }
        Part::Pins => format!(
            "They keep the watch alive when its process ends: unless it was you, restart it, and find out what pid {pid} is."
        ),
    }
}
