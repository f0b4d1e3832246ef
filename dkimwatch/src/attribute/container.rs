//! The container, as the names in a cgroup's path tell it: which runtime, which pod, and what it is nested in.
//!
//! See [`super::cgroup`] for what such a name is worth: a container whose name somebody else could have chosen is marked
//! [`forgeable`](Container::forgeable).

use std::path::PathBuf;

use super::cgroup::{names, unescaped};
use crate::{decode::Cgroup, escape};

/// A container, as its cgroup's name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id, as long as the cgroup's name gives it.
    pub id: String,
    /// `docker`, `podman`, `containerd`, `cri-o`, `kubernetes` (where its cgroup does not say which), `lxc`,
    /// `systemd-nspawn`, `runc`, `crun`.
    pub runtime: &'static str,
    /// Somebody else than the host's root could have chosen the name: it lies in a part of the tree that an ordinary user
    /// manages (rootless containers), inside another container, or in a path that was cut. Good to show, no identity.
    pub forgeable: bool,
    /// The pod that it is of, where the kubelet named one.
    pub pod: Option<Pod>,
    /// The containers around it, the outermost first.
    pub around: Vec<Outer>,
    /// The folder of its configuration as its monitor's command line says, of a container of a user's own.
    pub bundle: Option<PathBuf>,
}

impl Container {
    /// One whose name somebody could have chosen.
    pub(super) const fn forgeable(id: String, runtime: &'static str) -> Self {
        Self { id, runtime, forgeable: true, pod: None, around: Vec::new(), bundle: None }
    }

    /// Its id as people use it: the first twelve of 64 digits, else the whole name.
    #[must_use]
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }
}

impl Outer {
    /// As [`Container::short_id`].
    #[must_use]
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }
}

fn short(id: &str) -> &str {
    id.get(..12).filter(|_| id.len() == 64).unwrap_or(id)
}

/// A container around another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// As [`Container::id`].
    pub id: String,
    /// As [`Container::runtime`].
    pub runtime: &'static str,
}

/// A pod, as the kubelet names its cgroup (`pkg/kubelet/cm/pod_container_manager_linux.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`; of a static pod a hash of its manifest.
    pub uid: String,
    /// `status.qosClass`: `Guaranteed`, `Burstable`, `BestEffort`.
    pub qos: &'static str,
}

/// The innermost container of a cgroup.
#[must_use]
pub fn container(cgroup: &Cgroup) -> Option<Container> {
    let names: Vec<&[u8]> = names(cgroup).collect();
    let mut found: Option<Container> = None;
    let mut in_pod = None;
    // A cut path has lost the names that would tell who manages this part of the tree.
    let mut managed_by_others = cgroup.cut;
    for (index, name) in names.iter().enumerate() {
        let above = names.get(..index).unwrap_or_default();
        if name.starts_with(b"user@") && name.ends_with(b".service") {
            managed_by_others = true;
        }
        if let Some(named) = pod(name, above) {
            in_pod = Some(named);
        }
        if let Some((id, runtime)) = named_by_runtime(name, above, names.get(index + 1).copied()) {
            let forgeable = managed_by_others || found.is_some();
            let mut around = Vec::new();
            if let Some(outer) = found {
                around = outer.around;
                around.push(Outer { id: outer.id, runtime: outer.runtime });
            }
            found = Some(Container { id, runtime, forgeable, pod: in_pod.take(), around, bundle: None });
        }
    }
    found
}

/// A pod's cgroup, by either of the kubelet's drivers: `kubepods-burstable-podUID.slice` or `kubepods/burstable/podUID`.
fn pod(name: &[u8], above: &[&[u8]]) -> Option<Pod> {
    let parent = above.last().copied().unwrap_or_default();
    let (class, uid) = match name.strip_suffix(b".slice") {
        Some(stem) => {
            let at = stem.windows(4).position(|four| four == b"-pod")?;
            (stem.get(..at)?, stem.get(at + 4..)?)
        }
        None => (parent, name.strip_prefix(b"pod")?),
    };
    let is = |class: &[u8], of: &[u8]| class == of || class.strip_suffix(of).is_some_and(|rest| rest.ends_with(b"-"));
    let is_kubelets =
        above.iter().chain([&class]).any(|outer| is(outer.strip_suffix(b".slice").unwrap_or(outer), b"kubepods"));
    let qos = if is(class, b"burstable") {
        "Burstable"
    } else if is(class, b"besteffort") {
        "BestEffort"
    } else if is(class, b"kubepods") {
        "Guaranteed"
    } else {
        return None;
    };
    let uid = String::from_utf8_lossy(uid).replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let hyphens = uid.bytes().filter(|byte| *byte == b'-').count();
    let is_uid = digits == 32 && (hyphens == 4 || hyphens == 0) && digits + hyphens == uid.len();
    (is_kubelets && is_uid).then_some(Pod { uid, qos })
}

