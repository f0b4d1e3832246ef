//! Podman and CRI-O: both keep their containers in a store of containers/storage, with a configuration of the OCI runtime
//! beside (`docs/containers-storage.conf.5.md` there; `store.go`, `containers.go`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    Details, Image, Labels, NotFound, bundle,
    json::{list, read, text},
};
use crate::host::{Host, LONGEST_CONF};

/// Where the store of root is, unless its configuration says otherwise.
const ROOT: &str = "/var/lib/containers/storage";

/// Drivers that a store's folders are named for.
const DRIVERS: [&str; 3] = ["overlay", "vfs", "btrfs"];

/// Looks for a container in the store of root, and in `stores`.
pub(super) fn find(host: &Host, stores: &[PathBuf], id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    let roots = stores.iter().cloned().chain(configured(host)).chain([PathBuf::from(ROOT)]);
    for root in roots {
        if let Some(found) = in_store(host, &root, id, labels)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// `storage.graphroot` of `/etc/containers/storage.conf`.
fn configured(host: &Host) -> Option<PathBuf> {
    let conf = host.read(Path::new("/etc/containers/storage.conf"), LONGEST_CONF).ok()?;
    let conf: toml::Table = toml::from_str(str::from_utf8(&conf).ok()?).ok()?;
    let root = conf.get("storage")?.as_table()?.get("graphroot")?.as_str()?;
    Some(PathBuf::from(root)).filter(|root| root.is_absolute())
}

/// A container of a store.
pub(super) fn in_store(host: &Host, root: &Path, id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    for driver in DRIVERS {
        let folder = root.join(format!("{driver}-containers"));
        // The second one: containers that are not to outlive a boot.
        for file in ["containers.json", "volatile-containers.json"] {
            let Some(known) = read(host, &folder.join(file))? else { continue };
            let Some(one) = list(&known, "").find(|one| text(one, "/id").as_deref() == Some(id)) else { continue };
            return details(host, root, driver, one, id, labels).map(Some);
        }
    }
    Ok(None)
}

fn details(
    host: &Host,
    root: &Path,
    driver: &str,
    one: &Value,
    id: &str,
    labels: &Labels,
) -> Result<Details, NotFound> {
    let folder = root.join(format!("{driver}-containers")).join(id).join("userdata");
    // The OCI runtime's configuration comes a moment after the store's entry.
    let configuration = bundle::read_at(host, &folder, labels)?;
    let mut found = configuration.unwrap_or_default();
    // What the engine noted for itself (`metadata`): JSON in a text.
    let noted: Value = text(one, "/metadata").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let image_id = text(one, "/image");
    let images = read(host, &root.join(format!("{driver}-images/images.json"))).ok().flatten().unwrap_or_default();
    let image = list(&images, "").find(|image| text(image, "/id") == image_id);
    let first_name = || image.and_then(|image| text(image, "/names/0"));
    found.name = list(one, "/names").find_map(Value::as_str).map(str::to_owned).or(found.name);
    found.image = Some(Image {
        name: text(&noted, "/image-name").or_else(first_name),
        id: image_id.map(|id| if id.contains(':') { id } else { format!("sha256:{id}") }),
        digests: image.and_then(|image| text(image, "/digest")).into_iter().collect(),
    });
    found.pod = text(&noted, "/pod-name").or(found.pod);
    found.created = text(one, "/created").or(found.created);
    Ok(found)
}
