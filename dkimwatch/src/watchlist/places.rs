//! Which mount each path leads to, so that a mount elsewhere on the host costs a few look-ups and no more.

use std::{collections::HashMap, ffi::OsString, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::WatchList;

/// A mount and the inode in it: the mount's id, which kernels have told since 5.8, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    mount: u64,
    device: (u32, u32),
    inode: u64,
}

/// Where paths led to, by their bytes; nowhere is a place as well.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<OsString, Option<Place>>);

impl Places {
    /// Looks at these paths, too. Those that were looked at keep their answer.
    pub(super) fn also<P: AsRef<Path>>(&mut self, paths: impl IntoIterator<Item = P>) {
        for path in paths {
            let path = path.as_ref();
            if !self.0.contains_key(path.as_os_str()) {
                self.0.insert(path.into(), place(path));
            }
        }
    }

    /// Whether one of them leads elsewhere now.
    pub(super) fn changed(&self) -> bool {
        self.0.iter().any(|(path, before)| place(path.as_ref()) != *before)
    }
}

impl WatchList {
    /// Whether a path of the list leads to another mount than when it was last looked at: something was mounted over it,
    /// or taken away.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.mounts.changed()
    }

    pub(super) fn places_now(&self) -> Places {
        let mut places = Places::default();
        // Of the host's: a path in a container may lead anywhere, and asking about it wait for anything.
        let of_host = (0..).zip(self.paths()).filter(|(tag, _)| !self.contained.has(*tag));
        places.also(of_host.map(|(_, path)| path));
        places.also(&self.concerned);
        places
    }
}

/// Asking is no access: statx(2) opens nothing.
fn place(path: &Path) -> Option<Place> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = statx(CWD, path, AtFlags::NO_AUTOMOUNT, wanted).ok()?;
    Some(Place { mount: found.stx_mnt_id, device: (found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_noticed_and_one_that_stays_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (key, absent) = (root.path().join("key"), root.path().join("absent"));
        std::fs::write(&key, "").unwrap();
        let mut places = Places::default();
        places.also([&key, &absent]);
        assert!(!places.changed());
        // What is written to it, or made beside it, is another matter's.
        std::fs::write(&key, "more").unwrap();
        std::fs::write(root.path().join("other"), "").unwrap();
        assert!(!places.changed());
        std::fs::write(&absent, "").unwrap();
        assert!(places.changed(), "there is something now where nothing was");
        places = Places::default();
        places.also([&key]);
        std::fs::rename(&absent, &key).unwrap();
        assert!(places.changed(), "another inode");
    }
}