/// Prefixes that a runtime puts before a container's 64 hexadecimal digits, with or without `.scope` behind them
/// (cgroup drivers `systemd` and `cgroupfs`). `libpod-conmon-` and `crio-conmon-` are the monitors outside.
const HEX_PREFIXES: [(&[u8], &str); 6] = [
    (b"docker-", "docker"),
    (b"libpod-payload-", "podman"),
    (b"libpod-", "podman"),
    (b"cri-containerd-", "containerd"),
    (b"nerdctl-", "containerd"),
    (b"crio-", "cri-o"),
];

/// A cgroup's name as a runtime gives it: id and runtime.
fn named_by_runtime(name: &[u8], above: &[&[u8]], below: Option<&[u8]>) -> Option<(String, &'static str)> {
    let parent = above.last().copied().unwrap_or_default();
    let stem = name.strip_suffix(b".scope").unwrap_or(name);
    for (prefix, runtime) in HEX_PREFIXES {
        if let Some(id) = stem.strip_prefix(prefix).and_then(hex_id) {
            return Some((id, runtime));
        }
    }
    if let Some(id) = hex_id(name) {
        if parent == b"docker" {
            return Some((id, "docker"));
        }
        // A folder for each of its namespaces, with the cgroupfs driver.
        if above.len() == 1 && matches!(parent, b"default" | b"k8s.io" | b"buildkit") {
            return Some((id, "containerd"));
        }
        // The kubelet's own tree with the cgroupfs driver does not name the runtime.
        if above.iter().any(|outer| outer.starts_with(b"kubepods")) {
            return Some((id, "kubernetes"));
        }
    }
    // Run by hand, the name is any (`runc --systemd-cgroup`, crun(1)).
    for (prefix, runtime) in [(&b"runc-"[..], "runc"), (b"crun-", "crun")] {
        let id = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(b".scope"));
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            return Some((escape::text(&unescaped(id)), runtime));
        }
    }
    if let Some(id) = name.strip_prefix(b"lxc.payload.").filter(|id| !id.is_empty()) {
        return Some((escape::text(id), "lxc"));
    }
    if parent == b"lxc" || parent == b"lxc.payload" {
        return Some((escape::text(name), "lxc"));
    }
    let nspawn = name.strip_prefix(b"systemd-nspawn@").and_then(|rest| rest.strip_suffix(b".service"));
    if let Some(id) = nspawn.filter(|id| !id.is_empty()) {
        // `supervisor` is systemd-nspawn itself, outside of its container.
        return (below != Some(b"supervisor")).then(|| (escape::text(&unescaped(id)), "systemd-nspawn"));
    }
    let machine = name.strip_prefix(b"machine-").and_then(|rest| rest.strip_suffix(b".scope"));
    if let Some(id) = machine.filter(|id| parent == b"machine.slice" && !id.is_empty()) {
        let id = unescaped(id);
        // libvirt registers its guests there as well: a virtual machine's emulator is no container.
        return match id.split(|byte| *byte == b'-').next() {
            Some(b"qemu") => None,
            Some(b"lxc") => Some((escape::text(&id), "lxc")),
            _ => Some((escape::text(&id), "systemd-nspawn")),
        };
    }
    None
}

