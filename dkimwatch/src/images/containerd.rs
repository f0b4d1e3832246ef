//! containerd's content store: blobs by their digests. Manifests are found among them by what they are.
//!
//! The names of images are in a database (`io.containerd.metadata.v1.bolt/meta.db`) that is not read: of the readers there are
//! in Rust, bbolt-rs is a port of the whole database with its writing, and bolt-lite (0.1.0) takes the file into memory and
//! follows pages that lead in a circle. An image is named by its manifest's digest, and by the annotations of an index that
//! was imported with it. Where containerd throws a layer's blob away once it is unpacked (`discard_unpacked_layers`), the
//! layer is told as missing.

use std::path::Path;

use serde::Deserialize;

use super::{
    fault::Fault,
    manifest::{self, Descriptor},
    place::{Holder, Names, Place},
};
use crate::host::path_of;

/// The content store's folder in containerd's.
pub(super) const CONTENT: &str = "io.containerd.content.v1.content";
const BLOBS: &str = "blobs/sha256";
/// Longest blob that is asked whether it is a manifest: registries refuse longer ones.
const LONGEST: i64 = 4 << 20;

/// What tells a manifest and an index from a configuration.
#[derive(Debug, Deserialize)]
struct Any {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// True for the content store itself.
pub(super) fn is_one(holder: &Holder) -> bool {
    holder.has(BLOBS) && !holder.has("index.json")
}

/// Reads what images the store has.
pub(super) fn read(place: &mut Place) {
    let Holder::Folder(folder) = place.holder() else { return };
    let blobs = match folder.names(Path::new(BLOBS)) {
        Ok(blobs) => blobs,
        Err(fault) => return place.trouble(Some(BLOBS.to_owned()), fault),
    };
    let mut names = Names::new();
    let mut indexed = Vec::new();
    let mut manifests = Vec::new();
    for blob in blobs {
        let blob = String::from_utf8_lossy(&blob).into_owned();
        let document = match document(place, &blob) {
            Ok(Some(document)) => document,
            Ok(None) => continue,
            Err(fault) => {
                place.trouble(Some(format!("the blob {}", crate::escape::word(blob.as_bytes()))), fault);
                continue;
            }
        };
        let Ok(any) = manifest::parsed::<Any>(&document) else { continue };
        let digest = format!("sha256:{blob}");
        for descriptor in any.manifests.into_iter().flatten() {
            if let Some(name) = descriptor.name() {
                names.entry(descriptor.digest.clone()).or_default().push(name);
            }
            indexed.push((digest.clone(), descriptor.digest));
        }
        if any.layers.is_some() {
            manifests.push((digest, document));
        }
    }
    // The name of an index is that of its images.
    for (index, image) in indexed {
        let of_index = names.get(&index).cloned().unwrap_or_default();
        names.entry(image).or_default().extend(of_index);
    }
    for (digest, document) in manifests {
        let mut names = names.remove(&digest).unwrap_or_default();
        names.dedup();
        if let Err(fault) = place.manifest(&document, &digest, names) {
            place.trouble(Some(format!("the image {digest}")), fault);
        }
    }
}

/// A blob that may be a manifest or an index: JSON, and not long.
fn document(place: &Place, blob: &str) -> Result<Option<Vec<u8>>, Fault> {
    let Holder::Folder(folder) = place.holder() else { return Ok(None) };
    let path = path_of(format!("{BLOBS}/{blob}").as_bytes());
    if folder.stat(&path).map_err(Fault::system)?.st_size > LONGEST {
        return Ok(None);
    }
    let bytes = folder.read(&path, LONGEST.unsigned_abs())?;
    Ok(bytes.trim_ascii_start().starts_with(b"{").then_some(bytes))
}
