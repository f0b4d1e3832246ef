//! The configuration as meant: no `Option` left that has a default.

use std::path::PathBuf;

use super::JournalSettings;
use crate::containers::Stores;

/// Everything that the configuration decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which keys are watched.
    pub keys: KeySettings,
    /// Expected signers: the configured ones first, then the built-in profiles that they do not override by name.
    pub signers: Vec<Signer>,
    /// Declared maintenance.
    pub maintenance: Vec<Signer>,
    /// Where containers are looked for, and what is told of them.
    pub containers: Stores,
    /// Where `dkimwatch run` keeps what it saw.
    pub journal: JournalSettings,
}

/// Which keys are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// Ask the signers on this host.
    pub discover: bool,
    /// Files, globs, and folders as a whole, absolute. A path that exists as such is no glob, whatever it is called.
    pub paths: Vec<PathBuf>,
    /// Names beside the keys that anyone may read (globs on the file name).
    pub public: Vec<String>,
}

/// An expected reader, as configured or built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its name.
    pub name: String,
    /// Its executable (for an interpreted one, the interpreter).
    pub executable: PathBuf,
    /// For an interpreted one: the script.
    pub script: Option<PathBuf>,
    /// Names or numbers of the users it may run as: the real uid at the access. Empty: any.
    pub users: Vec<String>,
    /// systemd units. Empty: any.
    pub units: Vec<String>,
    /// Container ids (or unambiguous prefixes). Empty: none is asked for.
    pub containers: Vec<String>,
    /// Images of the containers that it is expected in. Empty: on the host.
    pub images: Vec<String>,
    /// Keys or folders it may read. Empty: all.
    pub keys: Vec<PathBuf>,
    /// From the built-in profiles, not from the configuration.
    pub built_in: bool,
}

/// Names beside the keys that anyone may read unless the configuration says otherwise: DNS records, as `opendkim-genkey`
/// and `rspamadm dkim_keygen` leave them, and the note that Debian's opendkim package installs in `/etc/dkimkeys`.
pub const PUBLIC: [&str; 3] = ["*.txt", "*.pub", "README.PrivateKeys"];
