//! Paths that begin at the root of their file system, for hooks that have no mount → as the host has them.

use std::os::unix::ffi::OsStrExt as _;

use dkimwatch_common::{deed::Deed, record::Via, watch::is_own};

use super::own;
use crate::{
    decode::{Access, Fact, KernelPath},
    judge::{JudgedKey, Policy, Watched},
};

/// Gives the access the paths that the host has, where the watch list says how. Which file it was is decided already.
pub(super) fn resolve(access: &mut Access, policy: &Policy) {
    let path = if is_own(access.file.tag) {
        own::path(policy, access.file.tag)
    } else {
        let entry = usize::try_from(access.file.tag).ok().and_then(|tag| policy.watched.get(tag));
        entry.map(|(Watched::Key(JudgedKey { path, .. }) | Watched::Folder { path, .. })| path.clone())
    };
    let Some(path) = path else { return };
    let Some(prefix) = access.file.path.known().and_then(|found| mounted_at(&found.bytes, path.as_os_str().as_bytes()))
    else {
        return;
    };
    let prefix = prefix.to_vec();
    let whole = |path: &mut Fact<KernelPath>| {
        if let Fact::Known(path) = path
            && !path.cut
        {
            path.bytes = [prefix.as_slice(), &path.bytes].concat();
        }
    };
    whole(&mut access.file.path);
    // The tracepoint backend has these as they were asked for.
    let as_asked = access.via == Via::Tracepoint
        && (access.process.io_worker || matches!(access.deed, Deed::Replace | Deed::Place));
    if access.deed.second_is_path() && !as_asked {
        whole(&mut access.second);
    }
    access.file.path_in_fs = false;
}

/// Where a file system is mounted, given a path in it and the watched path that it is, or lies below.
fn mounted_at<'w>(in_fs: &[u8], watched: &'w [u8]) -> Option<&'w [u8]> {
    let starts = watched.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for at in starts {
        let (prefix, rest) = watched.split_at_checked(at)?;
        let is_below = in_fs.strip_prefix(rest).is_some_and(|below| below.is_empty() || below.starts_with(b"/"));
        // The folder itself, and what is beside the key, are told by their parents.
        let is_above = rest.strip_prefix(in_fs).is_some_and(|below| below.starts_with(b"/"));
        if is_below || (is_above && in_fs.len() > 1) {
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_what_the_watched_path_has_more() {
        let at = |in_fs: &[u8], watched| mounted_at(in_fs, watched);
        assert_eq!(at(b"/x/keys/key", b"/mnt/disk/x/keys"), Some(b"/mnt/disk".as_slice()));
        assert_eq!(at(b"/x/keys", b"/mnt/disk/x/keys"), Some(b"/mnt/disk".as_slice()));
        assert_eq!(at(b"/x/keys", b"/mnt/disk/x/keys/key"), Some(b"/mnt/disk".as_slice()), "the key's folder");
        assert_eq!(at(b"/etc/keys/key", b"/etc/keys/key"), Some(b"".as_slice()), "the root file system");
        assert_eq!(at(b"/elsewhere/key", b"/mnt/disk/x/keys/key"), None);
        assert_eq!(at(b"/keys2/key", b"/mnt/keys"), None);
    }
}
