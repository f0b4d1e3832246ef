//! Podman and CRI-O: both keep their containers in a store of containers/storage, with a configuration of the OCI runtime
//! beside (`docs/containers-storage.conf.5.md` there; `store.go`, `containers.go`).

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Details, Image, Labels, MOST, NotFound, bundle,
    json::{cut, list, read, text, whole},
};
use crate::host::{Host, LONGEST_CONF};

/// Where the store of root is, unless its configuration says otherwise.
const ROOT: &str = "/var/lib/containers/storage";

/// Drivers that a store's folders are named for.
const DRIVERS: [&str; 3] = ["overlay", "vfs", "btrfs"];

/// Looks for a container in the store of root, and in `stores`.
pub(super) fn find(host: &Host, stores: &[PathBuf], id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    for root in roots(host, stores) {
        if let Some(found) = in_store(host, &root, id, labels)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Every container of a store. One that cannot be read is passed over.
pub(super) fn all(host: &Host, root: &Path, labels: &Labels) -> Vec<(String, Details)> {
    let mut all = Vec::new();
    for driver in DRIVERS {
        let mut store = None;
        for file in LISTS {
            let list_at = root.join(format!("{driver}-containers")).join(file);
            let Ok(Some(known)) = read(host, &list_at) else { continue };
            let store = store.get_or_insert_with(|| Store::open(host, root, driver));
            all.extend(list(&known, "").take(MOST).filter_map(|one| {
                let id = text(one, "/id").filter(|id| is_id(id))?;
                Some((id.clone(), store.details(one, &id, labels).ok()?))
            }));
        }
    }
    all
}

/// The folders of a store in which something happens when a container comes: it is listed there, and gets a folder.
pub(super) fn folders(host: &Host, root: &Path) -> Vec<PathBuf> {
    let lists = DRIVERS.map(|driver| root.join(format!("{driver}-containers")));
    lists.into_iter().filter(|list| host.is_own_folder(list)).collect()
}

/// The folders of containers that are on their way, where these are known already: in a container's folder comes another one, and
/// in that its configuration, which is written in place.
pub(super) fn unfinished(host: &Host, root: &Path, known: &[(String, Details)]) -> Vec<PathBuf> {
    let configured: HashSet<&OsStr> =
        known.iter().filter(|(_, details)| details.root.is_some()).map(|(id, _)| OsStr::new(id)).collect();
    let mut unfinished = Vec::new();
    for list in folders(host, root) {
        for id in host.names(&list).into_iter().take(MOST).filter(|id| !configured.contains(id.as_os_str())) {
            let folder = list.join(id);
            let inner = folder.join("userdata");
            unfinished.extend([inner, folder].into_iter().find(|folder| host.is_own_folder(folder)));
        }
    }
    unfinished
}

/// Stores of root's, each once.
pub(super) fn roots(host: &Host, stores: &[PathBuf]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = stores.iter().cloned().chain(configured(host)).chain([PathBuf::from(ROOT)]).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// The lists of containers that a store may have. The second one is of containers that are not to outlive a boot.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

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
        for file in LISTS {
            let Some(known) = read(host, &root.join(format!("{driver}-containers")).join(file))? else { continue };
            let Some(one) = list(&known, "").find(|one| text(one, "/id").as_deref() == Some(id)) else { continue };
            return Store::open(host, root, driver).details(one, id, labels).map(Some);
        }
    }
    Ok(None)
}

/// A store's part of one driver, with the lists that every container of it is looked up in.
struct Store<'h> {
    host: &'h Host,
    root: &'h Path,
    driver: &'static str,
    images: Value,
    layers: Value,
}

impl<'h> Store<'h> {
    fn open(host: &'h Host, root: &'h Path, driver: &'static str) -> Self {
        let known = |file: &str| read(host, &root.join(file)).ok().flatten().unwrap_or_default();
        let images = known(&format!("{driver}-images/images.json"));
        let layers = known(&format!("{driver}-layers/layers.json"));
        Self { host, root, driver, images, layers }
    }

    /// One of its containers.
    fn details(&self, one: &Value, id: &str, labels: &Labels) -> Result<Details, NotFound> {
        let folder = self.root.join(format!("{}-containers", self.driver)).join(id).join("userdata");
        // The OCI runtime's configuration comes a moment after the store's entry.
        let mut found = bundle::read_at(self.host, &folder, labels)?.unwrap_or_default();
        // What the engine noted for itself (`metadata`): JSON in a text.
        let noted: Value = whole(one, "/metadata").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let image_id = text(one, "/image");
        let image = list(&self.images, "").find(|image| text(image, "/id") == image_id);
        let first_name = || image.and_then(|image| text(image, "/names/0"));
        found.name = list(one, "/names").find_map(Value::as_str).map(cut).or(found.name);
        found.image = Some(Image {
            name: text(&noted, "/image-name").or_else(first_name),
            id: image_id.map(|id| if id.contains(':') { id } else { format!("sha256:{id}") }),
            digests: image.and_then(|image| text(image, "/digest")).into_iter().collect(),
        });
        found.layers = self.layers(text(one, "/layer"));
        found.pod = text(&noted, "/pod-name").or(found.pod);
        found.created = text(one, "/created").or(found.created);
        Ok(found)
    }

    /// The folders of a layer and of all below it.
    fn layers(&self, first: Option<String>) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let mut next = first;
        while let Some(id) = next.filter(|id| folders.len() < DEEPEST && is_id(id)) {
            folders.push(match self.driver {
                "vfs" => self.root.join("vfs/dir").join(&id),
                driver => self.root.join(driver).join(&id).join("diff"),
            });
            let layer = list(&self.layers, "").find(|one| text(one, "/id").as_ref() == Some(&id));
            next = layer.and_then(|one| text(one, "/parent"));
        }
        folders
    }
}

/// Layers that one may have at most (`maxDepth` of the overlay driver).
const DEEPEST: usize = 500;

/// The id of a container or a layer: a name in a folder, and no way out of it.
fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
