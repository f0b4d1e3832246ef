//! The judgement.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

use dkimwatch_common::{deed::Deed, record::Kind, watch::file_watch};

use super::{
    Action, JudgedAccess, JudgedKey, Policy, Reader, Role, Verdict, Watched,
    fit::{Detail, Fit, fit},
    itself, memory, reason, severity, stranger,
};
use crate::{attribute::AttributedAccess, decode::Access};

/// Judges an access; `None` for a public file beside a key, which anyone may read, and for what is a fact and no event.
///
/// Rules, by `rule.id`:
/// - `signer/NAME`, `maintenance/NAME`: a reader of the policy, matched in everything that the policy asks.
/// - `signer-mismatch/DETAIL`, `maintenance-mismatch/DETAIL`: a reader's program with a detail that is off; the reason names each.
/// - `monitor/…`: what is the watch's own, see [`itself`](super::itself).
/// - `stranger/KIND`: any other program. `disguise` is one that has a reader's name, or that changed what
///   `/proc/PID/exe` shows.
#[must_use]
pub fn judge(attributed: AttributedAccess, policy: &Policy) -> Option<JudgedAccess> {
    if itself::is_meant(&attributed.access) {
        return itself::judge(attributed, policy);
    }
    if is_public(&attributed.access, policy)
        || changes_nothing(&attributed.access)
        || !memory::holds_key(&attributed.access, policy)
    {
        return None;
    }
    let action = Action::of(&attributed.access)?;
    let key = key(&attributed.access, policy);
    let deed = reason::deed(&attributed, action, &key);
    let finding = decide(&attributed, policy, action, &key, &deed);
    let refused = is_refused(&attributed.access) && finding.verdict == Verdict::Unexpected;
    Some(JudgedAccess {
        attributed,
        action,
        key,
        verdict: finding.verdict,
        rule: finding.rule,
        reason: finding.reason,
        undecided: finding.undecided,
        part: None,
        severity: if refused { severity::refused(finding.severity) } else { finding.severity },
    })
}

struct Finding {
    verdict: Verdict,
    rule: String,
    severity: u8,
    reason: String,
    undecided: bool,
}

fn decide(attributed: &AttributedAccess, policy: &Policy, action: Action, key: &JudgedKey, deed: &str) -> Finding {
    let fits: Vec<(&Reader, Fit)> =
        policy.readers.iter().map(|reader| (reader, fit(reader, attributed, policy))).collect();
    // Before anything else: a check run by hand has the signer's identity, and is not the signer at work.
    let runs = |found: &Fit| match found {
        Fit::Fits => true,
        Fit::Off(details) => details.iter().all(|detail| matches!(detail, Detail::Unit | Detail::User)),
        Fit::Other => false,
    };
    if let Some((reader, _)) =
        fits.iter().find(|(reader, found)| runs(found) && stranger::own_check(attributed, reader))
    {
        return Finding {
            verdict: Verdict::Unexpected,
            rule: "stranger/admin-check".to_owned(),
            severity: severity::NOTICE,
            reason: reason::own_check(reader, deed),
            undecided: false,
        };
    }
    if let Some((reader, _)) = fits.iter().find(|(_, found)| *found == Fit::Fits) {
        let verdict = match reader.role {
            Role::Signer => Verdict::Expected,
            Role::Maintenance => Verdict::Maintenance,
        };
        let denied = is_refused(&attributed.access);
        return Finding {
            verdict,
            rule: format!("{}/{}", role(reader), crate::escape::text(reader.name.as_bytes())),
            severity: if denied { severity::NOTICE } else { severity::NONE },
            reason: reason::as_expected(reader, deed, action),
            undecided: false,
        };
    }
    let nearest = fits
        .iter()
        .filter_map(|(reader, found)| if let Fit::Off(details) = found { Some((*reader, details)) } else { None })
        .min_by_key(|(_, details)| details.len());
    if let Some((reader, details)) = nearest {
        // Details come gravest first.
        let gravest = details.first().copied().unwrap_or(Detail::Key);
        return Finding {
            verdict: Verdict::Unexpected,
            rule: format!("{}-mismatch/{}", role(reader), gravest.rule()),
            severity: details.iter().map(|detail| detail_severity(*detail)).max().unwrap_or(severity::HIGH),
            reason: reason::off(reader, details, attributed, policy, deed, action, key),
            // Whatever else is off: the look may find something graver, or clear the program of it.
            undecided: details.contains(&Detail::Unexamined),
        };
    }
    let kind = stranger::kind(attributed, policy);
    let root = attributed.access.process.creds.known().is_some_and(|creds| creds.uid == 0);
    Finding {
        verdict: Verdict::Unexpected,
        rule: kind.rule().to_owned(),
        severity: kind.severity(root),
        reason: reason::stranger(kind, attributed, policy, deed, action, key),
        undecided: false,
    }
}

