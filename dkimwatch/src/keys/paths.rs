//! `keys.paths` and `--key`: files, globs, and folders as a whole.

use std::path::{Path, PathBuf};

use super::{Glob, findings::Findings, folders, is_glob, shape};
use crate::{
    escape,
    host::{Host, Presence},
};

/// What is said of a glob that fits nothing, here and when the configuration is checked.
pub(crate) const NOTHING_YET: &str = "matches nothing now; what it will match is watched once it is found";

/// How an entry is named to people.
pub(crate) fn place(path: &Path) -> String {
    format!("keys.paths \"{}\"", escape::path(path))
}

pub(super) fn discover(paths: &[PathBuf], host: &Host, findings: &mut Findings<'_>) {
    for path in paths {
        let found_in = place(path);
        match host.presence(path) {
            Presence::Folder => {
                if !host.can_list(path) {
                    findings.note(&found_in, "cannot be listed, so the keys in it are not known; run as root");
                }
                findings.folder(path, None, &found_in);
                folders::list(path, None, &found_in, host, findings);
            }
            Presence::Missing if is_glob(path) => match Glob::new(path) {
                Ok(glob) => {
                    let expansion = glob.expand(host);
                    if expansion.cut {
                        findings.note(&found_in, "fits more files than are looked at; name folders instead");
                    }
                    if expansion.paths.is_empty() {
                        findings.note(&found_in, NOTHING_YET);
                    }
                    for path in expansion.paths {
                        if host.presence(&path) == Presence::Folder {
                            findings.folder(&path, None, &found_in);
                            folders::list(&path, None, &found_in, host, findings);
                        } else {
                            findings.key(&path, shape::guess(&path), None, &found_in);
                        }
                    }
                }
                Err(why) => findings.note(&found_in, format!("is not a glob: {why}")),
            },
            // A file, or none yet; the rest is said there.
            _ => findings.key(path, shape::guess(path), None, &found_in),
        }
    }
}
