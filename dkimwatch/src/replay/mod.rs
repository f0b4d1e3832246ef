//! Stories: recorded accesses, run through decode, attribute, judge and print without a kernel, and compared with the lines
//! that are expected.
//!
//! A story is a folder: `record.json` (one record or a list), `policy.json`, `host.json`, and what comes out:
//! `expected.ndjson` and `expected.txt`. A policy or a host that lies in the folder above serves all stories in it that
//! have none of their own. The record is written out as the kernel side would have written it and decoded again, so a
//! story begins where the ring does. `state/`, where there is one, has what container runtimes keep on disk, from the host's
//! root on.

mod host;
mod policy;
mod record;
mod values;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dkimwatch_common::record::Kind;
use serde::de::DeserializeOwned;

use crate::{
    attribute::{AttributedAccess, Attributor},
    containers::{self, Enrichment, Stores, Within},
    decode::{DecodeError, EncodeError, RecordBuilder, decode},
    host::Host,
    judge::{Policy, Verdict, foreign, judge},
    print::{Colour, Ecs, HostFacts, Pretty, Printer as _},
};
use host::StoryHost;
use record::Record;

/// Why a story could not be run.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// A file of the story is missing or unreadable.
    #[error("{path}: {source}: a story needs record.json, and policy.json and host.json in its folder or the one above", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the story is not what it should be.
    #[error("{path}: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// A value makes no sense.
    #[error("{path}: {what}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// A record does not fit what the kernel side writes.
    #[error("{path}: {source}", path = path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EncodeError,
    },
    /// A record was refused.
    #[error("{path}: {source}", path = path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// An expectation could not be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A story.
#[derive(Debug)]
pub struct Story {
    folder: PathBuf,
    records: Vec<Vec<u8>>,
    policy: Policy,
    host: StoryHost,
    facts: HostFacts,
}

/// What came out of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// ECS documents, a line each.
    pub ndjson: String,
    /// Lines for people, without colour.
    pub text: String,
    /// Unexpected accesses.
    pub alerts: usize,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file that holds the expectation.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The line as expected; empty when there is none.
    pub expected: String,
    /// The line as it came out; empty when there is none.
    pub found: String,
}

impl Story {
    /// Reads a story.
    ///
    /// # Errors
    /// A file is missing or says something that makes no sense.
    pub fn load(folder: &Path) -> Result<Self, StoryError> {
        let path = folder.join("record.json");
        let value: serde_json::Value = json(&path)?;
        let list = if let serde_json::Value::Array(list) = value { list } else { vec![value] };
        let bytes = |value| -> Result<Vec<u8>, StoryError> {
            let record: Record =
                serde_json::from_value(value).map_err(|source| StoryError::Parse { path: path.clone(), source })?;
            let access = record.access().map_err(|what| StoryError::Value { path: path.clone(), what })?;
            let builder =
                RecordBuilder::new(&access).map_err(|source| StoryError::Encode { path: path.clone(), source })?;
            Ok(builder.finish())
        };
        let records = list.into_iter().map(bytes).collect::<Result<_, _>>()?;
        let policy: policy::StoryPolicy = json(&own_or_shared(folder, "policy.json"))?;
        let host_file = own_or_shared(folder, "host.json");
        let host: StoryHost = json(&host_file)?;
        let facts =
            host.facts().map_err(|error| StoryError::Value { path: host_file, what: format!("boot_id: {error}") })?;
        Ok(Self { folder: folder.to_owned(), records, policy: policy.into(), host, facts })
    }

    /// Runs the story.
    ///
    /// # Errors
    /// A record was refused.
    pub fn tell(&self) -> Result<Told, StoryError> {
        let mut attributor = Attributor::new(self.host.clone());
        let mut ecs = Ecs::new(Vec::new(), self.facts.clone());
        let mut pretty = Pretty::new(Vec::new(), Colour::Never);
        let mut alerts = 0;
        for bytes in &self.records {
            let record = || self.folder.join("record.json");
            let access = decode(bytes).map_err(|source| StoryError::Decode { path: record(), source })?;
            if access.kind == Kind::Library {
                // As the watch does, whose host has the same file at the path.
                let mapped = attributor.mapped(&access);
                let attributed = attributor.attribute(access);
                let strange = foreign(&mapped, &attributed, &self.policy).map(|_| mapped);
                attributor.learn(&attributed.access, strange);
                continue;
            }
            let mut attributed = attributor.attribute(access);
            self.enrich(&mut attributed);
            let Some(judged) = judge(attributed, &self.policy) else { continue };
            alerts += usize::from(judged.verdict == Verdict::Unexpected);
            ecs.access(&judged)
                .and_then(|()| pretty.access(&judged))
                .map_err(|source| StoryError::Write { path: record(), source })?;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Told { ndjson: text(ecs.into_inner()), text: text(pretty.into_inner()), alerts })
    }

    /// What the runtimes' folders say that were recorded with the story: `state/` stands for the host's root.
    fn enrich(&self, attributed: &mut AttributedAccess) {
        let state = self.folder.join("state");
        let Some(container) = attributed.container.as_ref().filter(|_| state.is_dir()) else { return };
        // Nobody lives in a story.
        let within = Within { pid: 0, start_ns: 0 };
        attributed.enrichment = match containers::find(&Host::at(state), &Stores::default(), container, within) {
            Ok(details) => Enrichment::Done(Arc::new(details)),
            Err(error) => Enrichment::Failed(error.to_string()),
        };
    }

    /// Compares what came out with what is expected.
    ///
    /// # Errors
    /// An expectation cannot be read.
    pub fn compare(&self, told: &Told) -> Result<Vec<Difference>, StoryError> {
        let mut differences = Vec::new();
        for (file, found) in self.expectations(told) {
            let expected = read(&file)?;
            if expected == found.as_bytes() {
                continue;
            }
            let expected = String::from_utf8_lossy(&expected).into_owned();
            let (mut left, mut right) = (expected.lines(), found.lines());
            for line in 1.. {
                let (expected, found) = match (left.next(), right.next()) {
                    (None, None) => break,
                    (expected, found) => (expected.unwrap_or_default(), found.unwrap_or_default()),
                };
                if expected != found {
                    let (expected, found) = (expected.to_owned(), found.to_owned());
                    differences.push(Difference { file: file.clone(), line, expected, found });
                }
            }
            if differences.is_empty() {
                // Only the end of the last line differs.
                let line = expected.lines().count();
                differences.push(Difference { file, line, expected: String::new(), found: String::new() });
            }
        }
        Ok(differences)
    }

    /// Makes what came out the expectation.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn bless(&self, told: &Told) -> Result<(), StoryError> {
        for (path, found) in self.expectations(told) {
            fs::write(&path, found).map_err(|source| StoryError::Write { path, source })?;
        }
        Ok(())
    }

    fn expectations<'t>(&self, told: &'t Told) -> [(PathBuf, &'t str); 2] {
        [(self.folder.join("expected.ndjson"), &told.ndjson), (self.folder.join("expected.txt"), &told.text)]
    }
}

/// The story's own file, or the one that it shares with its neighbours.
fn own_or_shared(folder: &Path, name: &str) -> PathBuf {
    let own = folder.join(name);
    match folder.parent() {
        Some(above) if !own.exists() => above.join(name),
        _ => own,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StoryError> {
    fs::read(path).map_err(|source| StoryError::Read { path: path.to_owned(), source })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, StoryError> {
    serde_json::from_slice(&read(path)?).map_err(|source| StoryError::Parse { path: path.to_owned(), source })
}
