//! Does a process fit an expected reader? By identity, never by a name.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use dkimwatch_common::{deed::Deed, record::Kind};

use super::{ExpectedImage, Policy, Provenance, Reader, Role, code, contained};
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

/// What is off about a process that runs a reader's program; the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// The executable's owner or change time is not the recorded one: it was changed in place, or the inode was reused.
    Changed,
    /// The executable's bytes are not the reader's program: another file was put at its path.
    Replaced,
    /// Whether they are is not known yet.
    Unexamined,
    /// It mapped code that is no part of it.
    Library,
    /// A variable of its environment makes it run other code.
    Environment,
    /// Another process traces it.
    Traced,
    /// The executable may be written by its group or by all.
    Writable,
    /// The executable had no name any more when it was executed.
    Nameless,
    /// `/proc/PID/exe` shows another file than the one executed, or is all that says what was.
    Claim,
    /// The executable was run by a name in another folder: a hard link or a bind mount.
    Elsewhere,
    /// Not one of the reader's users.
    User,
    /// A signer that opens its key for writing.
    Writes,
    /// A signer that does something else than to read its key.
    Deed,
    /// Not in one of the reader's units.
    Unit,
    /// It was put into its container from outside.
    Entered,
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
            Self::Replaced | Self::Unexamined => "executable-replaced",
            Self::Library => "library",
            Self::Environment => "environment",
            Self::Traced => "traced",
            Self::Writable => "executable-writable",
            Self::Nameless => "executable-deleted",
            Self::Claim => "executable-link",
            Self::Elsewhere => "executable-elsewhere",
            Self::User => "user",
            Self::Writes => "writes",
            Self::Deed => "deed",
            Self::Unit => "unit",
            Self::Entered => "entered",
            Self::Container => "container",
            Self::Script => "script",
            Self::Key => "key",
        }
    }
}

/// Compares a process with a reader.
pub(super) fn fit(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> Fit {
    if let Some(contained) = &reader.contained {
        return contained::fit(reader, contained, attributed, policy);
    }
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
    let expected = expected(reader, image);
    let is_former = image.id != newest.id || reader.place.is_none();
    if expected.is_none() && is_former && !is_at_its_path(reader, attributed) {
        // The number of a file that is gone from there, given to another program since.
        return Fit::Other;
    }
    let checks = [
        (Detail::Changed, expected.is_some()),
        (
            Detail::Replaced,
            expected.is_none_or(|one| matches!(one.provenance, Provenance::Accepted | Provenance::Pending)),
        ),
        (Detail::Unexamined, expected.is_none_or(|one| one.provenance != Provenance::Pending)),
        (Detail::Library, code::libraries_are_its_own(reader, attributed, policy)),
        (Detail::Environment, code::environment_is_plain(reader, attributed)),
        (Detail::Traced, !process.traced),
        (Detail::Writable, image.mode & 0o022 == 0),
        // A former image may be gone from its path: a running daemon keeps it over an upgrade.
        (Detail::Nameless, image.nlink > 0 || image.id != newest.id),
        (Detail::Claim, !attributed.executable.claim_differs && image.source != ImageSource::AtAccess),
        (Detail::Elsewhere, in_its_folder(reader, attributed, policy)),
        (Detail::User, user),
        (Detail::Unit, unit),
        (Detail::Container, container(reader, attributed, policy)),
        (Detail::Script, script),
    ];
    let checks = checks.into_iter().chain(deed_checks(reader, attributed));
    let mut off: Vec<Detail> = checks.filter(|(_, right)| !right).map(|(detail, _)| detail).collect();
    off.sort_unstable();
    if off.is_empty() { Fit::Fits } else { Fit::Off(off) }
}

/// What is asked of the deed and the key, of a reader on the host and of one in a container.
pub(super) fn deed_checks(reader: &Reader, attributed: &AttributedAccess) -> [(Detail, bool); 3] {
    let open = attributed.access.file.open.known();
    let writes = open.is_some_and(|open| open.writes() || open.created() || open.truncated());
    let signs = reader.role == Role::Signer;
    [
        (Detail::Writes, !signs || !writes),
        (Detail::Deed, !signs || reads(attributed)),
        (Detail::Key, reader.keys.as_ref().is_none_or(|keys| keys.contains(&attributed.access.file.tag))),
    ]
}

/// The state of the reader's executable that a process executed. A kernel without `i_ctime` at a known place reports 0.
pub(super) fn expected<'r>(reader: &'r Reader, image: &Image) -> Option<&'r ExpectedImage> {
    let same = |one: &&ExpectedImage| {
        one.id == image.id && one.uid == image.uid && (one.ctime == image.ctime || one.ctime == 0 || image.ctime == 0)
    };
    reader.images.iter().rev().find(same)
}

/// Run by a name in the executable's own folder. By another one it escapes what is bound to its path (AppArmor), and it
/// looks for its libraries elsewhere (`$ORIGIN`, ld.so(8)). A path means this only in the host's own mount namespace; that
/// of a file which is gone from it, or the end of a long one, says nothing.
fn in_its_folder(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> bool {
    let process = &attributed.access.process;
    let here = process.namespaces.known().is_some_and(|namespaces| namespaces.mnt == policy.host_mnt_ns);
    let claimed = process.claimed.known().filter(|claimed| here && !claimed.unlinked && !claimed.path.cut);
    let (Some(claimed), Some(place)) = (claimed, &reader.place) else { return true };
    let run = Path::new(OsStr::from_bytes(&claimed.path.bytes));
    attributed.executable.claim_differs || run.parent() == place.parent() || run.parent() == reader.executable.parent()
}

/// What it runs is called as the reader's program is.
fn is_at_its_path(reader: &Reader, attributed: &AttributedAccess) -> bool {
    let path = attributed.executable.path.as_deref();
    [Some(&reader.executable), reader.place.as_ref()]
        .iter()
        .flatten()
        .any(|one| Some(one.as_os_str().as_bytes()) == path)
}

/// It opened the key or read it: all that a signer does.
fn reads(attributed: &AttributedAccess) -> bool {
    let access = &attributed.access;
    match access.kind {
        Kind::Open | Kind::Refused | Kind::Library => true,
        Kind::Data => access.deed != Deed::Write,
        Kind::Tamper | Kind::Device | Kind::Memory | Kind::Itself => false,
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
    image.path.is_empty() || reader.script.as_ref().is_some_and(|script| script.as_os_str().as_bytes() == image.path)
}

fn container(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> bool {
    let unit_decides = policy.systemd && !reader.units.is_empty();
    if reader.containers.is_empty() {
        // The host's own signer, run in a container that was given its file: another root around the same program. Where
        // systemd names its unit, the unit has decided; this host may be a container itself.
        let elsewhere = attributed.access.process.image.known().is_some_and(|image| image.mnt_ns != policy.host_mnt_ns);
        return unit_decides || attributed.container.is_none() || !elsewhere;
    }
    contained::is_listed(&reader.containers, attributed)
}
