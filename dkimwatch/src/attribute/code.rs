//! What runs in a signer's process beside its program: libraries that it mapped, and variables that lead to others.

use std::collections::{HashMap, VecDeque};

use dkimwatch_common::{exec::mark, identity::FileId};

use crate::decode::{Access, Fact, Image};

/// Code beside the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Files mapped as code, without those that were found to be the system's. Unreadable: there are some, and which is no
    /// longer known. Not asked: they were not looked at from the program's start, and the process is gone.
    pub libraries: Fact<Vec<Mapped>>,
    /// Bits of [`mark`] from `PRELOAD` to `ENVIRONMENT_CUT`: the environment at exec.
    pub variables: u32,
}

impl Default for Code {
    fn default() -> Self {
        Self { libraries: Fact::NotAsked, variables: 0 }
    }
}

/// A file that was mapped as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its path in the mount namespace of the process.
    pub path: Vec<u8>,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// `st_mode`.
    pub mode: u32,
    /// It has no name: in memory only, or deleted.
    pub nameless: bool,
    /// Whether the host has this same file at that path; `None` where it was not asked.
    pub at_home: Option<bool>,
    /// Whether no package owns the path; `None` where that is not known.
    pub unowned: Option<bool>,
}

impl Mapped {
    /// As the hook reported it.
    #[must_use]
    pub fn of(access: &Access) -> Self {
        let file = &access.file;
        Self {
            path: file.path.known().map(|path| path.bytes.clone()).unwrap_or_default(),
            uid: file.uid,
            mode: file.mode,
            nameless: file.nlink == 0 || file.unlinked,
            at_home: None,
            unowned: None,
        }
    }
}

/// Programs whose libraries are remembered. Whoever wants his own forgotten has to start this many, and is told of as one
/// whose libraries are not known.
const KEPT: usize = 65_536;
/// Libraries remembered of one program.
const EACH: usize = 16;

/// A program as executed once: it and all that were forked from it share this.
type Lineage = (u64, FileId);

/// What the hooks reported of each program as executed.
#[derive(Debug, Default)]
pub(super) struct Lineages {
    known: HashMap<Lineage, Vec<Mapped>>,
    oldest_first: VecDeque<Lineage>,
}

impl Lineages {
    /// Takes note of a library, or (`None`) of one that turned out to be the system's.
    pub(super) fn learn(&mut self, image: &Image, mapped: Option<Mapped>) {
        let lineage = (image.executed_ns, image.id);
        if !self.known.contains_key(&lineage) {
            if self.known.len() >= KEPT
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.oldest_first.push_back(lineage);
        }
        let known = self.known.entry(lineage).or_default();
        if let Some(mapped) = mapped
            && known.len() < EACH
            && !known.contains(&mapped)
        {
            known.push(mapped);
        }
    }

    /// What is known of a process whose mappings are recorded; `None` where they are not.
    pub(super) fn of(&self, image: &Image) -> Option<Code> {
        if image.marks & mark::RECORDED == 0 {
            return None;
        }
        let libraries = if image.marks & mark::UNKNOWN_CODE == 0 {
            Fact::Known(Vec::new())
        } else {
            let known = self.known.get(&(image.executed_ns, image.id));
            known.map_or(Fact::Unreadable, |known| Fact::Known(known.clone()))
        };
        Some(Code { libraries, variables: variables(image.marks) })
    }
}

/// The bits that tell of the environment.
pub(super) const fn variables(marks: u32) -> u32 {
    marks & !(mark::RECORDED | mark::UNKNOWN_CODE | mark::ENTERED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ImageSource;

    fn image(executed_ns: u64, marks: u32) -> Image {
        Image {
            id: FileId::new(1, 2),
            uid: 0,
            gid: 0,
            mode: 0o100755,
            nlink: 1,
            ctime: 3,
            executed_ns,
            marks,
            mnt_ns: 4,
            path: Vec::new(),
            source: ImageSource::Exec,
        }
    }

    fn mapped(path: &str) -> Mapped {
        let path = path.as_bytes().to_vec();
        Mapped { path, uid: 0, mode: 0o100644, nameless: false, at_home: None, unowned: None }
    }

    #[test]
    fn libraries_are_those_of_the_program_as_executed() {
        const SEEN: u32 = mark::RECORDED | mark::UNKNOWN_CODE;
        let mut lineages = Lineages::default();
        lineages.learn(&image(1, mark::RECORDED), Some(mapped("/tmp/x.so")));
        lineages.learn(&image(1, SEEN), Some(mapped("/tmp/x.so")));
        lineages.learn(&image(2, SEEN), None);
        let libraries = |image: &Image| lineages.of(image).map(|code| code.libraries);
        assert_eq!(libraries(&image(1, SEEN)), Some(Fact::Known(vec![mapped("/tmp/x.so")])));
        assert_eq!(libraries(&image(2, SEEN)), Some(Fact::Known(vec![])), "all were the system's");
        assert_eq!(libraries(&image(3, SEEN)), Some(Fact::Unreadable), "a record was lost, or forgotten");
        assert_eq!(libraries(&image(3, mark::RECORDED)), Some(Fact::Known(vec![])));
        assert_eq!(libraries(&image(3, 0)), None);
        assert_eq!(lineages.of(&image(3, SEEN | mark::PRELOAD)).map(|code| code.variables), Some(mark::PRELOAD));
    }

    #[test]
    fn one_that_was_forgotten_is_not_taken_for_clean() {
        let mut lineages = Lineages::default();
        for executed in 0..=KEPT as u64 {
            lineages.learn(&image(executed, mark::RECORDED), Some(mapped("/tmp/x.so")));
        }
        assert_eq!(lineages.known.len(), KEPT);
        let first = image(0, mark::RECORDED | mark::UNKNOWN_CODE);
        assert_eq!(lineages.of(&first).map(|code| code.libraries), Some(Fact::Unreadable));
    }
}
