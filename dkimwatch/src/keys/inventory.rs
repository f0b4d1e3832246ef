//! What discovery found.

use std::path::PathBuf;

/// The keys of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Key files, each path once.
    pub keys: Vec<Key>,
    /// Folders watched as a whole.
    pub folders: Vec<Folder>,
    /// Things that a person should know: keys that no file holds, a data set that cannot be enumerated, a configured path that does not exist.
    pub notes: Vec<Note>,
}

/// A key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its path, as configured (symbolic links not resolved).
    pub path: PathBuf,
    /// Signing domain (RFC 6376 `d=`), where known.
    pub domain: Option<String>,
    /// Selector (RFC 6376 `s=`), where known.
    pub selector: Option<String>,
    /// Name of the signer profile that uses it, where known.
    pub signer: Option<String>,
    /// It is a container's: others than root may say what lies at its path.
    pub contained: bool,
    /// The root of the container that it lies in, where that is not the host's own folder.
    pub root: Option<PathBuf>,
    /// The file (or command) that said so, for people.
    pub found_in: String,
}

/// A folder watched as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: PathBuf,
    /// Name of the signer profile that uses it, where known.
    pub signer: Option<String>,
    /// The file (or command) that said so, for people.
    pub found_in: String,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it was found: file, and line where there is one.
    pub place: String,
    /// What, and what to do.
    pub text: String,
}
