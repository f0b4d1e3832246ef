//! The memo: what the tags in records stand for, which executables the signers had, which losses were told, and whose opens
//! the kernel side counts.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use dkimwatch_common::identity::FileId;
use serde::{Deserialize, Serialize};

use crate::summary::Book;

/// Of this form; another one is not read.
const VERSION: u32 = 1;
/// What a memo's name begins with.
const PREFIX: &str = "away-";

/// What a watch knows that its records do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    version: u32,
    /// The watch list, by tag.
    pub watched: Vec<Entry>,
    /// The expected readers' executables.
    pub readers: Vec<ReaderMemo>,
    /// Losses that were told.
    pub told: Vec<Losses>,
    /// Expected opens that the kernel side counts.
    pub book: Book,
}

/// An entry of a watch list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A key.
    Key {
        /// Where.
        #[serde(with = "path")]
        path: PathBuf,
        /// RFC 6376 `d=`.
        domain: Option<String>,
        /// RFC 6376 `s=`.
        selector: Option<String>,
        /// Who is configured to use it.
        signer: Option<String>,
        /// It is a container's.
        contained: bool,
    },
    /// A folder as a whole.
    Folder {
        /// Where.
        #[serde(with = "path")]
        path: PathBuf,
        /// Who is configured to use it.
        signer: Option<String>,
    },
}

/// An expected reader, and the files that were its program while the watch ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderMemo {
    /// Its name in the configuration.
    pub name: String,
    /// Its program.
    #[serde(with = "path")]
    pub executable: PathBuf,
    /// Files that were found to be it.
    pub images: Vec<ImageMemo>,
}

/// A file that was a reader's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMemo {
    ino: u64,
    dev: u32,
    birth: u32,
    /// Owner.
    pub uid: u32,
    /// Change time, seconds since the Unix epoch.
    pub ctime: u64,
    /// `st_mode`.
    pub mode: u32,
}

impl ImageMemo {
    /// Of a file.
    #[must_use]
    pub const fn of(file: FileId, uid: u32, ctime: u64, mode: u32) -> Self {
        Self { ino: file.ino, dev: file.dev, birth: file.birth, uid, ctime, mode }
    }

    /// Which file.
    #[must_use]
    pub const fn file(&self) -> FileId {
        FileId { ino: self.ino, dev: self.dev, birth: self.birth }
    }
}

/// Losses at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// [`dkimwatch_common::tally::Hook`] as a number.
    pub hook: u32,
    /// By CPU.
    pub lost: Vec<u64>,
}

impl Memo {
    /// A memo of these.
    #[must_use]
    pub const fn new(watched: Vec<Entry>, readers: Vec<ReaderMemo>, told: Vec<Losses>, book: Book) -> Self {
        Self { version: VERSION, watched, readers, told, book }
    }

    /// The memo of a session, beside its journal. `None`: there is none, or none that can be used, which was said.
    #[must_use]
    pub fn read(folder: &Path, session: &str) -> Option<Self> {
        let path = folder.join(format!("{PREFIX}{session}"));
        let read = fs::read(&path).context("it cannot be read").and_then(|bytes| {
            let memo: Self = serde_json::from_slice(&bytes).context("it is no memo")?;
            anyhow::ensure!(memo.version == VERSION, "it is of version {}, not {VERSION}", memo.version);
            Ok(memo)
        });
        read.inspect_err(|error| {
            let path = path.display();
            tracing::warn!(
                "{path}: {error:#}: which key a record of the time before is about is found by its path alone"
            );
        })
        .ok()
    }
}

/// Where a session's memo is written, each time it has changed.
#[derive(Debug)]
pub struct MemoFile {
    path: PathBuf,
    written: Option<Memo>,
}

impl MemoFile {
    /// Of a session, beside its journal.
    #[must_use]
    pub fn new(folder: &Path, session: &str) -> Self {
        Self { path: folder.join(format!("{PREFIX}{session}")), written: None }
    }

    /// Writes a memo, if it is another one.
    ///
    /// # Errors
    /// The disk's own.
    pub fn write(&mut self, memo: Memo) -> Result<()> {
        if self.written.as_ref() == Some(&memo) {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let bytes = serde_json::to_vec(&memo)?;
        let context = || format!("write {}", new.display());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .with_context(context)?;
        // What a power cut takes from it, it takes from the rings as well: it need not be on the disk.
        file.write_all(&bytes).with_context(context)?;
        fs::rename(&new, &self.path).with_context(context)?;
        self.written = Some(memo);
        Ok(())
    }

    /// Removes it.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a memo that is of no use any more cannot be removed");
        }
        _ => {}
    }
}

/// Removes the memos of sessions that are no more: what was pinned goes with the host's end.
pub(super) fn sweep(folder: &Path, is_there: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let session = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if session.is_some_and(|session| !is_there(session)) {
            remove(&entry.path());
        }
    }
}

/// A path as text where it is text, and as bytes where it is not.
mod path {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use serde::{Deserializer, Serializer};

    use super::{Deserialize, OsString, Path, PathBuf, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Bytes {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Bytes::Bytes(path.as_os_str().as_bytes().to_vec()).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Bytes::deserialize(deserializer)? {
            Bytes::Text(text) => PathBuf::from(text),
            Bytes::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn memo() -> Memo {
        let hostile = PathBuf::from(OsString::from_vec(b"/etc/\xff\n\"key".to_vec()));
        let key = Entry::Key {
            path: hostile,
            domain: Some("a.example".into()),
            selector: None,
            signer: None,
            contained: true,
        };
        let folder = Entry::Folder { path: "/etc/dkim".into(), signer: Some("opendkim".into()) };
        let image = ImageMemo::of(FileId { ino: u64::MAX, dev: 3, birth: 1 }, 0, 1, 0o100_755);
        let reader =
            ReaderMemo { name: "opendkim".into(), executable: "/usr/sbin/opendkim".into(), images: vec![image] };
        Memo::new(vec![key, folder], vec![reader], vec![Losses { hook: 3, lost: vec![0, 7] }], Book::default())
    }

    #[test]
    fn what_was_written_is_read_whatever_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MemoFile::new(folder.path(), "00ff");
        file.write(memo()).unwrap();
        assert_eq!(Memo::read(folder.path(), "00ff"), Some(memo()));
        assert_eq!(Memo::read(folder.path(), "00fe"), None);
    }

    #[test]
    fn what_is_no_memo_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in [
            "",
            "{}",
            "[1]",
            "{\"version\":2,\"watched\":[],\"readers\":[],\"told\":[],\"book\":{\"entries\":[],\"owed\":[]}}",
            "\u{0}",
        ] {
            fs::write(folder.path().join("away-1"), wrong).unwrap();
            assert_eq!(Memo::read(folder.path(), "1"), None, "{wrong:?}");
        }
    }

    #[test]
    fn memos_of_what_is_gone_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["away-1", "away-2", "away-2.new", "seal", "00000001.dkj"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(folder.path(), |session| session == "1");
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["00000001.dkj", "away-1", "seal"]);
    }
}
