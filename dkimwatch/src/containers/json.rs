//! A runtime's files in JSON: read with a bound, and asked without trusting their shape.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::NotFound;
use crate::host::{Host, ReadError};

/// The longest file that is read, bytes. A list of a thousand containers takes one megabyte; a user can write any.
const LONGEST: u64 = 4 << 20;

/// A file's document; `None` where there is no such file.
pub(super) fn read(host: &Host, path: &Path) -> Result<Option<Value>, NotFound> {
    let bytes = match host.read(path, LONGEST) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return Ok(None),
        Err(error) => return Err(NotFound::Unreadable { path: path.to_owned(), why: error.to_string() }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| NotFound::Unreadable { path: path.to_owned(), why: format!("is no JSON: {error}") })
}

/// Characters that are kept of a text: a name of megabytes must not fill a log.
const KEPT: usize = 512;
/// `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// A text that is there and not empty, cut where it is too long for any name.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    whole(value, pointer).map(cut)
}

/// A name or digest, cut where it is too long for one.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(KEPT).collect()
}

/// A text that is there and not empty.
pub(super) fn whole<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A text that is an absolute path.
pub(super) fn path(value: &Value, pointer: &str) -> Option<PathBuf> {
    whole(value, pointer).and_then(absolute)
}

/// An absolute path that the kernel could open.
pub(super) fn absolute(path: &str) -> Option<PathBuf> {
    (path.len() < LONGEST_PATH && path.starts_with('/')).then(|| PathBuf::from(path))
}

/// The entries of a list.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The texts of an object.
pub(super) fn texts<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = (&'v str, &'v str)> {
    let object = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    object.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}
