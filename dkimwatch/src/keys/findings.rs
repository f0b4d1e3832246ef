//! What discovery has found so far: each path once, each note once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use dkimwatch_common::limits;

use super::{
    Folder, Inventory, Key, Note,
    template::{Fit, Template},
};
use crate::{
    escape,
    host::{Host, LONGEST_CONF, LONGEST_TABLE, Presence, Process, ReadError},
};

/// Most notes that are kept; a hostile table could cause one a line.
const MOST_NOTES: usize = 500;
/// Most names that all templates together look at.
const MOST_NAMES: usize = 1_000_000;
/// Most domains beside the first that a note names.
const MOST_DOMAINS: usize = 20;

/// Whose key it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Signing domain.
    pub(crate) domain: Option<String>,
    /// Selector.
    pub(crate) selector: Option<String>,
}

impl Identity {
    /// From the bytes of a configuration; what is not a name in DNS is not known.
    pub(crate) fn of(domain: Option<&[u8]>, selector: Option<&[u8]>) -> Self {
        Self { domain: domain.and_then(dns_name), selector: selector.and_then(dns_name) }
    }
}

/// A DNS name in lower case, if these bytes are one (underscores allowed, no final dot).
pub(crate) fn dns_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?.trim_end_matches('.');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
            && !label.starts_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_lowercase())
}

