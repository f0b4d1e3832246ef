//! Keys in containers: in the folders where the containerised mail servers have them, as the host has these folders.
//!
//! Found by the runtimes' files alone, so that a key is watched before its container has run. No link within a container is
//! followed, and no key is opened.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};

use super::Details;
use crate::{host::named_like_key, keys::WELL_KNOWN};

/// Folders of the containerised mail servers, and whose they are where only one signer uses them.
const IN_CONTAINERS: [(&str, Option<&str>); 10] = [
    // docker-mailserver (target/bin/rspamd-dkim, open-dkim there).
    ("/tmp/docker-mailserver/rspamd/dkim", Some("rspamd")),
    ("/tmp/docker-mailserver/opendkim/keys", Some("opendkim")),
    // Mailu (`DKIM_PATH`), read by its admin's Python.
    ("/dkim", None),
    // mailcow, of old; today its keys are in Redis.
    ("/data/dkim/keys", Some("rspamd")),
    // maddy, whose state folder is /data in its image.
    ("/data/dkim_keys", None),
    // mox, relative to its configuration.
    ("/mox/config/dkim", None),
    // Haraka.
    ("/haraka/config/dkim", None),
    ("/app/config/dkim", None),
    // Postal's signing.key.
    ("/opt/postal/config", None),
    ("/config/postal", None),
];

/// How deep keys lie below such a folder.
const DEEPEST: usize = 3;
/// Entries of a folder that are looked at.
const ENTRIES: usize = 4_096;
/// Keys of one container.
const KEYS: usize = 64;

/// A key that a container has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerKey {
    /// Its path, as the host has it.
    pub path: PathBuf,
    /// Its path in the container.
    pub inner: PathBuf,
    /// The root that it lies in, if it is not mounted into the container: with it goes the key.
    pub root: Option<PathBuf>,
    /// The signer that uses its folder, where only one does.
    pub signer: Option<&'static str>,
}

/// The keys of a container; of an ordinary user's, those that are this user's files: what he mounts from elsewhere is not his
/// to name.
pub(super) fn of(details: &Details, owner: Option<u32>) -> Vec<ContainerKey> {
    let mut keys = Vec::new();
    // Of a user's, whose root is mounted where only its own processes see it, the layers are there. Root's is there once it runs.
    let root = details.root.as_deref().filter(|root| root.join("etc").is_dir());
    let roots: Vec<&Path> = match root {
        Some(root) => vec![root],
        None if owner.is_some() => details.layers.iter().map(PathBuf::as_path).collect(),
        None => Vec::new(),
    };
    for (folder, signer) in WELL_KNOWN.iter().chain(&IN_CONTAINERS) {
        let folder = Path::new(folder);
        let within = folder.strip_prefix("/").unwrap_or(folder);
        let places: Vec<(&Path, &Path, bool)> = match details.exposing(folder) {
            Some(mount) => {
                vec![(&mount.source, folder.strip_prefix(&mount.destination).unwrap_or(Path::new("")), false)]
            }
            None => roots.iter().map(|root| (*root, within, true)).collect(),
        };
        for (base, below, is_root) in places {
            let Some(opened) = open(base, below).filter(|opened| owner.is_none() || is_local(opened)) else { continue };
            // From here on by no link: what lies in a container is not to lead elsewhere on the host.
            let Ok(base) = base.canonicalize() else { continue };
            let from = base.join(below);
            let root = is_root.then(|| base.clone());
            walk(
                &opened,
                &mut |inside| {
                    let (path, inner) = (from.join(inside), folder.join(inside));
                    keys.push(ContainerKey { path, inner, root: root.clone(), signer: *signer });
                    keys.len() < KEYS
                },
                owner,
            );
        }
        // A mount of one file into the folder.
        let single = details.mounts.iter().filter(|mount| mount.destination.starts_with(folder));
        for mount in single.filter(|mount| is_key(&mount.destination)) {
            let is_file =
                statat(CWD, &mount.source, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_keyfile(&stat, owner));
            if let (true, true, Ok(path)) = (is_file, keys.len() < KEYS, mount.source.canonicalize()) {
                keys.push(ContainerKey { path, inner: mount.destination.clone(), root: None, signer: *signer });
            }
        }
    }
    keys.sort();
    keys.dedup_by(|one, other| one.path == other.path);
    keys
}

