//! What is wrong with a configuration: where, what, and what to do.

use std::{fmt, io, path::PathBuf};

use crate::escape;

/// A configuration that is not used. The program ends with exit code 2: watching by half a policy would hide what the
/// other half was to find.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub fault: Box<Fault>,
}

impl ConfigError {
    /// A fault at a place.
    #[must_use]
    pub fn new(place: Place, fault: Fault) -> Self {
        Self { place, fault: Box::new(fault) }
    }
}

/// A place in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: Option<usize>,
    /// The key, dotted, for instance `signer.executable`.
    pub key: Option<String>,
}

impl Place {
    /// A whole file.
    #[must_use]
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), line: None, key: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::path(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {}", escape::text(key.as_bytes()))?;
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file named on the command line is not there; the default one may be absent.
    #[error("there is no such file; name an existing one, or leave --config out to use the defaults")]
    Missing,
    /// A folder, FIFO or device stands there.
    #[error("is {0}, not a regular file; name the configuration file itself")]
    NotRegular(&'static str),
    /// The system refused to read it.
    #[error("cannot be read: {0}; run as root, or let this user read it")]
    Unreadable(#[source] io::Error),
    /// Somebody other than the owner could change it, and with it what counts as an alert.
    #[error("{what} may be written by {who} (mode {mode:04o}), who could then declare a thief an expected signer; \
             run: chmod go-w {}", escape::path(.path))]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// "this file" or "its folder …".
        what: String,
        /// "its group", "everybody".
        who: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody other than root or the running user owns it.
    #[error("{what} is owned by uid {uid}, who could change what counts as an alert; run: chown root: {}", escape::path(.path))]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// "this file" or "its folder …".
        what: String,
        /// Its owner.
        uid: u32,
    },
    /// Longer than any configuration.
    #[error("is longer than {limit} bytes; a configuration is text of a few kilobytes: is this the right file?")]
    TooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Not text.
    #[error(
        "byte {offset} is not UTF-8, and TOML is UTF-8; save the file as UTF-8 (a key path that is not UTF-8 can be \
             given with --key, or watched by its folder)"
    )]
    NotUtf8 {
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`; {}", suggestion(.nearest.as_deref(), .known))]
    UnknownKey {
        /// As typed.
        key: String,
        /// The nearest key that exists, if one is near.
        nearest: Option<String>,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A size or a duration that is none.
    #[error("\"{value}\": {why}")]
    BadAmount {
        /// As typed.
        value: String,
        /// Why, and how it is written.
        why: String,
    },
    /// A value of the wrong type, or not TOML at all; in the parser's words.
    #[error("{message}; write it as in the example of dkimwatch.toml")]
    Syntax {
        /// The parser's message, on one line.
        message: String,
    },
    /// A key that must be there is not.
    #[error("`{key}` is missing; add it: {example}")]
    Required {
        /// The key.
        key: &'static str,
        /// A line as it could stand there.
        example: &'static str,
    },
    /// What can be no image.
    #[error("\"{value}\" is no image; write name, name:tag, name@sha256:… or sha256:… with all of its 64 digits")]
    BadImage {
        /// The value.
        value: String,
    },
    /// An interpreted signer in a container.
    #[error(
        "a script is not looked up in containers: which script an interpreter runs there cannot be told for certain"
    )]
    ScriptInImage,
    /// A path from somewhere unknown.
    #[error("\"{value}\" is not an absolute path; begin it with /")]
    Relative {
        /// The value.
        value: String,
    },
    /// A path the kernel would refuse.
    #[error("\"{value}\" {why}; correct the path")]
    BadPath {
        /// The value, cut.
        value: String,
        /// Why.
        why: String,
    },
    /// A key path that does not exist.
    #[error("\"{value}\" does not exist; create it, correct the path, or remove the entry")]
    NoSuchPath {
        /// The value.
        value: String,
    },
    /// Not a file or folder.
    #[error("\"{value}\" is {what}; name a key file, a folder or a glob")]
    NotAKey {
        /// The value.
        value: String,
        /// "a FIFO", "a socket", "a device".
        what: &'static str,
    },
    /// A pattern that cannot be read.
    #[error("\"{value}\" is not a glob: {why}; see globs in dkimwatch.toml, and write a literal [ as [[]")]
    BadGlob {
        /// The value.
        value: String,
        /// Why.
        why: String,
    },
    /// A pattern where only a path can stand.
    #[error("\"{value}\" does not exist, and a glob cannot stand here; name the file or its folder")]
    NoGlobHere {
        /// The value.
        value: String,
    },
    /// A file name pattern with a folder in it.
    #[error("\"{value}\" holds a `/`, but is matched against the file's own name; leave the folder out")]
    NameOnly {
        /// The value.
        value: String,
    },
    /// A user that this host does not have.
    #[error("there is no user \"{value}\" in /etc/passwd{}; correct the name, or give the uid as a number", near(.nearest.as_deref()))]
    UnknownUser {
        /// The value.
        value: String,
        /// A user of a similar name.
        nearest: Option<String>,
    },
    /// Two entries of one name.
    #[error("\"{value}\" is the name of the entry in line {first} already; give each entry a name of its own")]
    Duplicate {
        /// The name.
        value: String,
        /// The line of the first.
        first: usize,
    },
    /// A name that would not be readable in an event.
    #[error("\"{value}\" cannot be a name: {why}; use a short word such as \"opendkim\"")]
    BadName {
        /// The value, cut.
        value: String,
        /// Why.
        why: &'static str,
    },
    /// Not a unit name.
    #[error("\"{value}\" is not a systemd unit name; write it in full, for instance \"opendkim.service\"")]
    BadUnit {
        /// The value.
        value: String,
    },
    /// Not a container id.
    #[error(
        "\"{value}\" is not a container id or the beginning of one: at least 12 of its hexadecimal digits, as \
             `docker ps` shows them, or the name of an LXC or nspawn machine"
    )]
    BadContainer {
        /// The value.
        value: String,
    },
}

fn suggestion(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn near(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" (did you mean \"{nearest}\"?)")).unwrap_or_default()
}
