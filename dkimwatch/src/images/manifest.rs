//! The documents of images: OCI image specification 1.1 (image-layout.md, image-index.md, manifest.md, config.md), Docker's
//! "image manifest version 2, schema 2", and `manifest.json` of `docker save`.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use super::{fault::Fault, limits::MOST_LAYERS};
use crate::escape;

/// Names the content of a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// A list of manifests, for instance one a platform.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    pub(super) manifests: Vec<Descriptor>,
}

/// An image.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// An image in `docker save`'s list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}

/// An image's configuration, of which we ask two things.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<Step>>,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Step {
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    empty_layer: Option<bool>,
}

impl Config {
    /// The digests of the expanded layers, the lowest first.
    pub(super) fn diff_ids(&self) -> &[String] {
        self.rootfs.as_ref().and_then(|rootfs| rootfs.diff_ids.as_deref()).unwrap_or_default()
    }

    /// The commands that made the layers, in their order; steps that made none are left out.
    pub(super) fn commands(&self) -> Vec<Option<String>> {
        let steps = self.history.as_deref().unwrap_or_default().iter();
        steps.filter(|step| step.empty_layer != Some(true)).map(|step| step.created_by.clone()).collect()
    }
}

impl Descriptor {
    /// Where the blob lies in a layout or content store.
    ///
    /// # Errors
    /// The digest is none: it would be a path of somebody's choice.
    pub(super) fn blob(&self) -> Result<String, Fault> {
        let sound = self.digest.split_once(':').filter(|(algorithm, hex)| {
            !algorithm.is_empty()
                && algorithm.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && (32..=128).contains(&hex.len())
                && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        match sound {
            Some((algorithm, hex)) => Ok(format!("blobs/{algorithm}/{hex}")),
            None => Err(Fault::Document(format!("{} is no digest", escape::word(self.digest.as_bytes())))),
        }
    }

    /// The names that an index gives to an image: containerd's full one, or the reference, which may be a tag alone.
    pub(super) fn name(&self) -> Option<String> {
        let annotations = self.annotations.as_ref()?;
        let of = |key: &str| annotations.get(key).cloned();
        of("io.containerd.image.name").or_else(|| of("org.opencontainers.image.ref.name"))
    }

    /// True for layers: an artifact's other blobs (attestations, charts) are no file systems.
    pub(super) fn is_layer(&self) -> bool {
        self.media_type.is_empty() || self.media_type.contains("layer") || self.media_type.contains("rootfs")
    }

    /// True for a list of manifests.
    pub(super) fn is_index(&self) -> bool {
        self.media_type.ends_with("image.index.v1+json") || self.media_type.contains("manifest.list")
    }
}

/// Reads a document.
///
/// # Errors
/// It is not of this form.
pub(super) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    // serde_json quotes what it met: somebody else's bytes.
    serde_json::from_slice(bytes).map_err(|error| Fault::Document(escape::text(error.to_string().as_bytes())))
}

/// Refuses an image of more layers than any engine takes.
pub(super) fn bounded<T>(layers: &[T]) -> Result<&[T], Fault> {
    if layers.len() > MOST_LAYERS { Err(Fault::TooMany { what: "layers", most: MOST_LAYERS }) } else { Ok(layers) }
}
