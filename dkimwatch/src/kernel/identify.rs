//! What a path is to the kernel. Asked of the kernel itself, through an `O_PATH` descriptor: the file is not opened, and
//! no device encoding, btrfs subvolume or overlay is guessed at.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use aya::programs::Iter;
use dkimwatch_common::{
    identity::{FileId, Identified},
    names::programs,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::KernelError;

/// A path's descriptor, opened for identification only.
pub struct Handle(OwnedFd);

impl Handle {
    /// Opens a path with `O_PATH`; symbolic links are followed.
    ///
    /// # Errors
    /// As openat(2).
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a path with `O_PATH`; a symbolic link at its end is not followed, but opened.
    ///
    /// # Errors
    /// As openat(2).
    pub fn open_itself(path: &Path) -> std::io::Result<Self> {
        Ok(Self(openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The same by no symbolic link at all, neither at the path's end nor on its way.
    ///
    /// # Errors
    /// As openat2(2): `ELOOP` where there is a link.
    pub fn open_without_links(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?))
    }

    /// The file's path as this process sees it, links resolved (what `/proc/self/fd` shows); of a deleted file it ends
    /// with ` (deleted)`.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd())).ok()
    }

    /// The descriptor, opened with `O_PATH`.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// From a descriptor of ours, of any kind.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What each handle is to the kernel, in their order; `None` for one that the kernel did not list.
///
/// # Errors
/// When the iterator cannot be run.
pub(super) fn identify(program: &mut Iter, handles: &[Handle]) -> Result<Vec<Option<Identified>>, KernelError> {
    let bytes = run(program, programs::ITER_IDENTIFY)?;
    let known: HashMap<RawFd, Identified> = bytes.chunks_exact(size_of::<Identified>()).filter_map(parse).collect();
    Ok(handles.iter().map(|handle| known.get(&handle.0.as_raw_fd()).copied()).collect())
}

/// Runs an iterator once and returns what it wrote.
pub(super) fn run(program: &mut Iter, name: &'static str) -> Result<Vec<u8>, KernelError> {
    let refused = |error| super::backend::refused(name, error);
    let link = program.attach().map_err(refused)?;
    let link = program.take_link(link).map_err(refused)?;
    let mut answers: File =
        link.into_file().map_err(|error| KernelError::Program { program: name, reason: error.to_string() })?;
    let mut bytes = Vec::new();
    answers.read_to_end(&mut bytes).map_err(KernelError::io(format!("run {name}")))?;
    Ok(bytes)
}

/// One answer, field by field.
fn parse(bytes: &[u8]) -> Option<(RawFd, Identified)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    use std::mem::offset_of;
    let at = offset_of!(Identified, file);
    let identified = Identified {
        file: FileId {
            ino: long(at + offset_of!(FileId, ino))?,
            dev: word(at + offset_of!(FileId, dev))?,
            birth: word(at + offset_of!(FileId, birth))?,
        },
        ctime: long(offset_of!(Identified, ctime))?,
        fd: word(offset_of!(Identified, fd))?,
        mode: word(offset_of!(Identified, mode))?,
        uid: word(offset_of!(Identified, uid))?,
        gid: word(offset_of!(Identified, gid))?,
        nlink: word(offset_of!(Identified, nlink))?,
        generation: word(offset_of!(Identified, generation))?,
    };
    Some((RawFd::try_from(identified.fd).ok()?, identified))
}
