//! What a cgroup's path tells: the systemd unit, and ([`container`](super::container)) the container.
//!
//! Names in that tree are only worth what their maker is worth. Whoever manages a part of it (an ordinary user below
//! `user@UID.service`, root inside a container) can give any name to a cgroup there, `opendkim.service` and
//! `docker-<id>.scope` included. So the unit is the **outermost** one, which the system's own manager named (systemd's
//! `cg_path_get_unit()` reads it the same way).

use crate::decode::Cgroup;

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

/// Its names, the outermost first.
pub(super) fn names(cgroup: &Cgroup) -> impl Iterator<Item = &[u8]> {
    let path = cgroup.path.strip_prefix(crate::decode::CUT_PREFIX).unwrap_or(&cgroup.path);
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// A part of a unit's name with systemd's escapes (`\x2d` for `-`) undone; systemd.unit(5).
pub(super) fn unescaped(part: &[u8]) -> Vec<u8> {
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
    use super::unit;
    use crate::decode::Cgroup;

    const ID: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

    fn at(path: &str) -> Cgroup {
        Cgroup { id: 1, path: path.replace("ID", ID).into_bytes(), cut: path.starts_with('…') }
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
