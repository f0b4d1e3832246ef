//! Docker: `config.v2.json` and `hostconfig.json` in `DATA-ROOT/containers/ID` (moby, `container/container.go`).

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{
    Details, Image, Labels, MOST, Mount, NotFound, bundle,
    json::{path, read, text, texts},
};
use crate::host::Host;

/// Where Docker keeps its data unless it is told otherwise; the second one is of Ubuntu's snap.
const ROOTS: [&str; 2] = ["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

/// Looks for a container in the folders of this host's Docker, and in `stores`.
pub(super) fn find(host: &Host, stores: &[PathBuf], id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    for root in roots(host, stores) {
        if let Some(found) = at(host, &root, id, labels)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Every container of theirs. One that cannot be read is passed over.
pub(super) fn all(host: &Host, stores: &[PathBuf], labels: &Labels) -> Vec<(String, Details)> {
    let mut all = Vec::new();
    for root in roots(host, stores) {
        let ids =
            host.names(&root.join("containers")).into_iter().take(MOST).filter_map(|name| name.into_string().ok());
        all.extend(ids.filter_map(|id| Some((id.clone(), at(host, &root, &id, labels).ok()??))));
    }
    all
}

/// Its folders in which something happens when a container comes: it gets a folder there.
pub(super) fn folders(host: &Host, stores: &[PathBuf]) -> Vec<PathBuf> {
    let folders = roots(host, stores).into_iter().map(|root| root.join("containers"));
    folders.filter(|folder| host.is_own_folder(folder)).collect()
}

/// The folders of containers that are on their way, where these are known already: their configuration is to come.
pub(super) fn unfinished(host: &Host, stores: &[PathBuf], known: &[(String, Details)]) -> Vec<PathBuf> {
    let known: HashSet<&OsStr> = known.iter().map(|(id, _)| OsStr::new(id)).collect();
    let mut unfinished = Vec::new();
    for containers in folders(host, stores) {
        let new = host.names(&containers).into_iter().take(MOST).filter(|id| !known.contains(id.as_os_str()));
        unfinished.extend(new.map(|id| containers.join(id)).filter(|folder| host.is_own_folder(folder)));
    }
    unfinished
}

/// Folders of Docker, each once.
fn roots(host: &Host, stores: &[PathBuf]) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        stores.iter().cloned().chain(configured(host)).chain(ROOTS.map(PathBuf::from)).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// `data-root`, by dockerd's configuration or its command line.
fn configured(host: &Host) -> Vec<PathBuf> {
    let file = read(host, Path::new("/etc/docker/daemon.json")).ok().flatten();
    let mut roots: Vec<PathBuf> = file.iter().filter_map(|file| path(file, "/data-root")).collect();
    for program in ["/usr/bin/dockerd", "/usr/sbin/dockerd"] {
        for process in host.processes(Path::new(program), &[]).here {
            let mut args = process.args.iter();
            while let Some(arg) = args.next() {
                let value = match arg.strip_prefix(b"--data-root=").or_else(|| arg.strip_prefix(b"--graph=")) {
                    Some(value) => Some(value),
                    None if matches!(arg.as_slice(), b"--data-root" | b"--graph" | b"-g") => {
                        args.next().map(Vec::as_slice)
                    }
                    None => None,
                };
                roots.extend(value.map(crate::host::path_of).filter(|path| path.is_absolute()));
            }
        }
    }
    roots
}

fn at(host: &Host, root: &Path, id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    let folder = root.join("containers").join(id);
    let Some(config) = read(host, &folder.join("config.v2.json"))? else { return Ok(None) };
    let host_config = read(host, &folder.join("hostconfig.json")).ok().flatten().unwrap_or_default();
    let image_id = text(&config, "/Image");
    let digests = image_id.as_deref().map(|image| digests(host, root, image)).unwrap_or_default();
    let bundle = bundle::of_docker(host, id, labels);
    let points = config.pointer("/MountPoints").and_then(serde_json::Value::as_object).into_iter().flatten();
    let mounts = points.take(MOST).filter_map(|(_, point)| {
        Some(Mount {
            source: path(point, "/Source")?,
            destination: path(point, "/Destination")?,
            volume: text(point, "/Name"),
        })
    });
    Ok(Some(Details {
        name: text(&config, "/Name").map(|name| name.trim_start_matches('/').to_owned()),
        image: Some(Image { name: text(&config, "/Config/Image"), id: image_id, digests }),
        labels: labels.of(texts(&config, "/Config/Labels")),
        created: text(&config, "/Created"),
        privileged: host_config.pointer("/Privileged").and_then(serde_json::Value::as_bool),
        mounts: mounts.collect(),
        // With containerd's image store, Docker mounts no root of its own.
        root: merged(host, root, id).or_else(|| bundle.as_ref()?.root.clone()),
        joins_pid_namespace: bundle.as_ref().is_some_and(|bundle| bundle.joins_pid_namespace),
        uid_map: bundle.and_then(|bundle| bundle.uid_map),
        ..Details::default()
    }))
}

/// Digests that an image is known by in registries: `name@sha256:…` in `repositories.json`.
fn digests(host: &Host, root: &Path, image: &str) -> Vec<String> {
    let Ok(Some(known)) = read(host, &root.join("image/overlay2/repositories.json")) else { return Vec::new() };
    let repositories = known.pointer("/Repositories").and_then(serde_json::Value::as_object).into_iter().flatten();
    let names = repositories.filter_map(|(_, names)| names.as_object()).flatten();
    let mut digests: Vec<String> = names
        .filter(|(_, id)| id.as_str() == Some(image))
        .filter_map(|(name, _)| name.split_once('@').map(|(_, digest)| digest.to_owned()))
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// Where the container's root is mounted (graph driver `overlay2`).
fn merged(host: &Host, root: &Path, id: &str) -> Option<PathBuf> {
    let mount = host.read(&root.join("image/overlay2/layerdb/mounts").join(id).join("mount-id"), 256).ok()?;
    let mount = str::from_utf8(&mount).ok()?.trim();
    let plain = !mount.is_empty() && mount.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| root.join("overlay2").join(mount).join("merged"))
}
