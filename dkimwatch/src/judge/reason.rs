//! The sentences of `event.reason`: who did what to which key, why that is not as expected, and what to do first.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};

use dkimwatch_common::deed::Deed;

use super::{Action, JudgedKey, Policy, Provenance, Reader, Role, code, deed, fit::Detail, stranger::Kind};
use crate::{
    attribute::{AttributedAccess, Container},
    containers::Details,
    decode::ImageSource,
    escape,
};

/// "nobody (uid 65534) opened the DKIM key of example.org, selector sel1 (/etc/…) with /usr/bin/cat (pid 4242), …".
pub(super) fn deed(attributed: &AttributedAccess, action: Action, key: &JudgedKey) -> String {
    let mut sentence = format!("{} {} {}", who(attributed), deed::did(attributed, action), object(attributed, key));
    // Another path to the same file: a hard link, a bind mount, a container's view.
    let opened = opened_path(attributed).filter(|_| !attributed.access.file.path_in_fs && !is_link(attributed));
    if let Some(path) = opened.filter(|path| *path != key.path.as_os_str().as_bytes()) {
        let _ = write!(sentence, " by the path {}", escape::word(path));
    }
    sentence.push_str(&deed::details(&attributed.access));
    sentence.push_str(&by(attributed));
    sentence
}

/// " with /usr/bin/cat (pid 4242), started by bash (pid 4000), in session-3.scope, …": by what means, and from where.
pub(super) fn by(attributed: &AttributedAccess) -> String {
    let process = &attributed.access.process;
    let mut sentence = String::new();
    let program = program(attributed);
    let _ = write!(sentence, " with {program} (pid {}", process.pid);
    if process.tid != process.pid {
        let _ = write!(sentence, ", thread {}", process.tid);
    }
    sentence.push(')');
    if process.io_worker {
        sentence.push_str(", by an io_uring worker");
    }
    if let Some(parent) = process.ancestors.first() {
        let _ = write!(sentence, ", started by {} (pid {})", escape::word(&parent.comm), parent.pid);
    }
    if let Some(container) = &attributed.container {
        let _ = write!(sentence, ", in {}", container_name(container, attributed.enrichment.details()));
        if attributed.has_entered() == Some(true) {
            sentence.push_str(", which it entered from outside");
        }
    } else if let Some(unit) = &attributed.unit {
        let _ = write!(sentence, ", in {unit}");
    }
    if let Some(uid) = process.login_uid.known().copied().flatten() {
        let _ = write!(sentence, ", from a login of {}", named(attributed.names.login_user.as_deref(), uid));
    }
    sentence
}

/// A symbolic link (inode(7)), to which something can be done that its key does not notice.
fn is_link(attributed: &AttributedAccess) -> bool {
    attributed.access.file.mode & 0o17_0000 == 0o12_0000
}

/// The key, or the folder or link that it is about.
fn object(attributed: &AttributedAccess, key: &JudgedKey) -> String {
    if is_link(attributed) {
        let link = opened_path(attributed).unwrap_or_default();
        // A path in its file system is the end of the whole one.
        return if !link.is_empty() && key.path.as_os_str().as_bytes().ends_with(link) {
            format!("{}, which is a link", key_name(key))
        } else {
            format!("a link ({}) on the way to {}", escape::word(link), key_name(key))
        };
    }
    if !attributed.access.file.is_folder {
        return key_name(key);
    }
    let folder = opened_path(attributed).unwrap_or_default();
    // A path in its file system is the end of the whole one.
    if key.path.as_os_str().as_bytes().ends_with(folder) {
        format!("the folder of DKIM keys {}", shown(&key.path))
    } else {
        format!("a folder ({}) on the way to {}", escape::word(folder), key_name(key))
    }
}

fn opened_path(attributed: &AttributedAccess) -> Option<&[u8]> {
    attributed.access.file.path.known().map(|path| path.bytes.as_slice())
}