/// The collection.
pub(super) struct Findings<'a> {
    host: &'a Host,
    keys: Vec<Key>,
    index: HashMap<PathBuf, usize>,
    /// Further domains of a key, and who said so.
    also: BTreeMap<usize, BTreeSet<String>>,
    folders: BTreeMap<PathBuf, Folder>,
    /// Configuration files and tables that were read: not keys, wherever they lie.
    tables: BTreeSet<PathBuf>,
    notes: Vec<Note>,
    full: bool,
    /// How many more names templates may look at: a table of a million rows could ask for a folder's listing in each.
    names_left: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self {
            host,
            keys: Vec::new(),
            index: HashMap::new(),
            also: BTreeMap::new(),
            folders: BTreeMap::new(),
            tables: BTreeSet::new(),
            notes: Vec::new(),
            full: false,
            names_left: MOST_NAMES,
        }
    }

    /// A key file at `path`, existing or not yet. Said twice, the first one counts; what it left open is filled in.
    pub(super) fn key(&mut self, path: &Path, identity: Identity, signer: Option<&str>, found_in: &str) {
        if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
            self.note(found_in, format!("names its key by {}, which is not an absolute path", escape::path(path)));
            return;
        }
        let path: PathBuf = path.components().collect();
        if let Some(&known) = self.index.get(&path) {
            self.merge(known, identity, signer);
            return;
        }
        if self.keys.len() >= limits::WATCHED_FILES as usize {
            if !self.full {
                self.full = true;
                let text = format!(
                    "more than {} keys: from {} on none is watched by itself; name their folders in keys.paths",
                    limits::WATCHED_FILES,
                    escape::path(&path)
                );
                self.note(found_in, text);
            }
            return;
        }
        match self.host.presence(&path) {
            Presence::File => {}
            Presence::Folder => {
                let text =
                    format!("the key {} is a folder, which no signer can use; name the file", escape::path(&path));
                self.note(found_in, text);
                return;
            }
            Presence::Other(what) => {
                let text =
                    format!("the key {} is {what} and not watched; put a regular file there", escape::path(&path));
                self.note(found_in, text);
                return;
            }
            Presence::Missing => {
                let parent = path.parent().map_or(Presence::Missing, |parent| self.host.presence(parent));
                let rest = if parent == Presence::Folder {
                    "its folder is watched for its birth"
                } else {
                    "nor does its folder, so its birth cannot be seen: create the folder, or correct the path"
                };
                self.note(found_in, format!("the key {} does not exist; {rest}", escape::path(&path)));
            }
            Presence::Unknown(error) => {
                let text = format!("the key {} cannot be looked at: {}; run as root", escape::path(&path), said(error));
                self.note(found_in, text);
            }
        }
        self.index.insert(path.clone(), self.keys.len());
        self.keys.push(Key {
            contained: false,
            root: None,
            path,
            domain: identity.domain,
            selector: identity.selector,
            signer: signer.map(str::to_owned),
            found_in: found_in.to_owned(),
        });
    }

    /// The keys of a path with holes; `known` is what the configuration says beside it.
    pub(super) fn template(&mut self, template: &Template, known: &Identity, signer: &str, found_in: &str) {
        if let Some(path) = template.literal() {
            self.key(&path, known.clone(), Some(signer), found_in);
            return;
        }
        if template.is_unbounded() {
            self.note(found_in, "the path of the keys depends on the message; name their folder in keys.paths");
            return;
        }
        let Some((fits, cut)) = self.expand(template) else {
            self.note(found_in, "not looked at: other paths named too many files; name the keys' folder in keys.paths");
            return;
        };
        if cut {
            self.note(found_in, "names more files than are looked at; name the folder of the keys in keys.paths");
        }
        let mut any = false;
        for fit in fits {
            if !self.is_table(&fit.path) {
                any = true;
                let identity = Identity {
                    domain: known.domain.clone().or(fit.identity.domain),
                    selector: known.selector.clone().or(fit.identity.selector),
                };
                self.key(&fit.path, identity, Some(signer), found_in);
            }
        }
        match self.nursery(template) {
            Some(folder) => self.folder(&folder, Some(signer), found_in),
            None if !any => {
                self.note(found_in, "no file fits the path of the keys; name their folder in keys.paths to watch it")
            }
            None => {}
        }
    }

    /// The existing files that fit, and whether there was more; `None` once too many names were looked at.
    pub(super) fn expand(&mut self, template: &Template) -> Option<(Vec<Fit>, bool)> {
        self.names_left.checked_sub(1)?;
        let (fits, cut, names) = template.expand(self.host);
        self.names_left = self.names_left.saturating_sub(names);
        Some((fits, cut))
    }

    /// The folder of a template's keys, if it is theirs alone.
    pub(super) fn nursery(&mut self, template: &Template) -> Option<PathBuf> {
        self.names_left.checked_sub(1)?;
        let (folder, names) = template.nursery(self.host);
        self.names_left = self.names_left.saturating_sub(names);
        folder
    }

    fn merge(&mut self, known: usize, identity: Identity, signer: Option<&str>) {
        let Some(key) = self.keys.get_mut(known) else { return };
        if key.domain.is_none() && (key.selector.is_none() || key.selector == identity.selector) {
            key.domain = identity.domain;
            key.selector = key.selector.take().or(identity.selector);
        } else if let Some(domain) = identity.domain.filter(|domain| key.domain.as_ref() != Some(domain)) {
            self.also.entry(known).or_default().insert(domain);
        } else if key.selector.is_none() {
            key.selector = identity.selector;
        }
        if key.signer.is_none() {
            key.signer = signer.map(str::to_owned);
        }
    }

    /// A folder watched as a whole.
    pub(super) fn folder(&mut self, path: &Path, signer: Option<&str>, found_in: &str) {
        let path: PathBuf = path.components().collect();
        let folder = Folder { path: path.clone(), signer: signer.map(str::to_owned), found_in: found_in.to_owned() };
        self.folders.entry(path).or_insert(folder);
    }

    /// A configuration file or table, which is no key unless [`Self::key`] says so.
    pub(super) fn table(&mut self, path: &Path) {
        self.tables.insert(path.components().collect());
    }

    /// True for a configuration file or table.
    pub(super) fn is_table(&self, path: &Path) -> bool {
        self.tables.contains(path)
    }

    /// The host.
    pub(super) const fn host(&self) -> &'a Host {
        self.host
    }

    /// The processes of a signer whose command line means this host's files.
    pub(super) fn running(&mut self, signer: &str, executable: &Path, user: &str) -> Vec<Process> {
        let running = self.host.processes(executable, &[user]);
        for pid in running.elsewhere {
            let text = "sees other files than this host's (a container, a chroot); its keys are not looked for: name them in \
                        keys.paths as this host sees them";
            self.note(&format!("{signer} (pid {pid})"), text);
        }
        running.here
    }

    /// The keys found so far.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Something a person should know.
    pub(super) fn note(&mut self, place: &str, text: impl Into<String>) {
        let note = Note { place: place.to_owned(), text: text.into() };
        if self.notes.len() == MOST_NOTES {
            let text = "there is more to say, but this much should be looked at first".to_owned();
            self.notes.push(Note { place: "discovery".to_owned(), text });
        } else if self.notes.len() < MOST_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Reads a configuration file; a note tells why it could not be.
    pub(super) fn read(&mut self, path: &Path, named_by: &str) -> Option<Vec<u8>> {
        self.read_up_to(LONGEST_CONF, path, named_by)
    }

    /// The same for a table, which has a row for each key and may be longer.
    pub(super) fn read_table(&mut self, path: &Path, named_by: &str) -> Option<Vec<u8>> {
        self.read_up_to(LONGEST_TABLE, path, named_by)
    }

    fn read_up_to(&mut self, limit: u64, path: &Path, named_by: &str) -> Option<Vec<u8>> {
        let plain: PathBuf = path.components().collect();
        if self.index.contains_key(&plain) && !self.tables.contains(&plain) {
            self.note(
                named_by,
                format!("{} is a key by other configuration, and keys are never read", escape::path(path)),
            );
            return None;
        }
        self.table(path);
        match self.host.read(path, limit) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let remedy = match error {
                    ReadError::Missing => "correct the path there, or create the file",
                    ReadError::Io(_) => "run as root",
                    _ => "the keys that it names are not found; name them in keys.paths",
                };
                self.note(named_by, format!("{} {error}; {remedy}", escape::path(path)));
                None
            }
        }
    }

    /// The same for a file that need not be there.
    pub(super) fn read_if_there(&mut self, path: &Path) -> Option<Vec<u8>> {
        if self.host.presence(path) == Presence::Missing { None } else { self.read(path, &escape::path(path)) }
    }

    pub(super) fn into_inventory(mut self) -> Inventory {
        for (known, domains) in std::mem::take(&mut self.also) {
            let Some(key) = self.keys.get(known) else { continue };
            let named: Vec<_> = domains.iter().take(MOST_DOMAINS).map(String::as_str).collect();
            let rest = match domains.len().saturating_sub(MOST_DOMAINS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let text = format!("{} signs for {}{rest} as well", escape::path(&key.path), named.join(", "));
            let place = key.found_in.clone();
            self.note(&place, text);
        }
        self.keys.sort_by(|a, b| a.path.cmp(&b.path));
        Inventory { keys: self.keys, folders: self.folders.into_values().collect(), notes: self.notes }
    }
}

/// An error's kind as a person would say it.
fn said(error: io::ErrorKind) -> String {
    error.to_string()
}

/// A place in a file, as notes and `found_in` name it.
pub(super) fn at_line(file: &Path, line: usize) -> String {
    format!("{}:{line}", escape::path(file))
}
