//! `--output`: a file that is there as a whole or not at all, for its owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::escape;

/// Why a report cannot be written to a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("--output {0} is a symbolic link: name the file that is meant, as somebody else could have made the link")]
    Link(String),
    #[error("--output {0} is no regular file: name a new file, or one to be replaced")]
    Special(String),
    #[error("--output {0} names no file")]
    Nameless(String),
    #[error("--output {path} cannot be written: {error}")]
    File { path: String, error: io::Error },
}

/// Whether a file may be put there.
pub(super) fn check(path: &Path) -> Result<(), OutputError> {
    let shown = || escape::path(path);
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => Err(OutputError::Link(shown())),
        Ok(meta) if !meta.is_file() => Err(OutputError::Special(shown())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder(path);
            let found = fs::metadata(folder).map_err(|error| OutputError::File { path: shown(), error })?;
            if path.file_name().is_none() || !found.is_dir() { Err(OutputError::Nameless(shown())) } else { Ok(()) }
        }
        Err(error) => Err(OutputError::File { path: shown(), error }),
    }
}

/// Writes a file under another name beside it, and then gives it its own: whoever reads it never sees half of it, and a link that lies
/// there by then is replaced and not followed.
pub(super) fn write(path: &Path, fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<(), OutputError> {
    check(path)?;
    let fault = |error| OutputError::File { path: escape::path(path), error };
    let unfinished = Unfinished::beside(path).map_err(fault)?;
    let mut out = BufWriter::new(&unfinished.file);
    fill(&mut out).and_then(|()| out.flush()).map_err(fault)?;
    drop(out);
    unfinished.file.sync_all().map_err(fault)?;
    unfinished.become_file(path).map_err(fault)
}

/// A file that is removed again unless it becomes what it is for.
struct Unfinished {
    file: File,
    path: PathBuf,
    done: bool,
}

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default();
        for attempt in 0..100 {
            let mut own = std::ffi::OsString::from(".");
            own.push(name);
            own.push(format!(".{}-{attempt}.new", std::process::id()));
            let path = folder(path).join(own);
            // Never one that is there already, nor through a link.
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Self { file, path, done: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn become_file(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.done = true;
        File::open(folder(path))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // What stays behind is for its owner alone.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_whole_its_owners_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let mut names: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let path = folder.path().join("report.html");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let failed = write(&path, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(failed, Err(OutputError::File { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"new", "a report that failed leaves the old one");
        assert_eq!(names(), ["report.html"], "and nothing else");

        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let refused = write(&link, |out| out.write_all(b"through"));
        assert!(matches!(refused, Err(OutputError::Link(_))), "{refused:?}");
        assert!(matches!(write(folder.path(), |_| Ok(())), Err(OutputError::Special(_))));
        assert!(matches!(check(&folder.path().join("none/report")), Err(OutputError::File { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
