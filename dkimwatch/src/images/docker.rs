//! Docker's own store, of its `overlay2` driver (versions 1.10 to 29, where containerd's is not used instead).
//!
//! `image/overlay2/repositories.json` has the names, `imagedb/content/sha256/ID` the configurations. A layer is known by
//! its chain (`ChainID`, OCI image specification, config.md): `layerdb/sha256/CHAIN/cache-id` names the folder
//! `overlay2/CACHE-ID/diff`.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{
    fault::Fault,
    layer::digest_of,
    manifest::{self, Config},
    place::{At, Holder, Image, Names, Place},
};

/// Where the driver's images are described.
const IMAGES: &str = "image/overlay2/imagedb/content/sha256";
const LAYERS: &str = "image/overlay2/layerdb/sha256";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Repositories {
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

/// True for such a store, of whatever driver.
pub(super) fn is_one(holder: &Holder) -> bool {
    holder.has("image/overlay2") || (holder.has("containers") && holder.has("volumes"))
}

/// Reads what images the store has.
pub(super) fn read(place: &mut Place) {
    let Holder::Folder(folder) = place.holder() else { return };
    let drivers = folder.names(Path::new("image"));
    let ids = if folder.has(IMAGES) { folder.names(Path::new(IMAGES)) } else { Ok(Vec::new()) };
    match drivers {
        Ok(drivers) => {
            let has_images = |driver: &&Vec<u8>| {
                let images = crate::host::path_of(&[b"image/", &driver[..], b"/imagedb/content/sha256"].concat());
                folder.names(&images).is_ok_and(|images| !images.is_empty())
            };
            let others = drivers.iter().filter(|driver| *driver != b"overlay2").filter(has_images);
            let parts: Vec<_> = others.map(|driver| format!("image/{}", crate::escape::text(driver))).collect();
            for part in parts {
                place.trouble(
                    Some(part),
                    Fault::Unknown("belongs to a driver other than overlay2, which is not searched"),
                );
            }
        }
        // Where containerd's store is used instead.
        Err(Fault::Missing) => {}
        Err(fault) => place.trouble(Some("image".to_owned()), fault),
    }
    let ids = match ids {
        Ok(ids) => ids,
        Err(fault) => return place.trouble(Some(IMAGES.to_owned()), fault),
    };
    let (names, digests) = match names(place) {
        Ok(names) => names,
        Err(Fault::Missing) => (Names::new(), Names::new()),
        Err(fault) => {
            place.trouble(Some("repositories.json".to_owned()), fault);
            (Names::new(), Names::new())
        }
    };
    for id in ids {
        let id = String::from_utf8_lossy(&id).into_owned();
        let full = format!("sha256:{id}");
        let image = Image {
            names: names.get(&full).cloned().unwrap_or_default(),
            digest: digests.get(&full).and_then(|digests| digests.first().cloned()),
            id: Some(full),
            ..Image::default()
        };
        let label = image.label();
        if let Err(fault) = add(place, image, &id) {
            place.trouble(Some(format!("the image {label}")), fault);
        }
    }
}

/// Names by id, and digests by id: `repositories.json` has both in one map.
fn names(place: &Place) -> Result<(Names, Names), Fault> {
    let bytes = place.holder().document("image/overlay2/repositories.json")?;
    let repositories: Repositories = manifest::parsed(&bytes)?;
    let (mut names, mut digests) = (Names::new(), Names::new());
    for (name, id) in repositories.repositories.into_values().flatten() {
        match name.split_once('@') {
            Some((_, digest)) => digests.entry(id).or_default().push(digest.to_owned()),
            None => names.entry(id).or_default().push(name),
        }
    }
    Ok((names, digests))
}

fn add(place: &mut Place, image: Image, id: &str) -> Result<(), Fault> {
    let bytes = place.holder().document(&format!("{IMAGES}/{id}"))?;
    let found = digest_of(&bytes);
    if image.id.as_ref() != Some(&found) {
        let expected = image.id.clone().unwrap_or_default();
        place.trouble(Some(image.label()), Fault::Digest { expected, found });
    }
    let config: Config = manifest::parsed(&bytes)?;
    let mut chain: Option<String> = None;
    let mut layers = Vec::new();
    for diff_id in manifest::bounded(config.diff_ids())? {
        let next = match &chain {
            None => diff_id.clone(),
            Some(chain) => digest_of(format!("{chain} {diff_id}").as_bytes()),
        };
        let folder = match next.strip_prefix("sha256:") {
            Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("{LAYERS}/{hex}"),
            _ => return Err(Fault::Document("the digest of a layer is none".to_owned())),
        };
        let small = |name: &str| place.holder().document(&format!("{folder}/{name}"));
        let cache = String::from_utf8_lossy(small("cache-id")?.trim_ascii()).into_owned();
        let size = small("size").ok().and_then(|size| std::str::from_utf8(&size).ok()?.trim().parse().ok());
        if cache.is_empty() || !cache.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Fault::Document("the folder of a layer has no name".to_owned()));
        }
        let at = At::Folder(Path::new("overlay2").join(cache).join("diff"));
        place.layer(at.clone(), Some(diff_id.clone()), size);
        layers.push(at);
        chain = Some(next);
    }
    place.image(image, layers, &bytes);
    Ok(())
}
