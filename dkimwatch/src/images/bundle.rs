//! Archives and layouts that an operator names: `docker save`, `podman save` in both forms, `skopeo copy`, `buildah push`.

use std::path::Path;

use super::{
    archive::Archive,
    fault::Fault,
    layer::digest_of,
    limits::{DEEPEST_INDEX, MOST_IMAGES},
    manifest::{self, Descriptor, Index, Saved},
    place::{At, Holder, Image, Place},
    progress::Progress,
    rooted::Folder,
};
use crate::{escape, host::path_of};

/// The list of `docker save` and of Podman's `docker-archive`.
const SAVED: &str = "manifest.json";
/// The list of an OCI layout (image-layout.md).
const INDEX: &str = "index.json";

/// Opens an archive, or the folder of an OCI layout, and reads what images it has.
///
/// # Errors
/// It cannot be read, or is neither.
pub(super) fn open(path: &Path, limit: u64, progress: &dyn Progress) -> Result<Place, Fault> {
    let name = escape::path(path);
    let (mut place, fault) = if path.is_dir() {
        let folder = Folder::open(path).map_err(Fault::system)?;
        (Place::new(name, "OCI layout", Holder::Folder(folder)), None)
    } else {
        let mut archive = Archive::open(path, limit, progress)?;
        let fault = archive.fault.take();
        (Place::new(name, "archive", Holder::Archive(Box::new(archive))), fault)
    };
    let (saved, index) = (place.holder().has(SAVED), place.holder().has(INDEX));
    if !saved && !index {
        // The lists come last in most archives: one that is cut has none.
        return Err(fault.unwrap_or(Fault::Unknown(
            "is no archive of images: it has neither manifest.json (docker save) nor index.json (OCI)",
        )));
    }
    if let Some(fault) = fault {
        place.trouble(None, fault);
    }
    if saved && let Err(fault) = docker(&mut place) {
        place.trouble(Some(SAVED.to_owned()), fault);
    }
    // Docker writes both since version 25; what the first list has is not told twice.
    if index && let Err(fault) = oci(&mut place, INDEX, 0) {
        place.trouble(Some(INDEX.to_owned()), fault);
    }
    Ok(place)
}

fn docker(place: &mut Place) -> Result<(), Fault> {
    let saved: Vec<Saved> = manifest::parsed(&place.holder().document(SAVED)?)?;
    if saved.len() > MOST_IMAGES {
        return Err(Fault::TooMany { what: "images", most: MOST_IMAGES });
    }
    for one in saved {
        let names = one.repo_tags.unwrap_or_default();
        let layers = one.layers.unwrap_or_default();
        let mut image = Image { names, ..Image::default() };
        let config = match place.holder().document(&one.config) {
            Ok(config) => {
                image.id = Some(digest_of(&config));
                config
            }
            Err(fault) => {
                let part = format!("the configuration {}", escape::word(one.config.as_bytes()));
                place.trouble(Some(part), fault);
                b"{}".to_vec()
            }
        };
        match manifest::bounded(&layers) {
            Ok(layers) => place.image(image, layers.iter().cloned().map(At::Blob).collect(), &config),
            Err(fault) => place.trouble(Some(image.label()), fault),
        }
    }
    Ok(())
}

/// Reads an index, and those in it.
fn oci(place: &mut Place, name: &str, depth: usize) -> Result<(), Fault> {
    let index: Index = manifest::parsed(&place.holder().document(name)?)?;
    if index.manifests.len() > MOST_IMAGES {
        return Err(Fault::TooMany { what: "images", most: MOST_IMAGES });
    }
    for descriptor in &index.manifests {
        let part = || Some(format!("the image {}", escape::word(descriptor.digest.as_bytes())));
        if let Err(fault) = one(place, descriptor, depth) {
            place.trouble(part(), fault);
        }
    }
    Ok(())
}

fn one(place: &mut Place, descriptor: &Descriptor, depth: usize) -> Result<(), Fault> {
    if descriptor.is_index() {
        if depth == DEEPEST_INDEX {
            return Err(Fault::TooMany { what: "indexes within each other", most: DEEPEST_INDEX });
        }
        return oci(place, &descriptor.blob()?, depth + 1);
    }
    let bytes = place.blob(descriptor)?;
    let known: manifest::Manifest = manifest::parsed(&bytes)?;
    let names: Vec<String> = descriptor.name().into_iter().collect();
    // Known already from `docker save`'s list, or by another name. An image that only says to be the same, with other
    // layers, is one of its own.
    let blobs: Vec<_> = known.layers.iter().map(|layer| layer.blob().map(At::Blob).ok()).collect();
    let at = |layer: usize| place.layers.get(layer).map(|layer| layer.at.clone());
    let is_same = |image: &Image| {
        image.id.as_ref() == Some(&known.config.digest)
            && image.layers.iter().map(|placed| at(placed.layer)).eq(blobs.iter().cloned())
    };
    if let Some(number) = place.images.iter().position(is_same)
        && let Some(image) = place.images.get_mut(number)
    {
        // `docker save` writes the same name in two forms.
        let is_new = image.digest.as_ref() == Some(&descriptor.digest) || image.names.is_empty();
        image.digest.get_or_insert_with(|| descriptor.digest.clone());
        image.names.extend(names.into_iter().filter(|_| is_new));
        return Ok(());
    }
    place.manifest(&bytes, &descriptor.digest, names)
}

/// True for a folder that is an OCI layout.
pub(super) fn is_layout(folder: &Folder) -> bool {
    folder.stat(&path_of(INDEX.as_bytes())).is_ok()
}
