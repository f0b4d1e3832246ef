//! A folder of somebody else's, and what lies below it: opened by openat2(2) without following a single link, so that
//! nothing in a store leads out of it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};

use super::{fault::Fault, limits::MOST_NAMES, unpacked::whole};

/// A folder that is held open; a rename of it, or a link put in its place, leads nowhere else.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// The folder at a path that the operator or this program named. Links on the way to it are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A folder below this one.
    pub(super) fn below(&self, path: &Path) -> io::Result<Self> {
        Ok(Self(beneath(self.0.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// What stands at a path, the last link not followed, and no other allowed. It is not opened.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(fstat(beneath(self.0.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW)?)?)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.stat(Path::new(path)).is_ok()
    }

    /// A regular file below this folder. Looked at before it is opened, so that no FIFO or device is.
    pub(super) fn file(&self, path: &Path) -> Result<File, Fault> {
        regular(&self.stat(path).map_err(Fault::system)?)?;
        let file = File::from(beneath(self.0.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        regular(&fstat(&file)?)?;
        Ok(file)
    }

    /// A document below this folder.
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
        whole(self.file(path)?, limit)
    }

    /// The names in a folder below this one, in order.
    pub(super) fn names(&self, path: &Path) -> Result<Vec<Vec<u8>>, Fault> {
        let mut names = Vec::new();
        for entry in Dir::new(self.below(path).map_err(Fault::system)?.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if names.len() == MOST_NAMES {
                return Err(Fault::TooMany { what: "files in one folder", most: MOST_NAMES });
            }
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Opens what lies beneath a folder, without following a link and without leaving it.
pub(super) fn beneath(folder: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// The file at a path that the operator named, links followed, if it is a regular one.
pub(super) fn named(path: &Path) -> Result<File, Fault> {
    let word = |file: OwnedFd| Ok::<_, Fault>(fstat(&file)?);
    regular(&word(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    regular(&fstat(&file)?)?;
    Ok(file)
}

fn regular(stat: &Stat) -> Result<(), Fault> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Fault::Kind("a folder, not a file")),
        FileType::Symlink => Err(Fault::Kind("a symbolic link, which is not followed")),
        _ => Err(Fault::Kind("no regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn nothing_leads_out() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("secret"), "x").unwrap();
        fs::create_dir_all(place.path().join("store/a/b")).unwrap();
        let store = place.path().join("store");
        fs::write(store.join("a/b/file"), "y").unwrap();
        symlink(place.path(), store.join("out")).unwrap();
        symlink("a", store.join("in")).unwrap();
        symlink("file", store.join("a/b/link")).unwrap();
        rustix::fs::mknodat(CWD, store.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let folder = Folder::open(&store).unwrap();
        assert_eq!(folder.read(Path::new("a/b/file"), 1).unwrap(), b"y");
        assert!(matches!(folder.read(Path::new("a/b/file"), 0), Err(Fault::TooLong(0))));
        for path in ["out/secret", "in/b/file", "a/b/link", "fifo", "a", "none"] {
            let fault = folder.file(Path::new(path)).unwrap_err();
            assert!(matches!(fault, Fault::Kind(_) | Fault::Missing), "{path}: {fault:?}");
        }
        assert!(folder.file(Path::new("../secret")).is_err());
        assert!(folder.below(Path::new("out")).is_err());
        assert_eq!(folder.names(Path::new("a")).unwrap(), [b"b"]);
        assert!(named(&store.join("fifo")).is_err() && named(&store.join("a/b/link")).is_ok());
    }
}
