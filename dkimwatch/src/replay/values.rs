//! How a story writes down bytes, identities, modes, and facts that may be missing.

use dkimwatch_common::identity::FileId;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{decode::Fact, escape};

/// Text that stands for bytes: escaped as [`escape`] says.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        escape::bytes(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{text}` has a `\\` that is neither `\\\\` nor `\\xNN`")))
    }
}

/// `MAJOR:MINOR/INODE`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Id(pub(super) FileId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_id(&text).map(Self).ok_or_else(|| D::Error::custom(format!("`{text}` is not MAJOR:MINOR/INODE")))
    }
}

fn parse_id(text: &str) -> Option<FileId> {
    let (device, inode) = text.split_once('/')?;
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(())?;
    Some(FileId::new(major << 20 | minor, inode.parse().ok()?))
}

/// Permission bits or flags, in octal: `0600`, `0100600`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Octal(pub(super) u32);

impl<'de> Deserialize<'de> for Octal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8).map(Self).map_err(|_| D::Error::custom(format!("`{text}` is not octal")))
    }
}

/// A fact: its value, `"unreadable"`, or left out when it was not asked.
#[derive(Clone, Debug)]
pub(super) struct Recorded<T>(pub(super) Fact<T>);

impl<T> Default for Recorded<T> {
    fn default() -> Self {
        Self(Fact::NotAsked)
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Recorded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value == "unreadable" {
            return Ok(Self(Fact::Unreadable));
        }
        serde_json::from_value(value).map(|value| Self(Fact::Known(value))).map_err(D::Error::custom)
    }
}