/// The sentence for a reader that fits.
pub(super) fn as_expected(reader: &Reader, deed: &str, action: Action) -> String {
    let role = match reader.role {
        Role::Signer => "as the expected signer",
        Role::Maintenance => "as declared maintenance",
    };
    let mut sentence = format!("{deed}, {role} {}.", printable(&reader.name));
    if action == Action::KeyOpenDenied {
        sentence.push_str(match reader.role {
            Role::Signer => {
                " Mail is refused or goes out unsigned: check owner and mode of the key and of the folders above it."
            }
            Role::Maintenance => " Check owner and mode of the key, if it should have been read.",
        });
    }
    sentence
}

/// The sentence for a reader's program with details that are off.
pub(super) fn off(
    reader: &Reader,
    details: &[Detail],
    attributed: &AttributedAccess,
    policy: &Policy,
    deed: &str,
    action: Action,
    key: &JudgedKey,
) -> String {
    let what: Vec<String> = details.iter().map(|detail| detail_text(*detail, reader, attributed, policy)).collect();
    format!(
        "{deed}. It runs {}, the program of {}, but {}. {}",
        shown(&reader.executable),
        printable(&reader.name),
        what.join(", and "),
        first(attributed, action, key)
    )
}

/// The sentence for the signer's own check, run by hand.
pub(super) fn own_check(reader: &Reader, deed: &str) -> String {
    format!(
        "{deed}. It is {} checking its own configuration. If nobody ran that check just now, find out who did.",
        printable(&reader.name)
    )
}

/// The sentence for a stranger.
pub(super) fn stranger(
    kind: Kind<'_>,
    attributed: &AttributedAccess,
    policy: &Policy,
    deed: &str,
    action: Action,
    key: &JudgedKey,
) -> String {
    let process = &attributed.access.process;
    let why = match kind {
        Kind::KernelThread => {
            "It is a kernel thread: look for a kernel file server (nfsd, ksmbd) or a core dump that hands the key on"
                .to_owned()
        }
        Kind::UnknownExecutable => "Its executable is not known, as the kernel could not read it".to_owned(),
        Kind::ChangedLink => {
            let claim = process.claimed.known().map(|exe| escape::word(&exe.path.bytes)).unwrap_or_default();
            format!("It is disguised: it made /proc/{}/exe show {claim}, which is not what it executed", process.pid)
        }
        Kind::Namesake(reader) => {
            let same_path = attributed.executable.path.as_deref() == Some(reader.executable.as_os_str().as_bytes());
            let upgrade = if same_path { "; if the package was upgraded just now, restart dkimwatch" } else { "" };
            format!(
                "It has the name of {} but is not its program ({}): a disguise{upgrade}",
                printable(&reader.name),
                shown(&reader.executable)
            )
        }
        Kind::Replaced(reader) => {
            return format!(
                "{deed}. It runs a deleted file that was called {}: most likely an upgrade replaced it and {} was not restarted since. Restart it, and its reads are expected again; if there was no upgrade, take the key for stolen.",
                shown(&reader.executable),
                printable(&reader.name)
            );
        }
        Kind::HiddenExecutable => {
            "Its executable is hidden: deleted, in memory only, or in a folder that everybody can write to".to_owned()
        }
        Kind::Container => match &attributed.container {
            Some(container) if container.forgeable => {
                "No signer is expected in that container, whose name is no proof: an ordinary user or another container could have given it".to_owned()
            }
            container => {
                let id = container.as_ref().map(Container::short_id).unwrap_or_default();
                let image = attributed.enrichment.details().and_then(|details| details.image.as_ref());
                match image.and_then(|image| image.name.as_ref()) {
                    Some(image) => format!(
                        "No signer is expected in that container; if this program signs your mail, declare it: [[signer]] with executable and images = [\"{}\"]",
                        printable(image)
                    ),
                    None => format!(
                    "No signer is expected in that container; if it signs your mail, declare it: [[signer]] with containers = [\"{id}\"]"
                    ),
                }
            }
        },
        Kind::Tool(tool) => return format!("{deed}. {}.", tool.advice),
        Kind::SignerUser(reader) => {
            format!(
                "It runs as the user of {} but is not its program ({})",
                printable(&reader.name),
                shown(&reader.executable)
            )
        }
        Kind::User | Kind::Interactive | Kind::Root => format!("Expected here: {}", expected(policy, attributed)),
    };
    format!("{deed}. {why}. {}", first(attributed, action, key))
}

