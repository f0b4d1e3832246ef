//! containers-storage: the store of Podman, Buildah and CRI-O (its `overlay` driver, versions 1.x).
//!
//! `overlay-images/images.json` lists images, `overlay-layers/layers.json` (and, of layers that live in memory only,
//! `volatile-layers.json` beside it) the layers with their parents; a layer's files are in `overlay/ID/diff`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    base64,
    fault::Fault,
    limits::MOST_LAYERS,
    manifest,
    place::{At, Holder, Image, Place},
};

#[derive(Debug, Deserialize)]
struct StoredImage {
    id: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    layer: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StoredLayer {
    id: String,
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    diff_digest: Option<String>,
    #[serde(default)]
    diff_size: Option<i64>,
}

/// True for such a store, of whatever driver.
pub(super) fn is_one(holder: &Holder) -> bool {
    holder.has("storage.lock") || DRIVERS.iter().any(|driver| holder.has(&format!("{driver}-images/images.json")))
}

/// The drivers of containers-storage.
const DRIVERS: [&str; 5] = ["overlay", "vfs", "btrfs", "zfs", "aufs"];

/// Reads what images the store has.
pub(super) fn read(place: &mut Place) {
    for driver in DRIVERS.iter().skip(1) {
        let list = format!("{driver}-images/images.json");
        if place.holder().document(&list).is_ok_and(|list| list.trim_ascii() != b"[]") {
            place.trouble(Some(list), Fault::Unknown("belongs to a driver other than overlay, which is not searched"));
        }
    }
    let images: Vec<StoredImage> = match list(place, "overlay-images/images.json") {
        Some(images) => images,
        // Nothing was ever pulled or built.
        None => return,
    };
    let mut layers: HashMap<String, StoredLayer> = HashMap::new();
    for name in ["overlay-layers/layers.json", "overlay-layers/volatile-layers.json"] {
        let listed: Vec<StoredLayer> = list(place, name).unwrap_or_default();
        layers.extend(listed.into_iter().map(|layer| (layer.id.clone(), layer)));
    }
    for stored in images {
        let image = Image {
            names: stored.names.unwrap_or_default(),
            id: Some(format!("sha256:{}", stored.id)),
            digest: stored.digest,
            ..Image::default()
        };
        match chain(&layers, stored.layer.as_deref().unwrap_or_default()) {
            Ok(chain) => add(place, image, &stored.id, &chain),
            Err(fault) => place.trouble(Some(format!("the image {}", image.label())), fault),
        }
    }
}

fn list<T: serde::de::DeserializeOwned>(place: &mut Place, name: &str) -> Option<Vec<T>> {
    match place.holder().document(name).and_then(|bytes| manifest::parsed(&bytes)) {
        Ok(list) => Some(list),
        Err(Fault::Missing) => None,
        Err(fault) => {
            place.trouble(Some(name.to_owned()), fault);
            None
        }
    }
}

/// The layers from the lowest to this one.
fn chain<'a>(layers: &'a HashMap<String, StoredLayer>, top: &str) -> Result<Vec<&'a StoredLayer>, Fault> {
    let mut chain = Vec::new();
    let mut next = Some(top).filter(|top| !top.is_empty());
    while let Some(id) = next {
        // Parents in a circle are endless, too.
        if chain.len() == MOST_LAYERS {
            return Err(Fault::TooMany { what: "layers", most: MOST_LAYERS });
        }
        let missing =
            || Fault::Document(format!("its layer {} is not in the list", crate::escape::word(id.as_bytes())));
        let layer = layers.get(id).ok_or_else(missing)?;
        chain.push(layer);
        next = layer.parent.as_deref().filter(|parent| !parent.is_empty());
    }
    chain.reverse();
    Ok(chain)
}

fn add(place: &mut Place, image: Image, id: &str, chain: &[&StoredLayer]) {
    // A document whose name is not plain is stored as `=` and the name in base64 (containers-storage, makeBigDataBaseName).
    let config = match plain(id) {
        true => format!("overlay-images/{id}/={}", base64::encoded(format!("sha256:{id}").as_bytes())),
        false => return place.trouble(Some(image.label()), Fault::Document("its id is none".to_owned())),
    };
    let config = match place.holder().document(&config) {
        Ok(config) => config,
        Err(fault) => {
            place.trouble(Some(format!("the configuration of {}", image.label())), fault);
            b"{}".to_vec()
        }
    };
    let mut at = Vec::new();
    for layer in chain {
        if !plain(&layer.id) {
            return place.trouble(Some(image.label()), Fault::Document("the id of a layer is none".to_owned()));
        }
        let folder = Path::new("overlay").join(&layer.id);
        if place.holder().has(&format!("overlay/{}/composefs-data", layer.id)) {
            let fault = Fault::Unknown("is a composefs layer, which is not searched");
            place.trouble(Some(format!("the layer {} of {}", layer.id, image.label())), fault);
        }
        let size = layer.diff_size.and_then(|size| u64::try_from(size).ok());
        let folder = At::Folder(folder.join("diff"));
        place.layer(folder.clone(), layer.diff_digest.clone(), size);
        at.push(folder);
    }
    place.image(image, at, &config);
}

/// An id is a part of a path here.
fn plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where Podman keeps a user's own store, below their home (containers-storage.conf(5), `rootless_storage_path`).
pub(super) fn of_home(home: &Path) -> PathBuf {
    home.join(".local/share/containers/storage")
}
