//! From typed to meant: each value checked, each default filled in, the built-in signers added.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use dkimwatch_common::limits;
use toml::Spanned;

use super::{
    ConfigError, Fault, KeySettings, PUBLIC, Settings, Signer,
    load::{Source, nearest},
    profiles,
    schema::{self, File, Reader, User},
};
use crate::{
    containers::{Labels, Sockets, Stores},
    escape,
    host::{Host, Presence},
    keys::{
        Glob, Note, is_glob,
        paths::{NOTHING_YET, place},
    },
};

/// `PATH_MAX` without its NUL (`include/uapi/linux/limits.h`).
const LONGEST_PATH: usize = 4095;
/// `NAME_MAX` (same file).
const LONGEST_COMPONENT: usize = 255;
/// Longest name of a signer: it becomes part of `rule.id`.
const LONGEST_NAME: usize = 64;
/// Longest name of an image with registry, tag and digest.
const LONGEST_IMAGE: usize = 512;
/// Shortest beginning of a container id that is accepted, as `docker ps` shows it.
const SHORTEST_ID: usize = 12;

/// The settings that a typed file means on `host`, with what a person should know about them.
pub(super) fn settings(source: &Source<'_>, typed: File, host: &Host) -> Result<(Settings, Vec<Note>), ConfigError> {
    let mut check = Check { source, host, users: host.users(), notes: Vec::new() };
    let keys = KeySettings {
        discover: typed.keys.discover.unwrap_or(true),
        paths: typed.keys.paths.iter().map(|path| check.key_path(path)).collect::<Result<_, _>>()?,
        public: match &typed.keys.public {
            Some(public) => public.iter().map(|name| check.name_glob(name)).collect::<Result<_, _>>()?,
            None => PUBLIC.map(str::to_owned).to_vec(),
        },
    };
    let containers = Stores {
        folders: typed
            .containers
            .stores
            .iter()
            .map(|path| check.path("containers.stores", path))
            .collect::<Result<_, _>>()?,
        users: typed
            .containers
            .users
            .iter()
            .map(|user| check.user("containers.users", user))
            .collect::<Result<_, _>>()?,
        labels: match typed.containers.labels {
            Some(labels) => Labels::new(labels.into_iter().map(Spanned::into_inner)),
            None => Labels::default(),
        },
        sockets: check.sockets(&typed.containers.sockets)?,
    };
    let folder = typed.journal.path.as_ref().map(|path| check.path("journal.path", path)).transpose()?;
    let journal = typed.journal.meant(source, folder)?;
    let mut signers = check.readers("signer", &typed.signer)?;
    let maintenance = check.readers("maintenance", &typed.maintenance)?;
    for profile in profiles(host) {
        if !signers.iter().any(|signer| signer.name == profile.name) {
            signers.push(profile);
        }
    }
    Ok((Settings { keys, signers, maintenance, containers, journal }, check.notes))
}

/// A user of a container's, whom nobody can look up yet.
fn inner_user(user: &Spanned<User>) -> String {
    match user.get_ref() {
        User::Number(number) => number.to_string(),
        User::Name(name) => name.clone(),
    }
}

struct Check<'a> {
    source: &'a Source<'a>,
    host: &'a Host,
    users: HashMap<String, crate::host::RunAs>,
    notes: Vec<Note>,
}

