//! Reading the configuration file, and saying exactly where it is wrong.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ConfigError, Fault, Place, Settings, schema, trust, validate};
use crate::{
    host::{Host, ReadError, open_regular},
    keys::Note,
};

/// Where the configuration lies unless `--config` names another; it may be absent.
pub const DEFAULT_PATH: &str = "/etc/dkimwatch/dkimwatch.toml";
/// Longest configuration, in bytes: far more than any real one.
const LONGEST: u64 = 1 << 20;

/// A configuration that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// As meant.
    pub settings: Settings,
    /// The file; `None`: there is none, and these are the defaults.
    pub file: Option<PathBuf>,
    /// What is not wrong but should be known: a glob that matches nothing, a signer that is not installed.
    pub notes: Vec<Note>,
}

/// Loads the configuration `named` by `--config`, or the default one, or else the defaults.
///
/// # Errors
/// The first thing that is wrong; see [`Fault`]. A named file must exist, the default one need not.
pub fn load(named: Option<&Path>, host: &Host) -> Result<Loaded, ConfigError> {
    let default = host.inside(Path::new(DEFAULT_PATH));
    let file = named.unwrap_or(&default);
    let refuse = |fault| ConfigError::new(Place::file(file), fault);
    let text = match read(file) {
        Ok(text) => text,
        Err(Fault::Missing) if named.is_none() => {
            let (settings, notes) = validate::settings(&source(file, ""), schema::File::default(), host)?;
            return Ok(Loaded { settings, file: None, notes });
        }
        Err(fault) => return Err(refuse(fault)),
    };
    trust::check(file)?;
    let source = source(file, &text);
    let typed = toml::from_str(&text).map_err(|error| source.syntax(&error))?;
    let (settings, notes) = validate::settings(&source, typed, host)?;
    Ok(Loaded { settings, file: Some(file.to_path_buf()), notes })
}

fn read(file: &Path) -> Result<String, Fault> {
    use io::Read as _;
    let opened = open_regular(file).map_err(|error| match error {
        ReadError::Missing => Fault::Missing,
        ReadError::NotRegular(what) => Fault::NotRegular(what),
        ReadError::TooLong(limit) => Fault::TooLong { limit },
        ReadError::Io(error) => Fault::Unreadable(error),
        ReadError::NamedLikeKey => Fault::Unreadable(io::ErrorKind::InvalidFilename.into()),
    })?;
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Fault::Unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Fault::TooLong { limit: LONGEST });
    }
    String::from_utf8(bytes).map_err(|error| Fault::NotUtf8 { offset: error.utf8_error().valid_up_to() })
}

fn source<'a>(file: &'a Path, text: &'a str) -> Source<'a> {
    Source { file, text }
}

/// The text of a configuration, to find lines in.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    /// The line, from 1, of a byte offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
    }

    /// An error at a byte offset, of a key.
    pub(super) fn error(&self, offset: usize, key: &str, fault: Fault) -> ConfigError {
        let place = Place { file: self.file.to_path_buf(), line: Some(self.line(offset)), key: Some(key.to_owned()) };
        ConfigError::new(place, fault)
    }

    /// The parser's error, with the key that it is about.
    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map(|span| span.start);
        let key = offset.and_then(|offset| self.key_at(offset));
        let fault = unknown_key(error.message())
            .unwrap_or_else(|| Fault::Syntax { message: error.message().lines().collect::<Vec<_>>().join(", ") });
        // The unknown key is the fault itself; the place names only the table that it stands in.
        let key = match (&fault, key) {
            (Fault::UnknownKey { .. }, Some(key)) => key.rsplit_once('.').map(|(table, _)| table.to_owned()),
            (_, key) => key,
        };
        let line = offset.map(|offset| self.line(offset));
        ConfigError::new(Place { file: self.file.to_path_buf(), line, key }, fault)
    }

    /// The dotted key whose value stands at an offset: the nearest `key =` at or above it, below the nearest `[table]`.
    fn key_at(&self, offset: usize) -> Option<String> {
        let end = self.text.get(offset..)?.find('\n').map_or(self.text.len(), |length| offset + length);
        let mut key = None;
        for line in self.text.get(..end)?.lines().rev() {
            let line = line.trim();
            if let Some(table) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
                let table = table.trim_start_matches('[').trim();
                if table.chars().all(|c| c.is_ascii_alphanumeric() || "._- ".contains(c)) && !table.is_empty() {
                    return Some(key.map_or_else(|| table.to_owned(), |key| format!("{table}.{key}")));
                }
            }
            if let (None, Some((name, _))) = (&key, line.split_once('=')) {
                let name = name.trim();
                if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-\"'".contains(c)) {
                    key = Some(name.to_owned());
                }
            }
        }
        key
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`", taken apart.
fn unknown_key(message: &str) -> Option<Fault> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2).map(str::to_owned);
    let key = quoted.next()?;
    let known: Vec<String> = quoted.collect();
    let nearest = nearest(&key, known.iter().map(String::as_str));
    Some(Fault::UnknownKey { key, nearest, known })
}

/// The known word nearest to a mistyped one, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let word = word.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&word, &known.to_lowercase()), known))
        .filter(|&(distance, known)| distance <= 1 + known.len().min(word.len()) / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