/// A reader's role, as rules begin with it.
const fn role(reader: &Reader) -> &'static str {
    match reader.role {
        Role::Signer => "signer",
        Role::Maintenance => "maintenance",
    }
}

const fn detail_severity(detail: Detail) -> u8 {
    match detail {
        Detail::Changed
        | Detail::Replaced
        | Detail::Library
        | Detail::Environment
        | Detail::Traced
        | Detail::Writable
        | Detail::Nameless
        | Detail::Claim
        | Detail::Elsewhere
        | Detail::User => severity::CRITICAL,
        Detail::Unexamined
        | Detail::Writes
        | Detail::Deed
        | Detail::Unit
        | Detail::Entered
        | Detail::Container
        | Detail::Script => severity::HIGH,
        Detail::Key => severity::MEDIUM,
    }
}

/// The deed was not done.
pub(super) fn is_refused(access: &Access) -> bool {
    access.outcome.known().is_some_and(|outcome| outcome.is_err())
}

/// Mode or owner were set to what they were: Debian's opendkim does that to its keys' folder whenever it is installed.
pub(super) fn changes_nothing(access: &Access) -> bool {
    matches!(access.deed, Deed::Mode | Deed::Owner)
        && !is_refused(access)
        && access.change.known().is_some_and(|change| change.before == change.after)
}

/// The key that a record's tag names. A tag without an entry (the watch list has just changed) leaves the path.
fn key(access: &Access, policy: &Policy) -> JudgedKey {
    let opened = || {
        let bytes = access.file.path.known().map(|path| path.bytes.clone()).unwrap_or_default();
        PathBuf::from(OsString::from_vec(bytes))
    };
    if let Some(key) = memory::key(access, policy) {
        return key;
    }
    match watched(access, policy) {
        Some(folder @ Watched::Folder { .. }) if matches!(access.kind, Kind::Device | Kind::Memory) => {
            memory::of(folder)
        }
        Some(Watched::Key(key)) => key.clone(),
        Some(Watched::Folder { path, signer }) => {
            let opened = opened();
            let whole = if access.file.path_in_fs { below(path, &opened).unwrap_or(opened) } else { opened };
            // A link, or a folder, on the way to it is told as that.
            let path = if access.kind == Kind::Tamper && path.starts_with(&whole) { path.clone() } else { whole };
            JudgedKey { path, domain: None, selector: None, signer: signer.clone() }
        }
        None => JudgedKey { path: opened(), domain: None, selector: None, signer: None },
    }
}

/// A path in its file system, as one below a folder whose whole path is known: of `/srv/keys` and `/keys/a`, with a file
/// system mounted at `/srv`, it is `/srv/keys/a`.
fn below(folder: &Path, in_fs: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = folder.components().skip(1).collect();
    (0..parts.len()).find_map(|skipped| {
        let known: PathBuf = std::iter::once(Component::RootDir).chain(parts.iter().skip(skipped).copied()).collect();
        let rest = in_fs.strip_prefix(&known).ok()?;
        Some(if rest.as_os_str().is_empty() { folder.to_owned() } else { folder.join(rest) })
    })
}

fn watched<'p>(access: &Access, policy: &'p Policy) -> Option<&'p Watched> {
    policy.watched.get(usize::try_from(access.file.tag).ok()?)
}

/// A file of a public name that was born in a watched folder, or lies in a layer below one. Never an armed key, whatever it is called today, and never
/// a file with a second name: that other name could be a key's.
fn is_public(access: &Access, policy: &Policy) -> bool {
    let in_folder = matches!(watched(access, policy), Some(Watched::Folder { .. }));
    let Some(path) = access.file.path.known() else { return false };
    let name = stranger::basename(&path.bytes);
    let by_the_folder = matches!(access.file.watch_kind, file_watch::BORN | file_watch::LAYER);
    in_folder && by_the_folder && access.file.nlink <= 1 && policy.public.hold(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_its_file_system_is_found_below_a_known_folder() {
        let of = |folder: &str, in_fs: &str| below(Path::new(folder), Path::new(in_fs));
        assert_eq!(of("/srv/keys", "/keys/a"), Some("/srv/keys/a".into()));
        assert_eq!(of("/srv/keys", "/srv/keys/b/a"), Some("/srv/keys/b/a".into()));
        assert_eq!(of("/srv/keys", "/keys"), Some("/srv/keys".into()));
        assert_eq!(of("/srv/keys", "/elsewhere/a"), None);
    }
}
