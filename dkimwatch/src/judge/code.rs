//! Whose code runs in a signer's process? Its program's, and libraries of the system.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use dkimwatch_common::exec::mark;

use super::{Policy, Reader};
use crate::{
    attribute::{AttributedAccess, Mapped},
    decode::Fact,
    escape,
};

/// Why a library is no part of a signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// In memory only, or deleted.
    Nameless,
    /// Neither root's nor of the program's owner.
    Owner(u32),
    /// Others than its owner may write to it.
    Writable,
    /// In a folder where no libraries are installed.
    Folder,
    /// In another mount namespace, another file than the host has at that path.
    Covered,
    /// Among the packages' libraries, and no package owns it.
    Unowned,
}

/// Whether a library that a process mapped is no part of any reader whose program it runs. `None`: it is the system's, or
/// a reader's own.
#[must_use]
pub fn foreign(mapped: &Mapped, attributed: &AttributedAccess, policy: &Policy) -> Option<Foreign> {
    let image = attributed.access.process.image.known()?;
    let runs = |reader: &&Reader| reader.runs(image.id);
    let mut why = None;
    for reader in policy.readers.iter().filter(runs) {
        why = Some(foreign_to(reader, mapped, attributed, policy)?);
    }
    why
}

fn foreign_to(reader: &Reader, mapped: &Mapped, attributed: &AttributedAccess, policy: &Policy) -> Option<Foreign> {
    let owner = attributed.access.process.image.known().map_or(0, |image| image.uid);
    if mapped.nameless {
        return Some(Foreign::Nameless);
    }
    if mapped.uid != 0 && mapped.uid != owner {
        return Some(Foreign::Owner(mapped.uid));
    }
    if mapped.mode & 0o022 != 0 {
        return Some(Foreign::Writable);
    }
    let place = Folder::of(&mapped.path, reader);
    if place == Folder::Other {
        return Some(Foreign::Folder);
    }
    if mapped.at_home == Some(false) && in_the_hosts_root(reader, attributed) && is_elsewhere(attributed, policy) {
        return Some(Foreign::Covered);
    }
    let packaged = attributed.executable.package.is_some();
    (place == Folder::Packages && packaged && mapped.unowned == Some(true)).then_some(Foreign::Unowned)
}

/// In a mount namespace of its own, as many services are.
fn is_elsewhere(attributed: &AttributedAccess, policy: &Policy) -> bool {
    let namespaces = attributed.access.process.namespaces.known();
    namespaces.is_some_and(|namespaces| namespaces.mnt != policy.host_mnt_ns)
}

/// Its program has the path there that it has here: what it sees is the host's root with something mounted over it, no
/// root of its own (a container, `RootDirectory=`).
fn in_the_hosts_root(reader: &Reader, attributed: &AttributedAccess) -> bool {
    let claimed = attributed.access.process.claimed.known().map(|claimed| claimed.path.bytes.as_slice());
    reader.containers.is_empty()
        && reader.place.as_deref().is_some_and(|place| Some(place.as_os_str().as_bytes()) == claimed)
}

/// Where a library lies.
#[derive(Debug, PartialEq, Eq)]
enum Folder {
    /// Where packages install libraries.
    Packages,
    /// Where administrators do, or beside the reader's program.
    Local,
    /// Elsewhere.
    Other,
}

impl Folder {
    fn of(path: &[u8], reader: &Reader) -> Self {
        if in_library_folder(path, b"/usr/") || in_library_folder(path, b"/") {
            return Self::Packages;
        }
        // Stores whose every file is root's for good.
        let store = path.starts_with(b"/nix/store/") || path.starts_with(b"/gnu/store/");
        if store || in_library_folder(path, b"/usr/local/") || is_beside(path, reader) {
            return Self::Local;
        }
        Self::Other
    }
}

/// `/lib`, `/lib64`, `/libexec` and the like below a prefix.
fn in_library_folder(path: &[u8], prefix: &[u8]) -> bool {
    const FOLDERS: [&[u8]; 5] = [b"lib", b"lib32", b"lib64", b"libx32", b"libexec"];
    let below = path.strip_prefix(prefix).unwrap_or_default();
    let first = below.split(|byte| *byte == b'/').next().unwrap_or_default();
    first.len() < below.len() && FOLDERS.contains(&first)
}

/// In the folder of the program, or in a library folder of the same prefix: `/opt/mail/sbin/signer`,
/// `/opt/mail/lib/libsigner.so`.
fn is_beside(path: &[u8], reader: &Reader) -> bool {
    let place = reader.place.as_deref().unwrap_or(&reader.executable);
    let Some(folder) = place.parent() else { return false };
    if Path::new(OsStr::from_bytes(path)).parent() == Some(folder) {
        return true;
    }
    let name = folder.file_name().unwrap_or_default();
    let prefix = folder.parent().filter(|_| name == "bin" || name == "sbin" || name == "libexec");
    prefix.is_some_and(|prefix| in_library_folder(path, &[prefix.as_os_str().as_bytes(), b"/"].concat()))
}

