//! Texts of a record: component lists, argument lists.
//!
//! The kernel side walks from a name towards the root, so a path arrives leaf first, each component followed by a NUL.

/// What a cut path begins with, in the place of the missing components.
pub(crate) const CUT_PREFIX: &[u8] = "…/".as_bytes();

/// A component list, leaf first, as a path.
///
/// Empty components and the root's own name (`/`) carry nothing; a name may hold a `/` (`memfd:a/b`), and keeps it.
pub(super) fn path(components: &[u8], cut: bool) -> Vec<u8> {
    let mut path = Vec::with_capacity(components.len() + CUT_PREFIX.len());
    path.extend_from_slice(if cut { CUT_PREFIX } else { b"/" });
    let mut first = true;
    for component in components.split(|byte| *byte == 0).rev().filter(|part| !part.is_empty() && *part != b"/") {
        if !first {
            path.push(b'/');
        }
        path.extend_from_slice(component);
        first = false;
    }
    path
}

/// The reverse of [`path`], for records made from an [`Access`](super::Access).
pub(super) fn components(path: &[u8]) -> Vec<u8> {
    let inner = path.strip_prefix(CUT_PREFIX).or_else(|| path.strip_prefix(b"/")).unwrap_or(path);
    let mut components = Vec::with_capacity(path.len() + 1);
    for component in inner.split(|byte| *byte == b'/').rev().filter(|part| !part.is_empty()) {
        components.extend_from_slice(component);
        components.push(0);
    }
    components
}

/// Arguments, each followed by a NUL; the last one's NUL is missing where the command line was cut or overwritten.
pub(super) fn args(text: &[u8]) -> Vec<Vec<u8>> {
    let whole = text.strip_suffix(&[0]).unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    whole.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::{args, components, path};

    #[test]
    fn a_path_is_turned_round() {
        assert_eq!(path(b"sel1.private\0dkimkeys\0etc\0", false), b"/etc/dkimkeys/sel1.private");
        assert_eq!(path(b"sel1.private\0dkimkeys\0", true), "…/dkimkeys/sel1.private".as_bytes());
    }

    #[test]
    fn odd_component_lists_give_a_path_all_the_same() {
        assert_eq!(path(b"", false), b"/");
        assert_eq!(path(b"/\0", false), b"/");
        assert_eq!(path(b"a\0\0b", false), b"/b/a");
        assert_eq!(path(b"memfd:a/b\0", false), b"/memfd:a/b");
    }

    #[test]
    fn components_undo_path() {
        for one in [&b"/etc/dkimkeys/sel1.private"[..], b"/", "…/a/b".as_bytes(), b"/a\n\xff/b"] {
            let cut = !one.starts_with(b"/");
            assert_eq!(path(&components(one), cut), one);
        }
    }

    #[test]
    fn arguments_are_split_at_their_nuls() {
        assert_eq!(args(b"cat\0/etc/x\0"), [&b"cat"[..], b"/etc/x"]);
        assert_eq!(args(b"sh\0-c\0\0"), [&b"sh"[..], b"-c", b""]);
        assert_eq!(args(b"cut\0in the mid"), [&b"cut"[..], b"in the mid"]);
        assert_eq!(args(b""), Vec::<Vec<u8>>::new());
        assert_eq!(args(b"\0"), [b""]);
    }
}
