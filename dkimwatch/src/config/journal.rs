//! `[journal]`: where evidence is kept, when it is on the disk, and for how long it stays.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    ConfigError, Fault,
    amounts::{duration, size},
    load::Source,
};
use crate::{
    escape,
    record::{Limits, SyncPolicy},
};

/// As typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) path: Option<Spanned<String>>,
    sync_alerts: Option<bool>,
    sync_within: Option<Spanned<String>>,
    segment_size: Option<Spanned<String>>,
    segment_age: Option<Spanned<String>>,
    keep_size: Option<Spanned<String>>,
    keep_age: Option<Spanned<String>>,
    record: Option<Recording>,
}

/// Which expected opens are entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// The first of each process; further ones are counted in the kernel, and told in sum each minute.
    #[default]
    Summary,
    /// Each one.
    All,
}

/// As meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// What waits for the disk.
    pub sync: SyncPolicy,
    /// When a segment is closed, and which are kept.
    pub limits: Limits,
    /// Which expected opens are entries.
    pub record: Recording,
}

/// Where the journal is unless the configuration says otherwise.
pub const FOLDER: &str = "/var/lib/dkimwatch/journal";

/// The smallest segment: a handful of entries.
const SMALLEST: u64 = 1 << 20;

impl Default for JournalSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            folder: PathBuf::from(FOLDER),
            sync: SyncPolicy { alerts: true, within: Duration::from_secs(1) },
            limits: Limits {
                segment_size: 64 << 20,
                segment_age: Duration::from_secs(DAY),
                keep_size: 4 << 30,
                keep_age: Duration::from_secs(400 * DAY),
            },
            record: Recording::default(),
        }
    }
}

impl Journal {
    /// Checked; what is left out has its default. `folder` is the path, checked.
    pub(super) fn meant(&self, source: &Source<'_>, folder: Option<PathBuf>) -> Result<JournalSettings, ConfigError> {
        let defaults = JournalSettings::default();
        let Limits { segment_size, segment_age, keep_size, keep_age } = defaults.limits;
        let time = |key, typed: &Option<Spanned<String>>, default| {
            read(source, key, typed.as_ref(), default, |text| {
                duration(text).and_then(|time| {
                    let none = "a duration of nothing is none, for instance 1s".to_owned();
                    if time.is_zero() { Err(none) } else { Ok(time) }
                })
            })
        };
        let bytes = |key, typed: &Option<Spanned<String>>, default| {
            read(source, key, typed.as_ref(), default, |text| {
                size(text).and_then(|size| {
                    if size < SMALLEST { Err("less than 1MiB holds a handful of entries".to_owned()) } else { Ok(size) }
                })
            })
        };
        Ok(JournalSettings {
            folder: folder.unwrap_or(defaults.folder),
            sync: SyncPolicy {
                alerts: self.sync_alerts.unwrap_or(defaults.sync.alerts),
                within: time("journal.sync_within", &self.sync_within, defaults.sync.within)?,
            },
            limits: Limits {
                segment_size: bytes("journal.segment_size", &self.segment_size, segment_size)?,
                segment_age: time("journal.segment_age", &self.segment_age, segment_age)?,
                keep_size: bytes("journal.keep_size", &self.keep_size, keep_size)?,
                keep_age: time("journal.keep_age", &self.keep_age, keep_age)?,
            },
            record: self.record.unwrap_or(defaults.record),
        })
    }
}

fn read<T>(
    source: &Source<'_>,
    key: &str,
    typed: Option<&Spanned<String>>,
    default: T,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let Some(typed) = typed else { return Ok(default) };
    read(typed.get_ref()).map_err(|why| {
        let value = escape::text(typed.get_ref().as_bytes()).chars().take(60).collect();
        source.error(typed.span().start, key, Fault::BadAmount { value, why })
    })
}
