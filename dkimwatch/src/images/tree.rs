//! A layer that lies unpacked in a store: its files, and the marks by which it hides what is below.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fgetxattr, fstat, statat};

use super::{
    fault::Fault,
    limits::DEEPEST,
    rooted::{Folder, beneath},
};

/// A regular file on the way.
pub(super) struct Entry<'a> {
    /// Its path in the layer.
    pub(super) path: &'a [u8],
    /// Its attributes.
    pub(super) stat: Stat,
    folder: BorrowedFd<'a>,
    name: &'a [u8],
}

impl Entry<'_> {
    /// Opens it.
    pub(super) fn open(&self) -> Result<File, Fault> {
        let name = crate::host::path_of(self.name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(beneath(self.folder, &name, flags).map_err(Fault::system)?);
        // Looked at again: it may have been replaced since.
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file),
            _ => Err(Fault::Kind("no regular file any more")),
        }
    }
}

/// Walks over the regular files of a layer, in the order in which the file system lists them.
pub(super) fn walk(
    layer: &Folder,
    with: &mut dyn FnMut(&Entry<'_>) -> Result<(), Fault>,
    fault: &mut dyn FnMut(&[u8], Fault),
) {
    let mut path = Vec::new();
    match beneath(layer.as_fd(), Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => folder_of(folder, &mut path, 0, with, fault),
        Err(error) => fault(b"", Fault::system(error)),
    }
}

fn folder_of(
    folder: OwnedFd,
    path: &mut Vec<u8>,
    depth: usize,
    with: &mut dyn FnMut(&Entry<'_>) -> Result<(), Fault>,
    fault: &mut dyn FnMut(&[u8], Fault),
) {
    if depth > DEEPEST {
        return fault(path, Fault::Kind("too deep to be searched (256 folders)"));
    }
    let mut listing = match Dir::new(folder) {
        Ok(listing) => listing,
        Err(error) => return fault(path, error.into()),
    };
    while let Some(entry) = listing.read() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return fault(path, error.into()),
        };
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        if let Err(error) = one(&listing, name.to_bytes(), path, depth, with, fault) {
            fault(path, error);
        }
        path.truncate(length);
    }
}

fn one(
    listing: &Dir,
    name: &[u8],
    path: &mut Vec<u8>,
    depth: usize,
    with: &mut dyn FnMut(&Entry<'_>) -> Result<(), Fault>,
    fault: &mut dyn FnMut(&[u8], Fault),
) -> Result<(), Fault> {
    let folder = listing.fd()?;
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return with(&Entry { path, stat, folder, name }),
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let inner = beneath(folder, &crate::host::path_of(name), flags).map_err(Fault::system)?;
            folder_of(inner, path, depth + 1, with, fault);
        }
        _ => {}
    }
    Ok(())
}

/// What an unpacked layer has in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing.
    Nothing,
    /// A deletion of what is below.
    Whiteout,
    /// A folder, joined with those below.
    Folder,
    /// A folder that hides those below.
    Opaque,
    /// Attributes alone, above the file below (overlayfs, "Metadata only copy up").
    Metadata,
    /// A file, a link or a device of its own.
    Own,
}

