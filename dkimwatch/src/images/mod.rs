//! DKIM keys baked into container images: who pulls such an image has the key, also where a later layer deletes the file.
//!
//! Every layer is searched, by itself: in the stores of Podman, CRI-O, Docker and containerd, and in archives.
//!
//! **This is where dkimwatch reads keys**, the one module that does. A key in an image cannot be told from other files
//! by a configuration, and which selector is to be withdrawn only its public half says. What keeps the exception small:
//!
//! - A key's bytes never leave the process. No type that is printed holds them; only the SHA-256 of the *public* half is
//!   shown. Buffers that held a file's beginning, its base64 and its DER are overwritten when they are dropped. (What the
//!   unpackers and the kernel's page cache keep of it is not.)
//! - Nothing on the host is opened but stores and archives: no key of the host's own.
//! - Nothing is written, executed, unpacked or sent.
//!
//! Everything read here was made by somebody else. Layers are streams of which one file's beginning is held at a time;
//! every list has a limit, and reaching it is told ([`Trouble`]); no symbolic link is followed below the path that an
//! operator named.

mod archive;
mod base64;
mod bundle;
mod containerd;
mod containers;
mod docker;
mod examine;
mod fate;
mod fault;
mod finding;
mod frames;
mod history;
mod key;
mod keytable;
mod layer;
mod limits;
mod manifest;
mod names;
mod pem;
mod place;
mod progress;
mod record;
mod report;
mod rooted;
mod search;
mod stores;
mod tarball;
mod tree;
mod unpacked;

use std::path::{Path, PathBuf};

use crate::{
    escape,
    host::{Host, LONGEST_TABLE},
};

pub use fault::{Fault, Trouble};
pub use finding::{Class, Finding, Occurrence, Report, Searched, State};
pub use key::{Algorithm, Fingerprint, Key};
pub use limits::LAYER_LIMIT_GIB;
pub use names::shown as shown_path;
pub use progress::{Bar, Progress, Silent};

/// What is searched.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Archives, and folders of OCI layouts.
    pub files: Vec<PathBuf>,
    /// Stores. Where neither is named, those of the host.
    pub stores: Vec<PathBuf>,
    /// Files with DKIM records, to tell whose key it is.
    pub records: Vec<PathBuf>,
    /// To how many bytes a layer may expand before the search of it ends.
    pub limit: u64,
    /// Well-known keys are told as well.
    pub all: bool,
}

/// Searches images for private keys.
///
/// Blocking, for as long as it takes to read them. What could not be searched is in the report.
#[must_use]
pub fn search(question: &Question, host: &Host, progress: &dyn Progress) -> Report {
    let mut report = report::Draft::default();
    for path in &question.records {
        match rooted::named(path).and_then(|file| unpacked::whole(file, LONGEST_TABLE)) {
            Ok(text) => report.records(path, &text),
            Err(fault) => report.trouble(path, fault),
        }
    }
    let (stores, closed) = match (question.files.is_empty(), question.stores.is_empty()) {
        (true, true) => stores::found(host),
        _ => (question.stores.clone(), 0),
    };
    if closed > 0 {
        report.note("homes that are closed to this user were not asked for stores; run as root".to_owned());
    }
    if stores.is_empty() && question.files.is_empty() {
        report.note("no store of images on this host; name one with --store, or an archive".to_owned());
    }
    let open_store = |path: &Path| stores::open(path);
    let open_file = |path: &Path| bundle::open(path, question.limit, progress);
    let opened = stores.iter().map(|path| (path, open_store(path)));
    for (path, opened) in opened.chain(question.files.iter().map(|path| (path, open_file(path)))) {
        progress.at(&escape::path(path));
        match opened {
            Ok(place) => report.searched(search::search(place, question.limit, progress)),
            Err(fault) => report.trouble(path, fault),
        }
    }
    progress.done();
    report.finished(question.all)
}

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
