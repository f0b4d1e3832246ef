//! What is pinned on this host, for whoever only asks: nothing is held, opened or changed.

use std::{fs, io::ErrorKind, path::Path};

use serde::Serialize;

use super::pins::{WHOLE, hooks, is_bpf, sessions};

/// What is pinned in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Pins {
    /// No BPF file system is there, so that nothing can be.
    Nowhere,
    /// Nothing.
    None,
    /// Hooks of a `run` that runs, or has run.
    Hooks {
        /// How many.
        hooks: usize,
        /// All that its latest session sees outlives the process.
        whole: bool,
    },
    /// It cannot be said.
    Unknown {
        /// What is in the way.
        reason: String,
    },
}

impl Pins {
    /// Looks at a folder, [`super::PIN_FOLDER`] if nobody said otherwise.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let unknown = |reason: &dyn ToString| Self::Unknown { reason: reason.to_string() };
        match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if folder.parent().is_some_and(is_bpf) {
                    Self::None
                } else {
                    Self::Nowhere
                }
            }
            Err(error) => unknown(&error),
            Ok(meta) if !meta.is_dir() => unknown(&"it is no folder: remove it"),
            Ok(_) if !is_bpf(folder) => Self::Nowhere,
            Ok(_) => match sessions(folder) {
                Err(error) => unknown(&error),
                Ok(sessions) => match sessions.last() {
                    None => Self::None,
                    Some(latest) => Self::Hooks {
                        hooks: sessions.iter().map(|session| hooks(session).map_or(0, |hooks| hooks.len())).sum(),
                        whole: latest.join(WHOLE).is_dir(),
                    },
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_bpf_file_system_is_nothing_can_be_pinned() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(Pins::of(root.path()), Pins::Nowhere);
        assert_eq!(Pins::of(&root.path().join("absent")), Pins::Nowhere);
        let file = root.path().join("file");
        fs::write(&file, "").expect("a file");
        for odd in [file.clone(), file.join("below")] {
            assert!(matches!(Pins::of(&odd), Pins::Unknown { .. }), "{}", odd.display());
        }
    }
}