/// Reads the mark at a path whose folders are there and are folders.
///
/// The forms are the kernel's (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"), with
/// `user.overlay.` for overlays mounted in a user namespace, and fuse-overlayfs's, which writes the names that archives have.
pub(super) fn mark(layer: &Folder, path: &[u8]) -> Result<Mark, Fault> {
    let (folder, name) = super::names::split(path);
    let at = |path: &[u8]| layer.stat(&crate::host::path_of(path));
    let beside = |mark: &[u8]| at(&super::names::normal(&[folder, b"/", mark].concat())).is_ok();
    let stat = match at(path) {
        Ok(stat) => stat,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(if beside(&[b".wh.", name].concat()) { Mark::Whiteout } else { Mark::Nothing });
        }
        Err(error) => return Err(Fault::system(error)),
    };
    let here = crate::host::path_of(path);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if stat.st_rdev == 0 => Ok(Mark::Whiteout),
        FileType::Directory => {
            let inner = layer.below(&here).map_err(Fault::system)?;
            let opaque = ["trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque"];
            let hides = opaque.iter().any(|name| attribute(inner.as_fd(), name).is_some_and(|value| value == *b"y"))
                || inner.has(".wh..wh..opq")
                || inner.has(".wh..opq");
            Ok(if hides { Mark::Opaque } else { Mark::Folder })
        }
        FileType::RegularFile => {
            let file = match beneath(layer.as_fd(), &here, OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(file) => file,
                // Whoever may not read the file cannot see its attributes; nearly every file is one of its own.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Mark::Own),
                Err(error) => return Err(Fault::system(error)),
            };
            let has = |names: [&str; 2]| names.iter().any(|name| attribute(file.as_fd(), name).is_some());
            Ok(if stat.st_size == 0 && has(["trusted.overlay.whiteout", "user.overlay.whiteout"]) {
                Mark::Whiteout
            } else if has(["trusted.overlay.metacopy", "user.overlay.metacopy"]) {
                Mark::Metadata
            } else {
                Mark::Own
            })
        }
        _ => Ok(Mark::Own),
    }
}

/// An extended attribute's first bytes; `None` where there is none. `trusted.` ones show themselves to root only.
fn attribute(file: BorrowedFd<'_>, name: &str) -> Option<Vec<u8>> {
    let mut value = [0_u8; 64];
    match fgetxattr(file, name, &mut value) {
        Ok(length) => value.get(..length).map(<[u8]>::to_vec),
        // A metacopy mark carries a digest.
        Err(rustix::io::Errno::RANGE) => Some(value.to_vec()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn only_regular_files_and_no_links() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir_all(layer.path().join("a/b")).unwrap();
        fs::write(layer.path().join("a/b/file"), "x").unwrap();
        fs::write(layer.path().join("top"), "x").unwrap();
        symlink("/etc", layer.path().join("a/etc")).unwrap();
        symlink("../top", layer.path().join("a/top")).unwrap();
        let mut seen = Vec::new();
        let with = &mut |entry: &Entry<'_>| {
            seen.push(String::from_utf8(entry.path.to_vec()).unwrap());
            Ok(())
        };
        walk(&Folder::open(layer.path()).unwrap(), with, &mut |path, fault| panic!("{path:?} {fault}"));
        seen.sort();
        assert_eq!(seen, ["a/b/file", "top"]);
    }

    #[test]
    fn a_bottomless_folder_is_told() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir_all(layer.path().join("d/".repeat(DEEPEST + 2))).unwrap();
        let mut faults = 0;
        walk(&Folder::open(layer.path()).unwrap(), &mut |_| Ok(()), &mut |_, _| faults += 1);
        assert_eq!(faults, 1);
    }

    #[test]
    fn marks_that_need_no_privilege() {
        use rustix::fs::{XattrFlags, setxattr};
        let layer = tempfile::tempdir().unwrap();
        let at = |path: &str| layer.path().join(path);
        for folder in ["joined", "opaque", "fuse", "old"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for file in ["joined/.wh.gone", "old/.wh..wh..opq", "own", "attributes"] {
            fs::write(at(file), "").unwrap();
        }
        let set = |path: &str, name: &str| setxattr(at(path), name, b"y", XattrFlags::empty());
        let marked = set("opaque", "user.overlay.opaque").is_ok();
        let folder = Folder::open(layer.path()).unwrap();
        let mark = |path: &str| mark(&folder, path.as_bytes()).unwrap();
        // A file system without such attributes (tmpfs before 6.6) cannot hold such a layer either.
        if marked {
            set("fuse", "user.fuseoverlayfs.opaque").unwrap();
            set("attributes", "user.overlay.metacopy").unwrap();
            assert_eq!(
                (mark("opaque"), mark("fuse"), mark("attributes")),
                (Mark::Opaque, Mark::Opaque, Mark::Metadata)
            );
        }
        assert_eq!((mark("joined"), mark("old"), mark("own")), (Mark::Folder, Mark::Opaque, Mark::Own));
        assert_eq!((mark("joined/gone"), mark("joined/none")), (Mark::Whiteout, Mark::Nothing));
    }
}
