//! Does a process fit an expected reader? By identity, never by a name.

use dkimwatch_common::{deed::Deed, record::Kind};

use super::{Policy, Reader, Role};
use crate::{
    attribute::AttributedAccess,
    decode::{Image, ImageSource},
};

/// How well a process fits a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// In everything that the policy asks.
    Fits,
    /// It runs the reader's program, and these details are off. Never empty.
    Off(Vec<Detail>),
    /// It runs another program.
    Other,
}

/// What is off about a process that runs a reader's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// The executable's owner or change time is not the recorded one: it was changed in place, or the inode was reused.
    Changed,
    /// The executable may be written by its group or by all.
    Writable,
    /// The executable had no name any more when it was executed.
    Nameless,
    /// `/proc/PID/exe` shows another file than the one executed.
    Claim,
    /// Not one of the reader's users.
    User,
    /// A signer that opens its key for writing.
    Writes,
    /// A signer that does something else than to read its key.
    Deed,
    /// Not in one of the reader's units.
    Unit,
    /// Not in one of the reader's containers.
    Container,
    /// The script cannot be told for certain.
    Script,
    /// Not one of the reader's keys.
    Key,
}

impl Detail {
    /// The word behind `signer-mismatch/`.
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::Changed => "executable-changed",
            Self::Writable => "executable-writable",
            Self::Nameless => "executable-deleted",
            Self::Claim => "executable-link",
            Self::User => "user",
            Self::Writes => "writes",
            Self::Deed => "deed",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Script => "script",
            Self::Key => "key",
        }
    }
}

/// Compares a process with a reader.
pub(super) fn fit(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> Fit {
    let process = &attributed.access.process;
    let Some(image) = process.image.known() else { return Fit::Other };
    let Some(newest) = reader.images.last().filter(|_| reader.images.iter().any(|one| one.id == image.id)) else {
        return Fit::Other;
    };
    let user = user(reader, attributed);
    // Without systemd no process is in a unit, and asking for one would make every signer a stranger.
    let unit = reader.units.is_empty()
        || !policy.systemd
        || attributed.unit.as_ref().is_some_and(|unit| reader.units.contains(unit));
    let script = reader.script.is_none() || script_known(reader, image, policy);
    let perhaps = looks_like_script(reader, image) && user && unit;
    if !script && !perhaps {
        // The interpreter alone says nothing: python3 is not dkimpy-milter.
        return Fit::Other;
    }
    // A kernel without i_ctime at a known place reports 0.
    let same = |one: &super::ExpectedImage| {
        one.id == image.id && one.uid == image.uid && (one.ctime == image.ctime || one.ctime == 0 || image.ctime == 0)
    };
    let open = attributed.access.file.open.known();
    let writes = open.is_some_and(|open| open.writes() || open.created() || open.truncated());
    let checks = [
        (Detail::Changed, reader.images.iter().any(same)),
        (Detail::Writable, image.mode & 0o022 == 0),
        // A former image may be gone from its path: a running daemon keeps it over an upgrade.
        (Detail::Nameless, image.nlink > 0 || image.id != newest.id),
        (Detail::Claim, !attributed.executable.claim_differs),
        (Detail::User, user),
        (Detail::Writes, reader.role != Role::Signer || !writes),
        (Detail::Deed, reader.role != Role::Signer || reads(attributed)),
        (Detail::Unit, unit),
        (Detail::Container, container(reader, attributed)),
        (Detail::Script, script),
        (Detail::Key, reader.keys.as_ref().is_none_or(|keys| keys.contains(&attributed.access.file.tag))),
    ];
    let off: Vec<Detail> = checks.into_iter().filter(|(_, right)| !right).map(|(detail, _)| detail).collect();
    if off.is_empty() { Fit::Fits } else { Fit::Off(off) }
}

/// It opened the key or read it: all that a signer does.
fn reads(attributed: &AttributedAccess) -> bool {
    let access = &attributed.access;
    match access.kind {
        Kind::Open | Kind::Refused | Kind::Library => true,
        Kind::Data => access.deed != Deed::Write,
        Kind::Tamper | Kind::Device | Kind::Memory => false,
    }
}

/// One of the reader's users. Users that are named and do not exist on this host are nobody, not anybody.
pub(super) fn user(reader: &Reader, attributed: &AttributedAccess) -> bool {
    let anybody = reader.uids.is_empty() && reader.users.is_empty();
    attributed.access.process.creds.known().is_some_and(|creds| anybody || reader.uids.contains(&creds.uid))
}

/// The script is the one that `execve` was given, seen by the exec hook, where the path means what it means here.
fn script_known(reader: &Reader, image: &Image, policy: &Policy) -> bool {
    looks_like_script(reader, image)
        && image.source == ImageSource::Exec
        && image.mnt_ns == policy.host_mnt_ns
        && !image.path.is_empty()
}

/// The script's path fits, or is not known (the process is older than the watch).
fn looks_like_script(reader: &Reader, image: &Image) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    image.path.is_empty() || reader.script.as_ref().is_some_and(|script| script.as_os_str().as_bytes() == image.path)
}

fn container(reader: &Reader, attributed: &AttributedAccess) -> bool {
    reader.containers.is_empty()
        || attributed.container.as_ref().is_some_and(|container| {
            !container.forgeable
                && reader
                    .containers
                    .iter()
                    .any(|prefix| !prefix.is_empty() && container.id.starts_with(prefix.as_str()))
        })
}
