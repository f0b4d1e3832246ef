//! What a cgroup's path tells: the container, and the systemd unit.
//!
//! Names in that tree are only worth what their maker is worth. Whoever manages a part of it (an ordinary user below
//! `user@UID.service`, root inside a container) can give any name to a cgroup there, `opendkim.service` and
//! `docker-<id>.scope` included. So the unit is the **outermost** one, which the system's own manager named (systemd's
//! `cg_path_get_unit()` reads it the same way), and a container whose name somebody else could have chosen is marked
//! [`forgeable`](Container::forgeable).

use super::Container;
use crate::{decode::Cgroup, escape};

/// The systemd unit of a cgroup: the first name below the slices (systemd.slice(5)), if it is a service or a scope.
///
/// `None` for a cut path: the names that are left may not be the system manager's.
#[must_use]
pub fn unit(cgroup: &Cgroup) -> Option<String> {
    if cgroup.cut {
        return None;
    }
    let first = names(cgroup).find(|name| !name.ends_with(b".slice"))?;
    // systemd puts `_` before a unit's name that could be taken for a kernel file's (cg_escape()).
    let name = std::str::from_utf8(first.strip_prefix(b"_").unwrap_or(first)).ok()?;
    let prefix = name.strip_suffix(".service").or_else(|| name.strip_suffix(".scope"))?;
    // systemd.unit(5): what a unit's name may hold. An escape (`\x2d`) is part of the name, and stays.
    let valid = name.len() < 256
        && !prefix.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || br":-_.\@".contains(&byte));
    valid.then(|| name.to_owned())
}

/// The innermost container of a cgroup.
#[must_use]
pub fn container(cgroup: &Cgroup) -> Option<Container> {
    let names: Vec<&[u8]> = names(cgroup).collect();
    let mut found: Option<Container> = None;
    // A cut path has lost the names that would tell who manages this part of the tree.
    let mut managed_by_others = cgroup.cut;
    for (index, name) in names.iter().enumerate() {
        let above = names.get(..index).unwrap_or_default();
        if name.starts_with(b"user@") && name.ends_with(b".service") {
            managed_by_others = true;
        }
        if let Some((id, runtime)) = named_by_runtime(name, above, names.get(index + 1).copied()) {
            found = Some(Container { id, runtime, forgeable: managed_by_others || found.is_some() });
        }
    }
    found
}

fn names(cgroup: &Cgroup) -> impl Iterator<Item = &[u8]> {
    let path = cgroup.path.strip_prefix(crate::decode::CUT_PREFIX).unwrap_or(&cgroup.path);
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
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
        // The kubelet's own tree with the cgroupfs driver does not name the runtime.
        if above.iter().any(|outer| outer.starts_with(b"kubepods")) {
            return Some((id, "kubernetes"));
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

/// A part of a unit's name with systemd's escapes (`\x2d` for `-`) undone; systemd.unit(5).
fn unescaped(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, after)) = rest.split_first() {
        let escape = rest.strip_prefix(br"\x").and_then(|digits| digits.get(..2)).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|two| two.bytes().all(|d| d.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        if let Some(byte) = escape {
            out.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{container, unit};
    use crate::decode::Cgroup;

    const ID: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";
    const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    fn at(path: &str) -> Cgroup {
        Cgroup {
            id: 1, path: path.replace("ID", ID).replace("OTHER", OTHER).into_bytes(), cut: path.starts_with('…')
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
        ] {
            assert_eq!(container_at(path), Some((ID.to_owned(), runtime, false)), "{path}");
        }
        for (path, id, runtime) in [
            ("/lxc.payload.mail/system.slice/opendkim.service", "mail", "lxc"),
            ("/lxc/mail", "mail", "lxc"),
            ("/machine.slice/systemd-nspawn@mail.service/payload", "mail", "systemd-nspawn"),
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
    fn a_container_that_a_user_could_have_named_is_marked() {
        let path = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope";
        assert_eq!(container_at(path), Some((ID.to_owned(), "podman", true)));
        assert_eq!(container_at("…/docker-ID.scope"), Some((ID.to_owned(), "docker", true)));
    }

    #[test]
    fn the_unit_is_the_one_that_the_system_manager_named() {
        for (path, expected) in [
            ("/system.slice/opendkim.service", Some("opendkim.service")),
            ("/system.slice/system-postfix.slice/postfix@-.service", Some("postfix@-.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            (r"/system.slice/sign\x2dmail.service", Some(r"sign\x2dmail.service")),
            ("/system.slice/_cpu.service", Some("cpu.service")),
            ("/init.scope", Some("init.scope")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/system.slice/opendkim.service/worker", Some("opendkim.service")),
            // A user's own manager can run a unit of any name.
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/opendkim.service", Some("user@1000.service")),
            // So can root in a container.
            ("/system.slice/docker-ID.scope/system.slice/opendkim.service", Some("docker-ID.scope")),
            ("/docker/ID/system.slice/opendkim.service", None),
            ("/lxc.payload.mail/system.slice/opendkim.service", None),
            ("/opendkim", None),
            ("/.service", None),
            ("/system.slice/a b.service", None),
            ("/", None),
            ("…/system.slice/opendkim.service", None),
        ] {
            assert_eq!(unit(&at(path)), expected.map(|name| name.replace("ID", ID)), "{path}");
        }
    }
}