/// What to do first.
fn first(attributed: &AttributedAccess, action: Action, key: &JudgedKey) -> String {
    let pid = attributed.access.process.pid;
    let refused = attributed.access.outcome.known().is_some_and(|outcome| outcome.is_err());
    match action {
        _ if refused => format!("The key stayed shut. Find out what pid {pid} is and who started it."),
        Action::KeyDeleted | Action::KeyRenamed => "If nobody rotated keys just now, mail goes out unsigned or refused: put the key back, and find out whether a copy was taken first.".to_owned(),
        Action::KeyPermissionsChanged | Action::KeyAttributesChanged => format!("Unless you know why, set them right again and find out who may have read the key since; pid {pid} made the change."),
        _ if action.replaces() => "If nobody rotated keys just now, the file may hold somebody else's key: stop signing with it and compare it with its DNS record.".to_owned(),
        _ => match (&key.selector, &key.domain) {
            (Some(selector), Some(domain)) => format!(
                "Unless you know why, take the key for stolen: sign with a new selector, then withdraw {}._domainkey.{}.",
                printable(selector), printable(domain)
            ),
            _ => "Unless you know why, take the key for stolen: sign with a new selector, then withdraw the old one's DNS record.".to_owned(),
        },
    }
}

pub(super) fn who(attributed: &AttributedAccess) -> String {
    let Some(creds) = attributed.access.process.creds.known() else { return "a process of an unknown user".to_owned() };
    let outer = |name: &Option<String>, uid| named(name.as_deref(), uid);
    if let Some(ids) = attributed.inner_ids() {
        let place = if attributed.container.is_some() { "in the container" } else { "in its user namespace" };
        match ids.real_user {
            Some(id) if id != creds.uid => {
                let inner = named(attributed.inner_user(id), id);
                return format!("{inner} {place}, {} on the host,", outer(&attributed.names.real_user, creds.uid));
            }
            Some(id) => {
                // The same number, and often another name.
                if let Some(name) = attributed.inner_user(id) {
                    return format!("{} {place}", named(Some(name), id));
                }
            }
            None => {
                let host = outer(&attributed.names.real_user, creds.uid);
                return format!("{host}, who is nobody {place},");
            }
        }
    }
    let mut who = named(attributed.names.real_user.as_deref(), creds.uid);
    if creds.euid != creds.uid {
        let _ = write!(who, ", effectively {},", named(attributed.names.user.as_deref(), creds.euid));
    }
    who
}