/// Every library that it mapped is its own or the system's, as far as is known.
pub(super) fn libraries_are_its_own(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> bool {
    match &attributed.code.libraries {
        Fact::Known(libraries) => {
            libraries.iter().all(|mapped| foreign_to(reader, mapped, attributed, policy).is_none())
        }
        // There were some that were not known, and what they were is lost.
        Fact::Unreadable => false,
        Fact::NotAsked => true,
    }
}

/// No variable leads to other code. Those of the dynamic linker decide nothing where it is known what it loaded: an
/// administrator may well preload an allocator.
pub(super) fn environment_is_plain(reader: &Reader, attributed: &AttributedAccess) -> bool {
    leading(attributed, reader) == 0
}

/// The variables that lead to other code, or may.
fn leading(attributed: &AttributedAccess, reader: &Reader) -> u32 {
    const LINKER: u32 = mark::PRELOAD | mark::AUDIT | mark::LIBRARY_PATH;
    const SCRIPT: u32 = mark::PYTHON | mark::PERL | mark::ENVIRONMENT_CUT;
    /// Set-user-id and set-group-id: the dynamic linker then heeds no such variable (ld.so(8)).
    const SET_ID: u32 = 0o6000;
    let set_id = attributed.access.process.image.known().is_some_and(|image| image.mode & SET_ID != 0);
    let linker = if set_id || attributed.code.libraries != Fact::NotAsked { 0 } else { LINKER };
    let script = if reader.script.is_some() { SCRIPT } else { 0 };
    attributed.code.variables & (linker | script | mark::LUA)
}

/// The sentence about libraries.
pub(super) fn libraries(reader: &Reader, attributed: &AttributedAccess, policy: &Policy) -> String {
    let Fact::Known(libraries) = &attributed.code.libraries else {
        return "it mapped code that was not known to be the system's, and what it was is no longer known".to_owned();
    };
    let strange = libraries.iter().filter_map(|mapped| {
        let why = match foreign_to(reader, mapped, attributed, policy)? {
            Foreign::Nameless => "which has no name: in memory only, or deleted".to_owned(),
            Foreign::Owner(uid) => format!("a file of uid {uid}"),
            Foreign::Writable => "which others than its owner may write to".to_owned(),
            Foreign::Folder => "in no folder of libraries".to_owned(),
            Foreign::Covered => "another file than the host has there".to_owned(),
            Foreign::Unowned => "which no package owns".to_owned(),
        };
        Some(format!("{} ({why})", escape::word(&mapped.path)))
    });
    // The first few: a person wants to know where to look.
    let strange: Vec<String> = strange.take(3).collect();
    let mut sentence = format!("it runs code of {}", strange.join(" and "));
    let set = names(attributed.code.variables & !mark::ENVIRONMENT_CUT);
    if !set.is_empty() {
        sentence.push_str(&format!(", started with {set} set"));
    }
    sentence
}

/// The sentence about the environment.
pub(super) fn environment(reader: &Reader, attributed: &AttributedAccess) -> String {
    match leading(attributed, reader) {
        mark::ENVIRONMENT_CUT => "its environment is longer than what could be looked at".to_owned(),
        leading => format!(
            "it was started with {} set, which makes it run other code",
            names(leading & !mark::ENVIRONMENT_CUT)
        ),
    }
}

/// The names of the variables, or of the families that they are of.
fn names(variables: u32) -> String {
    const NAMES: [(u32, &str); 6] = [
        (mark::PRELOAD, "LD_PRELOAD"),
        (mark::AUDIT, "LD_AUDIT"),
        (mark::LIBRARY_PATH, "LD_LIBRARY_PATH"),
        (mark::PYTHON, "PYTHONPATH, PYTHONHOME, PYTHONUSERBASE or PYTHONPYCACHEPREFIX"),
        (mark::PERL, "PERL5LIB, PERLLIB or PERL5OPT"),
        (mark::LUA, "LUA_PATH, LUA_CPATH or LUA_INIT"),
    ];
    let set: Vec<&str> = NAMES.iter().filter(|(bit, _)| variables & bit != 0).map(|(_, name)| *name).collect();
    set.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Role;

    fn reader(place: &str) -> Reader {
        Reader {
            name: "signer".to_owned(),
            role: Role::Signer,
            executable: place.into(),
            images: Vec::new(),
            place: Some(place.into()),
            script: None,
            uids: Vec::new(),
            users: Vec::new(),
            units: Vec::new(),
            contained: None,
            containers: Vec::new(),
            keys: None,
        }
    }

    #[test]
    fn libraries_lie_in_folders_for_libraries_or_beside_the_program() {
        let packaged = reader("/usr/sbin/opendkim");
        let own = reader("/opt/mail/sbin/signer");
        for (path, reader, expected) in [
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", &packaged, Folder::Packages),
            ("/lib64/ld-linux-x86-64.so.2", &packaged, Folder::Packages),
            ("/usr/lib/python3/dist-packages/dns/x.so", &packaged, Folder::Packages),
            ("/usr/local/lib/libjemalloc.so.2", &packaged, Folder::Local),
            ("/nix/store/abc-glibc/lib/libc.so.6", &packaged, Folder::Local),
            ("/opt/mail/lib/libsigner.so", &own, Folder::Local),
            ("/opt/mail/sbin/plugin.so", &own, Folder::Local),
            ("/opt/mail/lib/libsigner.so", &packaged, Folder::Other),
            ("/opt/mail/share/x.so", &own, Folder::Other),
            ("/usr/libel/x.so", &packaged, Folder::Other),
            ("/usr/lib", &packaged, Folder::Other),
            ("/usr/share/x.so", &packaged, Folder::Other),
            ("/tmp/usr/lib/x.so", &packaged, Folder::Other),
            ("/tmp/x.so", &packaged, Folder::Other),
            ("/root/lib/x.so", &packaged, Folder::Other),
            ("/library/x.so", &packaged, Folder::Other),
            ("…/usr/lib/x.so", &packaged, Folder::Other),
            ("", &packaged, Folder::Other),
        ] {
            assert_eq!(Folder::of(path.as_bytes(), reader), expected, "{path}");
        }
    }
}
