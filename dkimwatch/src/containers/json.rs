//! A runtime's files in JSON: read with a bound, and asked without trusting their shape.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::NotFound;
use crate::host::{Host, LONGEST_TABLE, ReadError};

/// A file's document; `None` where there is no such file.
pub(super) fn read(host: &Host, path: &Path) -> Result<Option<Value>, NotFound> {
    let bytes = match host.read(path, LONGEST_TABLE) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return Ok(None),
        Err(error) => return Err(NotFound::Unreadable { path: path.to_owned(), why: error.to_string() }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| NotFound::Unreadable { path: path.to_owned(), why: format!("is no JSON: {error}") })
}

/// A text that is there and not empty.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A text that is an absolute path.
pub(super) fn path(value: &Value, pointer: &str) -> Option<PathBuf> {
    text(value, pointer).map(PathBuf::from).filter(|path| path.is_absolute())
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
