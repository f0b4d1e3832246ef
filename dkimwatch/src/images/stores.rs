//! The stores of this host, and which kind a folder is.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    bundle, containerd, containers, docker,
    fault::Fault,
    place::{Holder, Place},
    rooted::Folder,
};
use crate::{
    escape,
    host::{Host, LONGEST_TABLE, path_of},
};

/// Where the engines keep their images when run by root.
const OF_ROOT: [&str; 4] =
    ["/var/lib/containers/storage", "/var/lib/docker", "/var/lib/docker/containerd/daemon", "/var/lib/containerd"];

/// The stores that exist on a host: root's, and each user's own (of `/etc/passwd`); and how many may not be asked for, in
/// homes that are closed to whoever is not root.
pub(super) fn found(host: &Host) -> (Vec<PathBuf>, usize) {
    let mut found: Vec<PathBuf> = OF_ROOT.iter().map(|path| host.inside(Path::new(path))).collect();
    // Docker with user namespaces keeps a store for each mapping below its own: /var/lib/docker/100000.100000.
    let docker = Path::new("/var/lib/docker");
    for name in host.names(docker) {
        if name.to_str().is_some_and(|name| name.split('.').all(|id| id.parse::<u32>().is_ok()) && name.contains('.')) {
            found.push(host.inside(&docker.join(name)));
        }
    }
    let passwd = host.read(Path::new("/etc/passwd"), LONGEST_TABLE).unwrap_or_default();
    let homes: BTreeSet<PathBuf> = passwd
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b':').nth(5))
        .filter(|home| home.starts_with(b"/"))
        .map(path_of)
        .collect();
    for home in homes {
        let home = host.inside(&home);
        found.push(containers::of_home(&home));
        found.push(home.join(".local/share/docker"));
    }
    let mut closed = 0;
    found.retain(|path| match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => {
            closed += usize::from(error.kind() == ErrorKind::PermissionDenied);
            false
        }
    });
    found.dedup();
    (found, closed)
}

/// Opens a store and reads what images it has.
///
/// # Errors
/// It cannot be read, or is of no known kind.
pub(super) fn open(path: &Path) -> Result<Place, Fault> {
    let folder = match rootless(path) {
        // In a home, which its user fills: not through a link.
        Some((home, below)) => Folder::open(&home).and_then(|home| home.below(&below)),
        None => Folder::open(path),
    };
    let mut holder = Holder::Folder(folder.map_err(Fault::system)?);
    let name = escape::path(path);
    if containers::is_one(&holder) {
        let mut place = Place::new(name, "containers-storage", holder);
        containers::read(&mut place);
        return Ok(place);
    }
    if docker::is_one(&holder) {
        let mut place = Place::new(name, "Docker", holder);
        docker::read(&mut place);
        return Ok(place);
    }
    if let Ok(content) = holder.folder(Path::new(containerd::CONTENT)) {
        holder = Holder::Folder(content);
    }
    if containerd::is_one(&holder) {
        let mut place = Place::new(name, "containerd", holder);
        containerd::read(&mut place);
        return Ok(place);
    }
    if let Holder::Folder(folder) = &holder {
        if bundle::is_layout(folder) {
            return Err(Fault::Unknown("is an OCI layout: name it without --store"));
        }
        if folder.names(Path::new(""))?.is_empty() {
            return Ok(Place::new(name, "empty", holder));
        }
    }
    Err(Fault::Unknown("is no store of containers-storage (Podman, CRI-O), Docker or containerd"))
}

/// A user's own store, cut where what its user can change begins.
fn rootless(path: &Path) -> Option<(PathBuf, PathBuf)> {
    for below in [".local/share/containers/storage", ".local/share/docker"] {
        if path.ends_with(below) {
            let home: PathBuf = path.ancestors().nth(Path::new(below).components().count())?.to_path_buf();
            return Some((home, PathBuf::from(below)));
        }
    }
    None
}
