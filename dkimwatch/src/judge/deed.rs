//! The verbs of `event.reason`: what was done to which key, and what changed.

use dkimwatch_common::deed::Deed;

use super::{Action, reason::errno_name};
use crate::{
    attribute::AttributedAccess,
    decode::{Access, Ancestor, Attributes},
    escape,
};

/// "opened", "tried in vain (EPERM) to delete", "reached the memory of opendkim (pid 812), which holds": what comes between the
/// doer and the key.
pub(super) fn did(attributed: &AttributedAccess, action: Action) -> String {
    let access = &attributed.access;
    let failed = access.outcome.known().copied().and_then(Result::err);
    let (done, tried) = verb(access, action);
    match (action, failed) {
        (Action::KeyOpenDenied, errno) => format!("was refused ({})", errno_name(errno.unwrap_or_default())),
        (_, None) => done,
        (_, Some(errno)) => format!("tried in vain ({}) to {tried}", errno_name(errno)),
    }
}

/// The verb, as done and as tried.
fn verb(access: &Access, action: Action) -> (String, String) {
    let both = |done: &str, tried: &str| (done.to_owned(), tried.to_owned());
    match action {
        Action::KeyOpened | Action::KeyOpenDenied => both("opened", "open"),
        Action::KeyRead => {
            let opener =
                access.other.known().map(|one| format!("; {} had opened it", process(one))).unwrap_or_default();
            both(
                &format!(
                    "reached the contents (by no open of its own: an inherited or passed descriptor, io_uring, or a mapping{opener}) of"
                ),
                "read",
            )
        }
        Action::KeyModified => match access.deed {
            Deed::Size => both("cut or stretched", "cut or stretch"),
            Deed::Write => both("wrote (through a descriptor that it did not open) to", "write to"),
            _ => both("opened for writing", "open for writing"),
        },
        Action::KeyCreated if access.deed == Deed::Place => {
            both("put a file of elsewhere in the place of", "put a file of elsewhere in the place of")
        }
        Action::KeyCreated => both("created", "create"),
        Action::KeyDeleted => both("deleted", "delete"),
        Action::KeyRenamed => both("renamed", "rename"),
        Action::KeyReplaced if access.deed == Deed::Exchange => both("exchanged", "exchange"),
        Action::KeyReplaced => both("put another file in the place of", "replace"),
        Action::KeyLinked => both("made a further name for", "make a further name for"),
        Action::KeyPermissionsChanged => both("changed the permissions of", "change the permissions of"),
        Action::KeyAttributesChanged => match access.deed {
            Deed::Flags => both("changed the inode flags of", "change the inode flags of"),
            Deed::Times => both("set the time stamps of", "set the time stamps of"),
            Deed::Xattr => both("changed an extended attribute of", "change an extended attribute of"),
            _ => both("changed the inode (attributes, or its name) of", "change the inode of"),
        },
        Action::KeyMountedOver if access.deed == Deed::Unmount => {
            both("took away the mount of", "take away the mount of")
        }
        Action::KeyMountedOver => both("mounted something over", "mount something over"),
        Action::DeviceOpened if access.deed == Deed::MemoryDevice => both(
            "opened the memory of the whole machine, in which there may be",
            "open the memory of the whole machine, in which there may be",
        ),
        Action::DeviceOpened => both("opened a device that holds", "open a device that holds"),
        Action::SignerMemoryAccessed | Action::MonitorTampered => {
            let whose = access.other.known().map_or_else(|| "a process".to_owned(), process);
            let how = match access.deed {
                Deed::Ptrace => " (ptrace)",
                Deed::ProcMem => " (/proc/PID/mem)",
                Deed::VmRead => " (process_vm_readv)",
                Deed::TakeDescriptor => " (pidfd_getfd)",
                Deed::CoreSignal | Deed::CoreDump => " (a core dump)",
                _ => "",
            };
            if access.deed == Deed::CoreDump {
                return both("crashed, and dumped its memory (core(5)), which holds", "dump its memory, which holds");
            }
            both(
                &format!("reached the memory of {whose}{how}, which holds"),
                &format!("reach the memory of {whose}{how}, which holds"),
            )
        }
    }
}

/// "opendkim (pid 812)".
pub(super) fn process(one: &Ancestor) -> String {
    format!("{} (pid {})", escape::word(&one.comm), one.pid)
}

/// " (mode 0600 became 0644)", " (its further name is /tmp/x)": the details that come behind the key.
pub(super) fn details(access: &Access) -> String {
    let mut parts = Vec::new();
    if let Some(change) = access.change.known() {
        for (name, before, after) in changes(&change.before, &change.after) {
            parts.push(format!("{name} {before} became {after}"));
        }
    }
    if let Some(second) = access.second.known() {
        let what = match access.deed {
            Deed::Rename => "it is now",
            Deed::Replace => "the other file was",
            Deed::Exchange => "its new name is",
            Deed::Link => "its further name is",
            Deed::Place => "its other name is or was",
            Deed::Mount | Deed::Unmount => "at",
            Deed::Xattr | Deed::Acl => "attribute",
            _ => "asked for as",
        };
        parts.push(format!("{what} {}", escape::word(&second.bytes)));
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}

/// What differs, by name.
fn changes(before: &Attributes, after: &Attributes) -> Vec<(&'static str, String, String)> {
    let mode = |one: &Attributes| format!("{:04o}", one.mode & 0o7777);
    let all = [
        ("mode", mode(before), mode(after)),
        ("owner", before.uid.to_string(), after.uid.to_string()),
        ("group", before.gid.to_string(), after.gid.to_string()),
        ("size", before.size.to_string(), after.size.to_string()),
        ("links", before.nlink.to_string(), after.nlink.to_string()),
        ("flags", format!("{:#x}", before.flags), format!("{:#x}", after.flags)),
    ];
    all.into_iter().filter(|(_, before, after)| before != after).collect()
}
