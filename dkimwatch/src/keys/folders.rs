//! Folders where keys lie by custom, whatever the configuration says: an old key still signs while its record stands.

use std::path::Path;

use super::{findings::Findings, shape};
use crate::host::{Host, Presence, named_like_key};

/// The folders, and whose they are where only one signer uses them.
pub(crate) const WELL_KNOWN: [(&str, Option<&str>); 15] = [
    ("/etc/dkimkeys", None),
    ("/etc/opendkim/keys", Some("opendkim")),
    ("/etc/mail/dkim", None),
    ("/etc/mail/dkim-keys", None),
    ("/etc/postfix/dkim", None),
    ("/etc/rspamd/dkim", Some("rspamd")),
    ("/var/lib/rspamd/dkim", Some("rspamd")),
    ("/var/lib/rspamd/arc", Some("rspamd")),
    ("/etc/exim4/dkim", Some("exim")),
    ("/etc/dkimpy-milter/keys", Some("dkimpy-milter")),
    ("/etc/amavis/dkim", None),
    ("/var/lib/amavis/dkim", None),
    ("/var/db/dkim", None),
    ("/var/lib/dkim", None),
    ("/var/lib/maddy/dkim_keys", None),
];

/// How deep keys lie below such a folder: DOMAIN/SELECTOR.private, and one to spare.
const DEEPEST: usize = 3;

/// True for a path below one of the folders where keys lie by custom.
pub(crate) fn is_in_key_folder(path: &Path) -> bool {
    WELL_KNOWN.iter().any(|(folder, _)| path.starts_with(folder))
}

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    for (folder, signer) in WELL_KNOWN {
        let path = Path::new(folder);
        if host.presence(path) != Presence::Folder {
            continue;
        }
        if !host.can_list(path) {
            findings.note(folder, "cannot be listed, so the keys in it are not known; run as root");
            continue;
        }
        let before = findings.keys().len();
        list(path, signer, folder, host, findings);
        let configured = || findings.keys().iter().any(|key| key.path.starts_with(path));
        if findings.keys().len() > before || configured() {
            findings.folder(path, signer, folder);
        } else {
            findings.note(folder, "holds no key yet; name it in keys.paths to watch the first one from its birth");
        }
    }
}

/// The files in and below `folder` that are named like keys; not the signers' own tables, and not through links to folders.
pub(super) fn list(folder: &Path, signer: Option<&str>, found_in: &str, host: &Host, findings: &mut Findings<'_>) {
    let mut waiting = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for name in host.names(&folder) {
            let path = folder.join(name);
            if host.is_own_folder(&path) {
                if depth < DEEPEST {
                    waiting.push((path, depth + 1));
                }
            } else if named_like_key(&path) && !findings.is_table(&path) && host.presence(&path) == Presence::File {
                findings.key(&path, shape::guess(&path), signer, found_in);
            }
        }
    }
}
