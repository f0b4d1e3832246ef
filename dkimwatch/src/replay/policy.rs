//! A story's policy, in readable form.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use serde::Deserialize;

use super::values::{Id, Octal, Text};
use crate::judge::{
    Contained, ExpectedImage, Guarded, JudgedKey, Met, Part, Policy, Provenance, PublicNames, Reader, Role, Watched,
};

/// The policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoryPolicy {
    readers: Vec<StoryReader>,
    watched: Vec<StoryWatched>,
    public: Vec<String>,
    host_mnt_ns: u32,
    systemd: bool,
    /// What is the watcher's own.
    #[serde(default)]
    guarded: Vec<StoryGuarded>,
    /// The watcher's login session.
    own_session: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum StoryGuarded {
    Configuration(Text),
    Journal(Text),
    Pins(Text),
}

impl From<StoryGuarded> for Guarded {
    fn from(story: StoryGuarded) -> Self {
        let (part, at) = match story {
            StoryGuarded::Configuration(at) => (Part::Configuration, at),
            StoryGuarded::Journal(at) => (Part::Journal, at),
            StoryGuarded::Pins(at) => (Part::Pins, at),
        };
        Self { part, path: path(at) }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoryReader {
    name: String,
    role: StoryRole,
    executable: Text,
    images: Vec<StoryImage>,
    script: Option<Text>,
    #[serde(default)]
    uids: Vec<u32>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    containers: Vec<String>,
    /// Images of the containers that it is expected in.
    #[serde(default)]
    container_images: Vec<String>,
    #[serde(default)]
    met: Vec<StoryMet>,
    keys: Option<Vec<u32>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoryMet {
    container: String,
    program: StoryImage,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoryRole {
    Signer,
    Maintenance,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoryImage {
    id: Id,
    uid: u32,
    ctime: u64,
    mode: Octal,
    #[serde(default)]
    provenance: StoryProvenance,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoryProvenance {
    #[default]
    Accepted,
    Pending,
    NotPackage(String),
    Changed,
    Unread,
}

impl From<StoryProvenance> for Provenance {
    fn from(story: StoryProvenance) -> Self {
        match story {
            StoryProvenance::Accepted => Self::Accepted,
            StoryProvenance::Pending => Self::Pending,
            StoryProvenance::NotPackage(package) => Self::NotPackage(package),
            StoryProvenance::Changed => Self::Changed,
            StoryProvenance::Unread => Self::Unread,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum StoryWatched {
    Key(StoryKey),
    Folder { path: Text, signer: Option<String> },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoryKey {
    path: Text,
    domain: Option<String>,
    selector: Option<String>,
    signer: Option<String>,
}

fn path(text: Text) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.0))
}

impl From<StoryPolicy> for Policy {
    fn from(story: StoryPolicy) -> Self {
        Self {
            readers: story.readers.into_iter().map(Reader::from).collect(),
            watched: story.watched.into_iter().map(Watched::from).collect(),
            public: PublicNames::new(&story.public),
            host_mnt_ns: story.host_mnt_ns,
            systemd: story.systemd,
            guarded: story.guarded.into_iter().map(Guarded::from).collect(),
            own_session: story.own_session,
        }
    }
}

impl From<StoryImage> for ExpectedImage {
    fn from(image: StoryImage) -> Self {
        Self {
            id: image.id.0,
            uid: image.uid,
            ctime: image.ctime,
            mode: image.mode.0,
            provenance: image.provenance.into(),
        }
    }
}

impl From<StoryReader> for Reader {
    fn from(story: StoryReader) -> Self {
        let executable = path(story.executable);
        Self {
            name: story.name,
            role: match story.role {
                StoryRole::Signer => Role::Signer,
                StoryRole::Maintenance => Role::Maintenance,
            },
            // Without an executable on the host there is nothing at its place.
            place: (!story.images.is_empty()).then(|| executable.clone()),
            executable,
            images: story.images.into_iter().map(ExpectedImage::from).collect(),
            script: story.script.map(path),
            uids: story.uids,
            users: story.users,
            units: story.units,
            containers: story.containers,
            contained: (!story.container_images.is_empty()).then(|| Contained {
                images: story.container_images,
                met: story
                    .met
                    .into_iter()
                    .map(|met| Met { container: met.container, program: met.program.into() })
                    .collect(),
            }),
            keys: story.keys,
        }
    }
}

impl From<StoryWatched> for Watched {
    fn from(story: StoryWatched) -> Self {
        match story {
            StoryWatched::Key(key) => Self::Key(JudgedKey {
                path: path(key.path),
                domain: key.domain,
                selector: key.selector,
                signer: key.signer,
            }),
            StoryWatched::Folder { path: folder, signer } => Self::Folder { path: path(folder), signer },
        }
    }
}
