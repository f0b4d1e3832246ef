//! The expected readers, resolved: an executable's path to what the kernel says lies there, a user's name to its uid.

use std::{collections::HashMap, os::unix::fs::MetadataExt as _, path::Path};

use dkimwatch_common::watch::Tag;

use crate::{
    config::{Settings, Signer},
    host::Host,
    judge::{ExpectedImage, Policy, Reader, Role, Watched},
    kernel::{Handle, KernelError, Session},
};

/// Users' ids by name.
type Uids = HashMap<String, u32>;

/// The mount namespace of this process: its inode number, as `ns.inum`. The one of process 1 where it can be read: this
/// process may be in a mount namespace of its own.
pub(super) fn own_mount_namespace() -> u32 {
    ["/proc/1/ns/mnt", "/proc/self/ns/mnt"]
        .iter()
        .find_map(|path| std::fs::metadata(path).ok())
        .and_then(|metadata| u32::try_from(metadata.ino()).ok())
        .unwrap_or(0)
}

/// Resolves every reader anew. What was at its path before is kept: a running process keeps the old file over a package
/// upgrade.
pub(super) fn resolve(settings: &Settings, policy: &mut Policy, session: &mut Session) -> Result<(), KernelError> {
    let uids = Host::here().users().into_iter().map(|(name, user)| (name, user.uid)).collect();
    let mut readers = Vec::new();
    for (signers, role) in [(&settings.signers, Role::Signer), (&settings.maintenance, Role::Maintenance)] {
        for signer in signers {
            let before = policy.readers.iter().find(|reader| reader.name == signer.name && reader.role == role);
            let mut reader = resolve_one(signer, role, &uids, &policy.watched);
            reader.images = before.map(|reader| reader.images.clone()).unwrap_or_default();
            if let Some(image) = image(&signer.executable, session)? {
                if role == Role::Signer {
                    session.watch_set.route_signer(image.id)?;
                }
                // Newest last.
                reader.images.retain(|known| *known != image);
                reader.images.push(image);
            }
            readers.push(reader);
        }
    }
    policy.readers = readers;
    Ok(())
}

fn resolve_one(signer: &Signer, role: Role, uids: &Uids, watched: &[Watched]) -> Reader {
    Reader {
        name: signer.name.clone(),
        role,
        executable: signer.executable.clone(),
        images: Vec::new(),
        script: signer.script.clone(),
        uids: signer.users.iter().filter_map(|user| uid(user, uids)).collect(),
        users: signer.users.clone(),
        units: signer.units.clone(),
        containers: signer.containers.clone(),
        keys: (!signer.keys.is_empty()).then(|| tags(&signer.keys, watched)),
    }
}

fn uid(user: &str, uids: &Uids) -> Option<u32> {
    user.parse().ok().or_else(|| uids.get(user).copied())
}

/// The entries at or below the paths.
fn tags(paths: &[std::path::PathBuf], watched: &[Watched]) -> Vec<Tag> {
    (0..)
        .zip(watched)
        .filter(|(_, entry)| {
            let at = match entry {
                Watched::Key(key) => &key.path,
                Watched::Folder { path, .. } => path,
            };
            paths.iter().any(|path| at.starts_with(path))
        })
        .map(|(tag, _)| tag)
        .collect()
}

fn image(executable: &Path, session: &mut Session) -> Result<Option<ExpectedImage>, KernelError> {
    let Ok(handle) = Handle::open(executable) else { return Ok(None) };
    Ok(session.identify(&[handle])?.into_iter().flatten().next().map(|found| ExpectedImage {
        id: found.file,
        uid: found.uid,
        ctime: found.ctime,
        mode: found.mode,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::judge::JudgedKey;

    fn watched() -> Vec<Watched> {
        let key =
            |path: &str| Watched::Key(JudgedKey { path: path.into(), domain: None, selector: None, signer: None });
        let folder = Watched::Folder { path: "/srv/keys".into(), signer: None };
        vec![key("/srv/keys/a.private"), key("/srv/keys-of-others/b.private"), folder]
    }

    fn signer(users: &[&str], keys: &[&str]) -> Signer {
        Signer {
            name: "mine".to_owned(),
            executable: "/usr/sbin/mine".into(),
            script: None,
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            units: Vec::new(),
            containers: Vec::new(),
            keys: keys.iter().map(PathBuf::from).collect(),
            built_in: false,
        }
    }

    fn resolved(signer: &Signer) -> Reader {
        resolve_one(signer, Role::Signer, &HashMap::from([("mail".to_owned(), 104)]), &watched())
    }

    #[test]
    fn a_users_name_becomes_its_uid_and_an_unknown_one_nobodys() {
        let reader = resolved(&signer(&["mail", "0", "gone"], &[]));
        assert_eq!(reader.uids, [104, 0]);
        assert_eq!(reader.users, ["mail", "0", "gone"]);
        // No uid and yet users: nobody may, which the judge tells from "any user" by the names.
        let reader = resolved(&signer(&["gone"], &[]));
        assert!(reader.uids.is_empty() && !reader.users.is_empty());
    }

    #[test]
    fn keys_are_those_at_or_below_the_paths() {
        assert_eq!(resolved(&signer(&[], &[])).keys, None, "all");
        assert_eq!(resolved(&signer(&[], &["/srv/keys"])).keys, Some(vec![0, 2]));
        assert_eq!(resolved(&signer(&[], &["/srv/keys-of-others/b.private"])).keys, Some(vec![1]));
        assert_eq!(resolved(&signer(&[], &["/none"])).keys, Some(vec![]), "none, and not all");
    }
}
