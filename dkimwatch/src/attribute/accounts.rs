//! Names of users and groups, from the files alone.
//!
//! Not through getpwuid(3): that asks whatever nsswitch.conf names, a directory server across a slow network included, and
//! attribution never waits for one. An id that only such a server knows stays a number.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use crate::escape;

/// Names by id from a file in the form of passwd(5) or group(5): name, password, id, whatever follows.
///
/// The file is read again when it has changed (inode, size or modification time), so a user that was added while the
/// watch runs is named.
#[derive(Debug)]
pub(super) struct Accounts {
    path: PathBuf,
    read_at: Option<Stamp>,
    names: HashMap<u32, String>,
}

/// What changes when a file does: an editor replaces the inode, an append changes size and time.
type Stamp = (u64, u64, i64, i64);

fn stamp(of: &Metadata) -> Stamp {
    (of.ino(), of.size(), of.mtime(), of.mtime_nsec())
}

impl Accounts {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read_at: None, names: HashMap::new() }
    }

    /// The first name that the file has for an id.
    pub(super) fn name(&mut self, id: u32) -> Option<String> {
        let now = fs::metadata(&self.path).ok().as_ref().map(stamp);
        if now != self.read_at {
            // An unreadable file names nobody; the numbers remain.
            self.names = fs::read(&self.path).map(|bytes| parse(&bytes)).unwrap_or_default();
            self.read_at = now;
        }
        self.names.get(&id).cloned()
    }
}

/// Lines that are looked at. Hosts with more users have a directory server for them.
const LINES: usize = 16_384;

/// Names by id, escaped; a line that is none is passed over.
pub(crate) fn parse(bytes: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(LINES) {
        let mut columns = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(id)) = (columns.next(), columns.next(), columns.next()) else { continue };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        if let Some(id) = id.filter(|_| !name.is_empty() && !name.starts_with(b"#")) {
            names.entry(id).or_insert_with(|| escape::text(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{Accounts, parse};

    #[test]
    fn the_first_name_of_an_id_counts_and_odd_lines_are_passed_over() {
        let names = parse(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\n#no:x:7:7\nbad:x:-1:0\n:x:9:9\na\xff:x:5:5:",
        );
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], "root");
        assert_eq!(names[&5], r"a\xff");
    }

    #[test]
    fn a_user_added_later_is_named() {
        let folder = std::env::temp_dir().join(format!("dkimwatch-accounts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("passwd");
        std::fs::write(&file, "root:x:0:0::/:/bin/sh\n").expect("written");
        let mut accounts = Accounts::new(&file);
        assert_eq!(accounts.name(0).as_deref(), Some("root"));
        assert_eq!(accounts.name(103), None);
        std::fs::write(&file, "root:x:0:0::/:/bin/sh\nopendkim:x:103:106::/:/bin/sh\n").expect("written");
        assert_eq!(accounts.name(103).as_deref(), Some("opendkim"));
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(accounts.name(0), None, "a file that is gone names nobody");
    }
}
