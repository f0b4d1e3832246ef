//! `Name value` files: opendkim.conf(5), and dkimpy-milter.conf(5) after it.
//!
//! Names are case-insensitive, `#` ends a line anywhere, there are no continuation lines, `Include` nests five deep; the
//! last of several equal names counts.

use std::path::{Path, PathBuf};

use super::findings::{Findings, at_line};
use crate::host::path_of;

/// How deep `Include` nests (opendkim's own limit).
const DEEPEST: usize = 5;
/// Most files that one configuration includes.
const MOST_FILES: usize = 64;

/// A configuration file, with what it includes.
#[derive(Debug, Default)]
pub(super) struct Conf {
    entries: Vec<Entry>,
    files: usize,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    name: Vec<u8>,
    /// Its value, without the blanks around it.
    pub(super) value: Vec<u8>,
    /// Its file.
    pub(super) file: PathBuf,
    /// Its place: file and line.
    pub(super) place: String,
}

impl Conf {
    /// Reads `file`; `None` if it cannot be read.
    pub(super) fn read(file: &Path, named_by: &str, findings: &mut Findings<'_>) -> Option<Self> {
        let bytes = findings.read(file, named_by)?;
        let mut conf = Self { entries: Vec::new(), files: 1 };
        conf.take(file, &bytes, 0, findings);
        Some(conf)
    }

    /// The setting that counts.
    pub(super) fn setting(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.name == name.as_bytes() && !entry.value.is_empty())
    }

    fn take(&mut self, file: &Path, bytes: &[u8], depth: usize, findings: &mut Findings<'_>) {
        for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let Some((name, value)) = words(line) else { continue };
            let place = at_line(file, number);
            if name != b"include" {
                self.entries.push(Entry { name, value, file: file.to_path_buf(), place });
                continue;
            }
            let included = path_of(&value);
            if !included.is_absolute() {
                findings.note(
                    &place,
                    "includes a relative path, which depends on where the signer was started; it is not followed",
                );
            } else if depth == DEEPEST || self.files == MOST_FILES {
                findings.note(
                    &place,
                    format!(
                        "includes nest deeper than {DEEPEST} or are more than {MOST_FILES}; this one is not followed"
                    ),
                );
            } else if let Some(bytes) = findings.read(&included, &place) {
                self.files += 1;
                self.take(&included, &bytes, depth + 1, findings);
            }
        }
    }
}

/// Name, in lower case, and value.
fn words(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let line = line.split(|&byte| byte == b'#').next()?.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (name, value) = line.split_at_checked(end)?;
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
}