/// A full container id. A shorter or longer one is a cgroup that merely looks like a container's.
fn hex_id(name: &[u8]) -> Option<String> {
    let hex = name.len() == 64 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Outer, container};
    use crate::decode::Cgroup;

    const ID: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";
    const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    fn at(path: &str) -> Cgroup {
        // The longer word first: it holds the other one's letters in no order.
        Cgroup {
            id: 1, path: path.replace("OTHER", OTHER).replace("ID", ID).into_bytes(), cut: path.starts_with('…')
        }
    }

    fn container_at(path: &str) -> Option<(String, &'static str, bool)> {
        container(&at(path)).map(|found| (found.id, found.runtime, found.forgeable))
    }

    #[test]
    fn each_runtime_is_known_by_its_names() {
        for (path, runtime) in [
            ("/system.slice/docker-ID.scope", "docker"),
            ("/docker/ID", "docker"),
            ("/machine.slice/libpod-ID.scope/container", "podman"),
            ("/machine.slice/libpod-ID.scope", "podman"),
            ("/libpod_parent/libpod-ID", "podman"),
            ("/system.slice/mail.service/libpod-payload-ID", "podman"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab.slice/cri-containerd-ID.scope",
                "containerd",
            ),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", "cri-o"),
            ("/kubepods/burstable/pod6d2/ID", "kubernetes"),
            ("/system.slice/nerdctl-ID.scope", "containerd"),
            ("/default/ID", "containerd"),
            ("/k8s.io/ID", "containerd"),
        ] {
            assert_eq!(container_at(path), Some((ID.to_owned(), runtime, false)), "{path}");
        }
        for (path, id, runtime) in [
            ("/lxc.payload.mail/system.slice/opendkim.service", "mail", "lxc"),
            ("/lxc/mail", "mail", "lxc"),
            ("/machine.slice/systemd-nspawn@mail.service/payload", "mail", "systemd-nspawn"),
            ("/system.slice/runc-mail.scope", "mail", "runc"),
            (r"/system.slice/crun-my\x2dmail.scope", "my-mail", "crun"),
            (r"/machine.slice/machine-my\x2dbox.scope", "my-box", "systemd-nspawn"),
            (r"/machine.slice/machine-lxc\x2d7\x2dmail.scope", "lxc-7-mail", "lxc"),
        ] {
            assert_eq!(container_at(path), Some((id.to_owned(), runtime, false)), "{path}");
        }
    }

    #[test]
    fn what_merely_looks_like_a_container_is_none() {
        for path in [
            "/",
            "/system.slice/docker-foo.scope",
            "/system.slice/docker-foo",
            "/system.slice/docker.service",
            "/docker/3f5a",
            "/ID",
            "/x/default/ID",
            "/runc-mail",
            "/system.slice/runc-.scope",
            "/system.slice/IDa",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/lxc.monitor.mail",
            "/machine.slice/systemd-nspawn@mail.service/supervisor",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope",
            "/system.slice/machine-mail.scope",
        ] {
            assert_eq!(container_at(path), None, "{path}");
        }
        let upper = format!("/docker/{}", ID.to_uppercase());
        assert_eq!(container_at(&upper), None);
    }

    #[test]
    fn the_innermost_container_wins_and_is_not_vouched_for() {
        let path = "/system.slice/docker-ID.scope/docker/OTHER";
        assert_eq!(container_at(path), Some((OTHER.to_owned(), "docker", true)));
    }

    #[test]
    fn nested_containers_are_told_from_the_outermost_on() {
        // Kubernetes in Docker in LXC.
        let path = "/lxc.payload.box/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod0b2d4a1e_77aa_4c0e_9d5b_a1b2c3d4e5f6.slice/cri-containerd-OTHER.scope";
        let found = container(&at(path)).expect("a container");
        let outer = |id: &str, runtime| Outer { id: id.to_owned(), runtime };
        assert_eq!((found.id.as_str(), found.runtime, found.forgeable), (OTHER, "containerd", true));
        assert_eq!(found.around, [outer("box", "lxc"), outer(ID, "docker")]);
        let pod = found.pod.expect("a pod");
        assert_eq!((pod.uid.as_str(), pod.qos), ("0b2d4a1e-77aa-4c0e-9d5b-a1b2c3d4e5f6", "BestEffort"));
        assert_eq!(container(&at("/docker/ID")).expect("a container").around, []);
    }

    #[test]
    fn a_pod_is_known_by_the_kubelets_names_and_no_others() {
        const UID: &str = "0b2d4a1e-77aa-4c0e-9d5b-a1b2c3d4e5f6";
        const STATIC: &str = "0b2d4a1e77aa4c0e9d5ba1b2c3d4e5f6";
        let pod_at = |path: &str| {
            let path = path.replace("STATIC", STATIC).replace("U_D", &UID.replace('-', "_")).replace("U-D", UID);
            container(&at(&path)).expect("a container").pod.map(|pod| (pod.uid, pod.qos))
        };
        for (path, uid, qos) in [
            ("/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope", UID, "Guaranteed"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/docker-ID.scope",
                UID,
                "Burstable",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSTATIC.slice/crio-ID.scope",
                STATIC,
                "BestEffort",
            ),
            ("/kubepods/podU-D/ID", UID, "Guaranteed"),
            ("/kubepods/burstable/podU-D/ID", UID, "Burstable"),
            ("/kubepods/besteffort/podSTATIC/ID", STATIC, "BestEffort"),
        ] {
            assert_eq!(pod_at(path), Some((uid.to_owned(), qos)), "{path}");
        }
        for path in [
            "/docker/ID",
            "/kubepods/burstable/podab/ID",
            "/x.slice/x-podU_D.slice/docker-ID.scope",
            "/burstable/podU-D/docker-ID.scope",
            "/kubepods/pod/ID",
            "/kubepods.slice/kubepods-guaranteed-podU_D.slice/crio-ID.scope",
        ] {
            assert_eq!(pod_at(path), None, "{path}");
        }
    }

    #[test]
    fn a_container_that_a_user_could_have_named_is_marked() {
        let path = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope";
        assert_eq!(container_at(path), Some((ID.to_owned(), "podman", true)));
        assert_eq!(container_at("…/docker-ID.scope"), Some((ID.to_owned(), "docker", true)));
    }
}