/// "alice (uid 1000)", or "uid 1000".
fn named(name: Option<&str>, uid: u32) -> String {
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

/// errno(3), for those that an open is refused with.
pub(crate) fn errno_name(errno: i32) -> String {
    let name = match errno {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        13 => "EACCES",
        16 => "EBUSY",
        17 => "EEXIST",
        23 => "ENFILE",
        24 => "EMFILE",
        26 => "ETXTBSY",
        30 => "EROFS",
        40 => "ELOOP",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

fn key_name(key: &JudgedKey) -> String {
    let path = shown(&key.path);
    match (&key.domain, &key.selector) {
        (Some(domain), Some(selector)) => {
            format!("the DKIM key of {}, selector {} ({path})", printable(domain), printable(selector))
        }
        (Some(domain), None) => format!("the DKIM key of {} ({path})", printable(domain)),
        _ => format!("the DKIM key {path}"),
    }
}

fn program(attributed: &AttributedAccess) -> String {
    let process = &attributed.access.process;
    let Some(path) = &attributed.executable.path else {
        return if process.kernel_thread { escape::word(&process.comm) } else { "an unknown program".to_owned() };
    };
    let mut program = escape::word(path);
    if let Some(script) = process.image.known().map(|image| &image.path).filter(|script| {
        // A script's interpreter is the executable; what execve was given says more.
        !script.is_empty() && super::stranger::basename(script) != super::stranger::basename(path)
    }) {
        let _ = write!(program, " (executed as {})", escape::word(script));
    }
    program
}

/// "podman container mx (3f5a0c1b2d4e) of image …", as far as that is known.
fn container_name(container: &Container, details: Option<&Details>) -> String {
    let word = |text: &String| escape::word(text.as_bytes());
    let mut name = format!("{} container ", container.runtime);
    // Of some runtimes the name is the id.
    match details.and_then(|details| details.name.as_ref()).filter(|name| **name != container.id) {
        Some(called) => {
            let _ = write!(name, "{} ({})", word(called), container.short_id());
        }
        None => name.push_str(container.short_id()),
    }
    if let Some(image) = details.and_then(|details| details.image.as_ref())
        && let Some(called) = image.name.as_ref().or(image.id.as_ref())
    {
        let _ = write!(name, " of the image {}", word(called));
    }
    if let Some(pod) = details.and_then(|details| details.pod.as_ref()) {
        let space = details.and_then(|details| details.namespace.as_ref());
        let space = space.map(|space| format!("{}/", word(space))).unwrap_or_default();
        let _ = write!(name, " in the pod {space}{}", word(pod));
    }
    if let Some(pod) = container.pod.as_ref().filter(|_| details.is_none_or(|details| details.pod.is_none())) {
        let _ = write!(name, " of the pod {}", pod.uid);
    }
    for outer in container.around.iter().rev() {
        let _ = write!(name, " within {} container {}", outer.runtime, outer.short_id());
    }
    name
}

/// Who is expected at this key.
fn expected(policy: &Policy, attributed: &AttributedAccess) -> String {
    let tag = attributed.access.file.tag;
    let names: Vec<String> = policy
        .readers
        .iter()
        .filter(|reader| reader.keys.as_ref().is_none_or(|keys| keys.contains(&tag)) && reader.is_there())
        .map(|reader| printable(&reader.name))
        .collect();
    if names.is_empty() { "nobody, as no signer is configured".to_owned() } else { names.join(", ") }
}

fn detail_text(detail: Detail, reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> String {
    let process = &attributed.access.process;
    match detail {
        Detail::Changed => {
            "that file was changed after dkimwatch had recorded it (if its package was upgraded, restart dkimwatch)"
                .to_owned()
        }
        Detail::Replaced if reader.contained.is_none() => replaced(reader, attributed),
        Detail::Replaced => {
            "in that container it is not the image's own file: somebody put another one there".to_owned()
        }
        Detail::Unexamined if reader.contained.is_some() => {
            "of which image its container is could not be found out in time (dkimwatch looks on)".to_owned()
        }
        Detail::Unexamined => {
            "that file came while dkimwatch was running, and whether it is the same program could not be found out in time (dkimwatch looks again; if its package was upgraded, this is no theft)"
                .to_owned()
        }
        Detail::Library => code::libraries(reader, attributed, policy),
        Detail::Environment => code::environment(reader, attributed),
        Detail::Traced => format!("pid {} traces it and can do as it likes with it", process.tracer),
        Detail::Writable => "others than its owner may write to that file".to_owned(),
        Detail::Nameless => "that file had been deleted when it was executed".to_owned(),
        Detail::Claim if attributed.executable.claim_differs => format!("/proc/{}/exe shows another file", process.pid),
        Detail::Claim => {
            format!("that is known from /proc/{}/exe alone: the kernel's table of processes was full", process.pid)
        }
        Detail::Elsewhere => {
            let path = process.claimed.known().map(|exe| escape::word(&exe.path.bytes)).unwrap_or_default();
            format!("by the name {path}, where nothing starts it: a hard link or a bind mount")
        }
        // A named user that does not exist fits nobody.
        Detail::User if reader.uids.is_empty() => {
            format!("as {}; expected {}, which is no user of this host", who(attributed), or(&reader.users))
        }
        Detail::User => format!("as {}; expected {}", who(attributed), or(&reader.users)),
        Detail::Deed if attributed.access.deed == Deed::CoreDump => {
            "wherever the dump lies now, the key lies in it: find and delete it (coredumpctl, /proc/sys/kernel/core_pattern)"
                .to_owned()
        }
        Detail::Deed => "a signer only reads its key".to_owned(),
        Detail::Writes => "it opened the key for writing, and a signer only reads".to_owned(),
        Detail::Unit => {
            format!("in {}; expected {}", attributed.unit.as_deref().unwrap_or("no known unit"), or(&reader.units))
        }
        Detail::Entered => "somebody put it into that container from outside: the signer is started by the container itself".to_owned(),
        Detail::Container if reader.contained.is_some() => elsewhere(reader, attributed),
        Detail::Container => match &attributed.container {
            Some(container) if reader.containers.is_empty() => format!(
                "in {}, with a root of its own, where nothing that is beside it is the host's; expected on the host itself (if it signs your mail, declare it: [[signer]] with containers)",
                container_name(container, attributed.enrichment.details())
            ),
            Some(container) if container.forgeable => {
                format!(
                    "in {}, a name that an ordinary user or another container could have given; expected {}",
                    container_name(container, attributed.enrichment.details()),
                    or(&reader.containers)
                )
            }
            Some(container) => format!(
                "in {}; expected {}",
                container_name(container, attributed.enrichment.details()),
                or(&reader.containers)
            ),
            None => format!("in no container; expected {}", or(&reader.containers)),
        },
        Detail::Script => {
            let script = reader.script.as_deref().map(shown).unwrap_or_default();
            let older = process.image.known().is_some_and(|image| image.source != ImageSource::Exec);
            if older {
                format!("whether it runs {script} is not known, as it is older than the watch (restart it)")
            } else {
                format!("it executed {script} of another mount namespace")
            }
        }
        Detail::Key => "this key is not among its keys".to_owned(),
    }
}

/// Where a signer of an image runs that is not expected there: in a container of that image, and not in the one that is meant.
fn elsewhere(reader: &Reader, attributed: &AttributedAccess) -> String {
    let images = reader.contained.as_ref().map(|contained| contained.images.as_slice()).unwrap_or_default();
    let place = attributed.container.as_ref().map(|one| container_name(one, attributed.enrichment.details()));
    let place = place.unwrap_or_else(|| "no container".to_owned());
    format!("in {place}; expected a container of {} that is {}", or(images), or(&reader.containers))
}

/// Why a file at a reader's path is not its program, and how to say that it is.
fn replaced(reader: &Reader, attributed: &AttributedAccess) -> String {
    let image = attributed.access.process.image.known();
    match image.and_then(|image| super::fit::expected(reader, image)).map(|one| &one.provenance) {
        Some(Provenance::NotPackage(package)) => {
            let package = printable(package);
            format!(
                "that file is not the one of the package {package}, which owns its path (look at it: dpkg --verify {package}, or rpm -V {package}; a program of your own belongs elsewhere or behind dpkg-divert)"
            )
        }
        Some(Provenance::Unread) => {
            "that file was put there while dkimwatch was running, and it cannot be read (if you put it there, restart dkimwatch)"
                .to_owned()
        }
        _ => "that file was put there while dkimwatch was running, and no package owns it (if you put it there, restart dkimwatch)".to_owned(),
    }
}

/// "a, b or c".
fn or(words: &[String]) -> String {
    match words {
        [] => "any".to_owned(),
        [one] => printable(one),
        [first @ .., last] => {
            format!(
                "{} or {}",
                first.iter().map(|word| printable(word)).collect::<Vec<_>>().join(", "),
                printable(last)
            )
        }
    }
}

pub(super) fn shown(path: &std::path::Path) -> String {
    escape::word(path.as_os_str().as_bytes())
}

fn printable(word: &str) -> String {
    escape::text(word.as_bytes())
}
