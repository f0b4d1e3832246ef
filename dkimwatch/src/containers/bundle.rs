//! A container's configuration in the form of the OCI runtime specification (`config.json` in its bundle), with the
//! annotations that engines leave in it: containerd, CRI-O, Podman, nerdctl, and runc or crun by themselves.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    Details, Image, Labels, MOST, Mount, NotFound,
    json::{cut, list, path, read, text, texts},
};
use crate::{
    decode::{IdMap, IdRange},
    host::Host,
};

/// Where containerd's shims keep their bundles, a folder for each of its namespaces in it; the second one is of k3s.
const SHIMS: [&str; 3] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/k3s/containerd/io.containerd.runtime.v2.task",
    "/run/docker/containerd/daemon/io.containerd.runtime.v2.task",
];

/// Where runc and crun keep their states.
const STATES: [(&str, &str); 2] = [("/run/runc", "state.json"), ("/run/crun", "status")];

/// Looks for a container of containerd.
pub(super) fn of_containerd(host: &Host, id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    for (namespace, shims) in shims(host) {
        if let Some(found) = in_shims(host, &namespace, &shims, id, labels)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What containerd was asked for by Docker, for a container of its.
pub(super) fn of_docker(host: &Host, id: &str, labels: &Labels) -> Option<Details> {
    let docker = shims(host).into_iter().filter(|(namespace, _)| namespace == "moby");
    docker.filter_map(|(namespace, shims)| in_shims(host, &namespace, &shims, id, labels).ok()?).next()
}

/// Every container of containerd's, but Docker's own.
pub(super) fn all_of_containerd(host: &Host, labels: &Labels) -> Vec<(String, Details)> {
    let mut all = Vec::new();
    for (namespace, shims) in shims(host).into_iter().filter(|(namespace, _)| namespace != "moby") {
        let ids = host.names(&shims).into_iter().take(MOST).filter_map(|name| name.into_string().ok());
        all.extend(ids.filter_map(|id| Some((id.clone(), in_shims(host, &namespace, &shims, &id, labels).ok()??))));
    }
    all
}

/// The folders of containerd's namespaces, by name.
fn shims(host: &Host) -> Vec<(String, PathBuf)> {
    let names = |shims: &'static str| {
        let names = host.names(Path::new(shims)).into_iter().filter_map(|name| name.into_string().ok());
        names.map(move |name| (name.clone(), Path::new(shims).join(name)))
    };
    SHIMS.into_iter().flat_map(names).collect()
}

fn in_shims(
    host: &Host,
    namespace: &str,
    shims: &Path,
    id: &str,
    labels: &Labels,
) -> Result<Option<Details>, NotFound> {
    let folder = shims.join(id);
    let Some(mut found) = read_at(host, &folder, labels)? else { return Ok(None) };
    found.namespace = found.namespace.or_else(|| Some(namespace.to_owned()));
    // A root that is named by a name only lies in the bundle.
    found.root = Some(folder.join("rootfs"));
    Ok(Some(found))
}

/// Looks for a container that runc or crun was asked for by itself.
pub(super) fn of_runtime(host: &Host, id: &str, labels: &Labels) -> Result<Option<Details>, NotFound> {
    // One name, no way out of the folder.
    if id.contains('/') || id == ".." || id == "." {
        return Ok(None);
    }
    for (folder, file) in STATES {
        let Some(state) = read(host, &Path::new(folder).join(id).join(file))? else { continue };
        // runc's is among its labels, `bundle=PATH`.
        let labelled = list(&state, "/config/labels").filter_map(Value::as_str);
        let labelled = labelled.filter_map(|label| label.strip_prefix("bundle=")).map(PathBuf::from).next();
        let Some(bundle) = path(&state, "/bundle").or(labelled).filter(|bundle| bundle.is_absolute()) else { continue };
        let mut found = read_at(host, &bundle, labels)?.unwrap_or_default();
        found.name = found.name.or_else(|| Some(id.to_owned()));
        found.created = text(&state, "/created");
        found.root = path(&state, "/config/rootfs").or(found.root);
        return Ok(Some(found));
    }
    Ok(None)
}

/// The configuration in a bundle; `None` where there is none.
pub(super) fn read_at(host: &Host, bundle: &Path, labels: &Labels) -> Result<Option<Details>, NotFound> {
    Ok(read(host, &bundle.join("config.json"))?.map(|config| of_spec(&config, bundle, labels)))
}

/// What a configuration says; a path in it may be relative to the bundle.
pub(super) fn of_spec(config: &Value, bundle: &Path, labels: &Labels) -> Details {
    let annotations: Vec<(&str, &str)> = texts(config, "/annotations").collect();
    let annotation = |names: &[&str]| {
        let value = names.iter().find_map(|name| annotations.iter().find(|(known, _)| known == name));
        value.map(|(_, value)| *value).filter(|value| !value.is_empty())
    };
    // containerd's plugin for Kubernetes, CRI-O, the kubelet's own labels, nerdctl.
    let short = |names: &[&str]| annotation(names).map(cut);
    let name = short(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]);
    let image = short(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    let digest = short(&["io.kubernetes.cri-o.ImageRef", "io.kubernetes.cri-o.Image"]);
    let digest = digest.and_then(|digest| digest.rsplit_once('@').map(|(_, digest)| digest.to_owned()));
    let root = text(config, "/root/path").map(|root| bundle.join(root));
    let inner = annotation(&["io.kubernetes.cri-o.Labels"]).and_then(|text| serde_json::from_str(text).ok());
    let inner: Value = inner.unwrap_or_default();
    Details {
        name,
        image: (image.is_some() || digest.is_some()).then(|| Image {
            name: image,
            id: None,
            digests: digest.into_iter().collect(),
        }),
        pod: short(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: short(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        labels: labels.of(annotations.iter().copied().chain(texts(&inner, ""))),
        privileged: annotation(&["io.podman.annotations.privileged", "io.kubernetes.cri-o.PrivilegedRuntime"])
            .map(|word| word.eq_ignore_ascii_case("true")),
        mounts: list(config, "/mounts").take(MOUNTS).filter_map(bound).collect(),
        uid_map: id_map(config),
        joins_pid_namespace: list(config, "/linux/namespaces").any(|namespace| {
            text(namespace, "/type").as_deref() == Some("pid")
                && text(namespace, "/path").is_some_and(|path| !path.is_empty())
        }),
        root,
        ..Details::default()
    }
}

/// A mount, where it is of a folder or file on the host.
fn bound(mount: &Value) -> Option<Mount> {
    let options = list(mount, "/options").filter_map(Value::as_str);
    let is_bind = text(mount, "/type").as_deref() == Some("bind")
        || options.into_iter().any(|one| one == "rbind" || one == "bind");
    let (source, destination) = (path(mount, "/source")?, path(mount, "/destination")?);
    // Podman's and Docker's volumes: `…/volumes/NAME/_data`.
    let volume = (source.file_name() == Some("_data".as_ref()))
        .then(|| source.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()))
        .flatten();
    is_bind.then_some(Mount { source, destination, volume })
}

/// Mounts of a container that are looked at.
const MOUNTS: usize = 256;

/// User ids in its user namespace, where it was made with one of its own.
fn id_map(config: &Value) -> Option<IdMap> {
    let number = |range: &Value, name: &str| range.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
    let ranges = list(config, "/linux/uidMappings").take(MOUNTS).map(|range| {
        Some(IdRange {
            inner: number(range, "containerID")?,
            host: number(range, "hostID")?,
            count: number(range, "size")?,
        })
    });
    let ranges: Vec<IdRange> = ranges.collect::<Option<_>>()?;
    (!ranges.is_empty()).then_some(IdMap(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_may_be_put_into_the_pid_namespace_of_another() {
        let joins = |namespace: &str| {
            let config =
                serde_json::from_str(&format!("{{\"linux\":{{\"namespaces\":[{namespace}]}}}}")).expect("JSON");
            of_spec(&config, Path::new("/b"), &Labels::default()).joins_pid_namespace
        };
        assert!(joins(r#"{"type":"ipc","path":"/proc/7/ns/ipc"},{"type":"pid","path":"/proc/7/ns/pid"}"#));
        assert!(!joins(r#"{"type":"pid"},{"type":"ipc","path":"/proc/7/ns/ipc"}"#));
        assert!(!joins(r#"{"type":"pid","path":""}"#));
    }
}
