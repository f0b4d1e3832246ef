//! A container's root folder, in which nothing leads out of it: whoever is root there can put any link at any path.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

use crate::{attribute::account_names, host::named_like_key};

/// The longest file of users that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// A root folder.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// The folder at a path of the host's.
    pub fn at(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
        Some(Self(root))
    }

    /// The root of a process, if it is another than ours.
    pub fn of_process(pid: u32) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
        let (its, ours) = (fstat(&root).ok()?, rustix::fs::stat("/").ok()?);
        ((its.st_dev, its.st_ino) != (ours.st_dev, ours.st_ino)).then_some(Self(root))
    }

    /// What is at a path in it, opened with `O_PATH`: links are followed as they would be within.
    pub fn open(&self, path: &Path) -> Option<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
    }

    /// A regular file of at most `limit` bytes. Anything else is not opened: it could block.
    pub fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        let file = self.open(path)?;
        if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
            return None;
        }
        // A link in a container may lead to a key, too.
        let place = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        if named_like_key(&place) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Names by user id, and by group id.
    pub fn names(&self) -> (HashMap<u32, String>, HashMap<u32, String>) {
        let names = |path: &str| self.read(Path::new(path), LONGEST).map(|bytes| account_names(&bytes));
        (names("etc/passwd").unwrap_or_default(), names("etc/group").unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::Root;

    #[test]
    fn no_link_leads_out_and_nothing_but_a_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("made");
        fs::create_dir_all(root.join("usr/etc")).expect("made");
        fs::write(folder.path().join("secret"), "outside").expect("written");
        fs::write(root.join("usr/etc/passwd"), "root:x:0:0::/:\nmail\x1b:x:8:8::/:\n").expect("written");
        symlink("/usr/etc/passwd", root.join("etc/passwd")).expect("linked");
        symlink("../../secret", root.join("etc/up")).expect("linked");
        symlink(folder.path().join("secret"), root.join("etc/out")).expect("linked");
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("etc/group"), rustix::fs::Mode::from_raw_mode(0o600))
            .expect("made");
        let root = Root::at(&root).expect("a root");
        let (users, groups) = root.names();
        assert_eq!(users[&0], "root");
        assert_eq!(users[&8], r"mail\x1b", "names are escaped");
        assert!(groups.is_empty(), "a FIFO is not waited for");
        for path in ["etc/up", "etc/out", "../secret", "/etc/out", "proc/self/fd/0"] {
            assert_eq!(root.read(Path::new(path), 99), None, "{path}");
        }
        assert!(Root::at(&folder.path().join("none")).is_none());
    }

    #[test]
    fn a_process_with_our_root_is_in_none_of_its_own() {
        assert!(Root::of_process(std::process::id()).is_none());
    }
}
