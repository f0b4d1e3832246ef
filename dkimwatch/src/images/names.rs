//! Names of files in layers: one spelling for each, and the names that mean a deletion.

/// A path in a layer in its one spelling: no `.`, no empty part, no slash at either end.
///
/// `..` goes up and stops at the root, as it does for the engines, which unpack in a root of their own.
pub(super) fn normal(raw: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in raw.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// A path of an image as it is shown: from the image's root, and escaped.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    crate::escape::text(&[b"/", path].concat())
}

/// A path's folder and last part; the folder of what lies at the root is empty.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/').and_then(|slash| path.split_at_checked(slash)) {
        Some((folder, name)) => (folder, name.get(1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// The folders above a path, the root (empty) first, without the path itself.
pub(super) fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    std::iter::once(0).chain(slashes).filter_map(|at| path.get(..at)).filter(|folder| folder.len() < path.len())
}

/// What a name says to the layers below (OCI image specification, layer.md, "Whiteouts").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// This path is deleted.
    Of(Vec<u8>),
    /// All that lower layers have in this folder is deleted.
    Opaque(Vec<u8>),
    /// A mark of AUFS about itself (`.wh..wh.plnk`).
    Own,
}

/// Reads a whiteout off a path in its normal spelling.
pub(super) fn whiteout(path: &[u8]) -> Option<Whiteout> {
    let (folder, name) = split(path);
    let hidden = name.strip_prefix(b".wh.")?;
    // fuse-overlayfs writes `.wh..opq` as well.
    if name == b".wh..wh..opq" || name == b".wh..opq" {
        return Some(Whiteout::Opaque(folder.to_vec()));
    }
    if hidden.starts_with(b".wh.") {
        return Some(Whiteout::Own);
    }
    Some(Whiteout::Of(normal(&[folder, b"/", hidden].concat())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (raw, path) in [
            ("./etc/x", "etc/x"),
            ("/etc//./x/", "etc/x"),
            ("../../etc/x", "etc/x"),
            ("a/../b", "b"),
            ("..", ""),
            ("./", ""),
        ] {
            assert_eq!(normal(raw.as_bytes()), path.as_bytes(), "{raw}");
        }
        assert_eq!(shown(b"etc/\xff\n"), r"/etc/\xff\x0a");
        assert_eq!(above(b"a/b/c").collect::<Vec<_>>(), [&b""[..], b"a", b"a/b"]);
        assert_eq!(above(b"a").collect::<Vec<_>>(), [b""]);
        assert_eq!(above(b"").count(), 0);
    }

    #[test]
    fn whiteouts() {
        assert_eq!(whiteout(b"etc/.wh.x"), Some(Whiteout::Of(b"etc/x".to_vec())));
        assert_eq!(whiteout(b".wh.x"), Some(Whiteout::Of(b"x".to_vec())));
        assert_eq!(whiteout(b"etc/.wh..wh..opq"), Some(Whiteout::Opaque(b"etc".to_vec())));
        assert_eq!(whiteout(b".wh..wh..opq"), Some(Whiteout::Opaque(Vec::new())));
        assert_eq!(whiteout(b".wh..wh.plnk"), Some(Whiteout::Own));
        assert_eq!(whiteout(b"etc/x.wh.y"), None);
    }
}