fn is_key(path: &Path) -> bool {
    named_like_key(path)
}

fn is_keyfile(stat: &rustix::fs::Stat, owner: Option<u32>) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && owner.is_none_or(|owner| owner == stat.st_uid)
}

/// A folder below another one, by no link.
fn open(base: &Path, below: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // A link on the way to it is the host's.
    let base = rustix::fs::open(base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    openat2(base, below, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).ok()
}

/// Whether a folder is on a disk of this host's: what an ordinary user has on a network, or serves himself, must not come to be
/// asked at each refresh of the watch (`include/uapi/linux/magic.h`: ext4, XFS, btrfs, F2FS, tmpfs, overlayfs, ZFS).
fn is_local(folder: &OwnedFd) -> bool {
    const LOCAL: [u64; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1];
    rustix::fs::fstatfs(folder).is_ok_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| LOCAL.contains(&kind)))
}

/// The key files below a folder, as long as `found` wants more.
fn walk(folder: &OwnedFd, found: &mut dyn FnMut(&Path) -> bool, owner: Option<u32>) {
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = waiting.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let at = if below.as_os_str().is_empty() { Path::new(".") } else { below.as_path() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let Ok(opened) = openat2(folder, at, flags, Mode::empty(), resolve) else { continue };
        let Ok(listing) = Dir::read_from(&opened) else { continue };
        for entry in listing.flatten().take(ENTRIES) {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let Ok(stat) = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let path = below.join(name);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < DEEPEST => waiting.push((path, depth + 1)),
                FileType::RegularFile if is_key(&path) && is_keyfile(&stat, owner) && !found(&path) => return,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::{ContainerKey, of};
    use crate::containers::{Details, Mount};

    #[test]
    fn keys_are_found_in_the_root_in_volumes_and_by_no_link() {
        let lab = tempfile::tempdir().expect("a folder");
        let (root, volume) = (lab.path().join("merged"), lab.path().join("volume"));
        for folder in ["merged/etc/opendkim/keys/example.org", "merged/etc/dkimkeys", "volume", "merged/var/lib/rspamd"]
        {
            fs::create_dir_all(lab.path().join(folder)).expect("made");
        }
        for file in [
            "merged/etc/opendkim/keys/example.org/mail.private",
            "merged/etc/opendkim/keys/example.org/mail.txt",
            // Behind the volume.
            "merged/etc/dkimkeys/hidden.private",
            "volume/sel.private",
            "secret.key",
            "one.key",
        ] {
            fs::write(lab.path().join(file), "").expect("written");
        }
        symlink(lab.path(), root.join("var/lib/rspamd/dkim")).expect("linked");
        symlink(lab.path().join("secret.key"), volume.join("out.key")).expect("linked");
        let mount = |source: &str, destination: &str| Mount {
            source: lab.path().join(source),
            destination: destination.into(),
            volume: None,
        };
        let details = Details {
            root: Some(root.clone()),
            mounts: vec![mount("volume", "/etc/dkimkeys"), mount("one.key", "/dkim/example.org.dkim.key")],
            ..Details::default()
        };
        let key = |path: &Path, inner: &str, signer| ContainerKey {
            path: path.to_owned(),
            inner: inner.into(),
            root: path.starts_with(&root).then(|| root.clone()),
            signer,
        };
        fs::create_dir_all(root.join("dkim")).expect("made");
        let mut expected = vec![
            key(
                &root.join("etc/opendkim/keys/example.org/mail.private"),
                "/etc/opendkim/keys/example.org/mail.private",
                Some("opendkim"),
            ),
            key(&volume.join("sel.private"), "/etc/dkimkeys/sel.private", None),
            key(&lab.path().join("one.key"), "/dkim/example.org.dkim.key", None),
        ];
        expected.sort();
        assert_eq!(of(&details, None), expected);
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(of(&details, Some(me)).len(), 3);
        assert_eq!(of(&details, Some(me + 1)), []);
    }
}