impl Check<'_> {
    fn readers(&mut self, table: &str, typed: &[Spanned<Reader>]) -> Result<Vec<Signer>, ConfigError> {
        let mut lines = HashMap::new();
        let mut readers = Vec::new();
        for entry in typed {
            let reader = self.reader(table, entry)?;
            let line = self.source.line(entry.span().start);
            if let Some(first) = lines.insert(reader.name.clone(), line) {
                let fault = Fault::Duplicate { value: escape::text(reader.name.as_bytes()), first };
                return Err(self.source.error(entry.span().start, &format!("{table}.name"), fault));
            }
            readers.push(reader);
        }
        Ok(readers)
    }

    fn reader(&mut self, table: &str, entry: &Spanned<Reader>) -> Result<Signer, ConfigError> {
        let typed = entry.get_ref();
        let required = |key: &'static str, example| {
            move |source: &Source<'_>| source.error(entry.span().start, table, Fault::Required { key, example })
        };
        let Some(name) = &typed.name else { return Err(required("name", "name = \"opendkim\"")(self.source)) };
        let Some(executable) = &typed.executable else {
            return Err(required("executable", "executable = \"/usr/sbin/opendkim\"")(self.source));
        };
        let key = |key: &str| format!("{table}.{key}");
        let name = self.name(&key("name"), name)?;
        let program = self.path(&key("executable"), executable)?;
        if typed.containers.is_empty() && typed.images.is_empty() {
            self.expect_file(&key("executable"), executable, &program)?;
        }
        let script = typed.script.as_ref().map(|script| self.script(&key("script"), script)).transpose()?;
        let images =
            typed.images.iter().map(|image| self.image(&key("images"), image)).collect::<Result<Vec<_>, _>>()?;
        if let (Some(script), false) = (&typed.script, images.is_empty()) {
            return Err(self.source.error(script.span().start, &key("script"), Fault::ScriptInImage));
        }
        // Users of a container are its own.
        let in_images = !images.is_empty();
        Ok(Signer {
            name,
            executable: program,
            script,
            users: typed
                .users
                .iter()
                .map(|user| if in_images { Ok(inner_user(user)) } else { self.user(&key("users"), user) })
                .collect::<Result<_, _>>()?,
            units: typed.units.iter().map(|unit| self.unit(&key("units"), unit)).collect::<Result<_, _>>()?,
            containers: typed
                .containers
                .iter()
                .map(|id| self.container(&key("containers"), id))
                .collect::<Result<_, _>>()?,
            images,
            keys: typed.keys.iter().map(|path| self.own_key(&key("keys"), path)).collect::<Result<_, _>>()?,
            built_in: false,
        })
    }

    fn sockets(&mut self, typed: &schema::Sockets) -> Result<Sockets, ConfigError> {
        Ok(Sockets {
            docker: self.socket("containers.sockets.docker", typed.docker.as_ref())?,
            podman: self.socket("containers.sockets.podman", typed.podman.as_ref())?,
            containerd: self.socket("containers.sockets.containerd", typed.containerd.as_ref())?,
            cri: self.socket("containers.sockets.cri", typed.cri.as_ref())?,
        })
    }

    /// A socket, which may come later: its owner and mode are looked at whenever it is asked.
    fn socket(&mut self, key: &str, value: Option<&Spanned<String>>) -> Result<Option<PathBuf>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let path = self.path(key, value)?;
        let shown = escape::path(&path);
        match self.host.presence(&path) {
            Presence::Other("a socket") | Presence::Unknown(_) => {}
            Presence::Missing => {
                let text = "there is no such socket on this host yet, so nobody can be asked there".to_owned();
                self.notes.push(Note { place: format!("{key} \"{shown}\""), text });
            }
            Presence::File | Presence::Folder | Presence::Other(_) => {
                let fault = Fault::BadPath { value: shown, why: "is no socket".into() };
                return Err(self.source.error(value.span().start, key, fault));
            }
        }
        Ok(Some(path))
    }

    /// An absolute path that the kernel could open.
    fn path(&self, key: &str, value: &Spanned<String>) -> Result<PathBuf, ConfigError> {
        let text = value.get_ref();
        let shown = || escape::text(text.as_bytes());
        let short = || shown().chars().take(60).chain("…".chars()).collect();
        let fault = if !text.starts_with('/') {
            Fault::Relative { value: shown() }
        } else if text.contains('\0') {
            Fault::BadPath { value: shown(), why: "holds a NUL byte".into() }
        } else if text.len() > LONGEST_PATH {
            Fault::BadPath { value: short(), why: format!("is longer than {LONGEST_PATH} bytes") }
        } else if text.split('/').any(|component| component.len() > LONGEST_COMPONENT) {
            Fault::BadPath { value: short(), why: format!("holds a name longer than {LONGEST_COMPONENT} bytes") }
        } else {
            return Ok(PathBuf::from(text));
        };
        Err(self.source.error(value.span().start, key, fault))
    }

    /// Notes a program that is not installed; refuses what can never be one.
    fn expect_file(&mut self, key: &str, value: &Spanned<String>, path: &Path) -> Result<(), ConfigError> {
        let place = format!("{key} \"{}\"", escape::path(path));
        match self.host.presence(path) {
            Presence::File | Presence::Unknown(_) => {}
            Presence::Missing => {
                let text = "there is no such file on this host yet, so nobody can match this entry".to_owned();
                self.notes.push(Note { place, text });
            }
            Presence::Folder | Presence::Other(_) => {
                let fault = Fault::BadPath { value: escape::path(path), why: "is not a regular file".into() };
                return Err(self.source.error(value.span().start, key, fault));
            }
        }
        Ok(())
    }

    fn script(&mut self, key: &str, value: &Spanned<String>) -> Result<PathBuf, ConfigError> {
        let path = self.path(key, value)?;
        // The kernel side keeps this much of the path that execve was given, with its NUL; a longer one never matches.
        if value.get_ref().len() >= limits::EXEC_PATH {
            let why = format!("is longer than the {} bytes that are kept of a script's path", limits::EXEC_PATH - 1);
            return Err(self.source.error(value.span().start, key, Fault::BadPath { value: escape::path(&path), why }));
        }
        self.expect_file(key, value, &path)?;
        Ok(path)
    }

    /// An entry of `keys.paths`: it exists, or it is a glob.
    fn key_path(&mut self, value: &Spanned<String>) -> Result<PathBuf, ConfigError> {
        let key = "keys.paths";
        let path = self.path(key, value)?;
        let shown = escape::path(&path);
        let fault = match self.host.presence(&path) {
            Presence::Missing if is_glob(&path) => match Glob::new(&path) {
                Ok(glob) => {
                    if glob.expand(self.host).paths.is_empty() {
                        self.notes.push(Note { place: place(&path), text: NOTHING_YET.to_owned() });
                    }
                    return Ok(path);
                }
                Err(why) => Fault::BadGlob { value: shown, why },
            },
            Presence::Missing => Fault::NoSuchPath { value: shown },
            Presence::Other(what) => Fault::NotAKey { value: shown, what },
            Presence::File | Presence::Folder | Presence::Unknown(_) => return Ok(path),
        };
        Err(self.source.error(value.span().start, key, fault))
    }

    /// An entry of a signer's `keys`: a file or folder.
    fn own_key(&mut self, key: &str, value: &Spanned<String>) -> Result<PathBuf, ConfigError> {
        let path = self.path(key, value)?;
        let shown = escape::path(&path);
        if self.host.presence(&path) == Presence::Missing {
            if is_glob(&path) {
                return Err(self.source.error(value.span().start, key, Fault::NoGlobHere { value: shown }));
            }
            let text = "does not exist yet; the entry counts once it does".to_owned();
            self.notes.push(Note { place: format!("{key} \"{shown}\""), text });
        }
        Ok(path)
    }

    /// A pattern for a file's own name.
    fn name_glob(&self, value: &Spanned<String>) -> Result<String, ConfigError> {
        let text = value.get_ref();
        let shown = escape::text(text.as_bytes());
        let fault = if text.contains('/') {
            Fault::NameOnly { value: shown }
        } else if text.is_empty() {
            Fault::BadGlob { value: shown, why: "it is empty".into() }
        } else {
            match globset::Glob::new(text) {
                Ok(_) => return Ok(text.clone()),
                Err(error) => Fault::BadGlob { value: shown, why: error.kind().to_string() },
            }
        };
        Err(self.source.error(value.span().start, "keys.public", fault))
    }

    fn name(&self, key: &str, value: &Spanned<String>) -> Result<String, ConfigError> {
        let text = value.get_ref();
        let why = if text.trim().is_empty() {
            "it is empty"
        } else if text.len() > LONGEST_NAME {
            "it is longer than 64 bytes"
        } else if text.chars().any(char::is_control) {
            "it holds control characters"
        } else {
            return Ok(text.clone());
        };
        let value_shown = escape::text(text.as_bytes()).chars().take(60).collect();
        Err(self.source.error(value.span().start, key, Fault::BadName { value: value_shown, why }))
    }

    fn user(&self, key: &str, value: &Spanned<User>) -> Result<String, ConfigError> {
        match value.get_ref() {
            User::Number(number) => Ok(number.to_string()),
            User::Name(name) if self.users.contains_key(name) => Ok(name.clone()),
            User::Name(name) => {
                let nearest = nearest(name, self.users.keys().map(String::as_str));
                let fault = Fault::UnknownUser { value: escape::text(name.as_bytes()), nearest };
                Err(self.source.error(value.span().start, key, fault))
            }
        }
    }

    fn unit(&self, key: &str, value: &Spanned<String>) -> Result<String, ConfigError> {
        let text = value.get_ref();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let named =
            [".service", ".scope"].iter().any(|kind| text.strip_suffix(kind).is_some_and(|name| !name.is_empty()));
        if named && text.len() <= LONGEST_COMPONENT && text.bytes().all(allowed) {
            return Ok(text.clone());
        }
        Err(self.source.error(value.span().start, key, Fault::BadUnit { value: escape::text(text.as_bytes()) }))
    }

    /// An image: `name`, `name:tag`, `name@sha256:…` or `sha256:…`.
    fn image(&self, key: &str, value: &Spanned<String>) -> Result<String, ConfigError> {
        let text = value.get_ref();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@+".contains(&byte);
        let digest = text.rsplit_once('@').map_or(text.as_str(), |(_, digest)| digest);
        let hex = digest.strip_prefix("sha256:");
        let whole =
            hex.is_none_or(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        if !text.is_empty() && text.len() <= LONGEST_IMAGE && text.bytes().all(allowed) && whole {
            return Ok(text.clone());
        }
        Err(self.source.error(value.span().start, key, Fault::BadImage { value: escape::text(text.as_bytes()) }))
    }

    fn container(&self, key: &str, value: &Spanned<String>) -> Result<String, ConfigError> {
        let text = value.get_ref();
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = if hexadecimal {
            (SHORTEST_ID..=64).contains(&text.len())
        } else {
            text.len() <= LONGEST_COMPONENT
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if fits && !text.is_empty() {
            return Ok(text.clone());
        }
        Err(self.source.error(value.span().start, key, Fault::BadContainer { value: escape::text(text.as_bytes()) }))
    }
}
