//! Following a path as a process would have, with the watcher's rights and without opening anything.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::Path,
};

use dkimwatch_common::{deed::Deed, identity::FileId, watch::Tag};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, fstat, major, minor, openat, openat2},
    io::Errno,
};

use super::Place;
use crate::decode::Access;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To something that is there.
    There(Found),
    /// To a folder that is there, and nothing of that name in it.
    Nothing {
        /// The folder.
        folder: Place,
        /// The path that there is nothing at.
        path: Vec<u8>,
    },
    /// Nowhere, or to what is no file.
    Elsewhere,
    /// It could not be followed: too long, in a root that is gone, or not in time.
    Undecided,
}

/// What is at the end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// It.
    pub place: Place,
    /// The folder that the path names it in, where that is there.
    pub folder: Option<Place>,
    /// Its path without links, from the root of its mount tree.
    pub path: Vec<u8>,
    /// `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
}

impl Found {
    /// Its identity for display, the device as the kernel writes it (`include/linux/kdev_t.h`).
    pub(super) fn id(&self) -> FileId {
        FileId::new(major(self.place.dev) << 20 | minor(self.place.dev), self.place.ino)
    }
}

/// A path to follow, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The process: pid and start, its own pid.
    pid: u32,
    start_ns: u64,
    inner_pid: u32,
    /// Its mount namespace, and its forebears, of which one may live on in it.
    mnt_ns: u32,
    forebears: Vec<(u32, u64)>,
    /// Where the walk began, and the path as it was asked for; `None`: not known as a whole.
    path: Option<Vec<u8>>,
    /// The root that an absolute path began at: that of the process, when the process is gone.
    root: Option<Vec<u8>>,
    /// The hook has a guess, for when the path can no longer be followed.
    has_guess: bool,
    /// Only the folder is followed: to open what was mounted a moment ago would keep it from being taken away.
    folder_only: bool,
}

impl Question {
    #[cfg(test)]
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn of(access: &Access) -> Self {
        let process = &access.process;
        let whole = |path: &crate::decode::KernelPath| (!path.cut).then(|| path.bytes.clone());
        let path = access.file.path.known().and_then(whole).zip(access.second.known().and_then(whole));
        let root = path.as_ref().filter(|(_, text)| text.first() == Some(&b'/')).map(|(base, _)| base.clone());
        let joined = |(base, text): (Vec<u8>, Vec<u8>)| joined(&base, super::first_text(&text));
        Self {
            root,
            pid: process.pid,
            start_ns: process.start_ns,
            inner_pid: process.inner_pid.known().copied().unwrap_or(process.pid),
            mnt_ns: process.namespaces.known().map_or(0, |ns| ns.mnt),
            forebears: process.ancestors.iter().map(|one| (one.pid, one.start_ns)).collect(),
            path: path.map(joined),
            has_guess: access.file.tag != Tag::MAX && access.file.id == FileId::default(),
            folder_only: matches!(access.deed, Deed::Mount | Deed::Unmount),
        }
    }
}

/// A folder's path and one that begins there.
pub(super) fn joined(base: &[u8], text: &[u8]) -> Vec<u8> {
    if text.is_empty() {
        // `AT_EMPTY_PATH` and its kin: the place itself.
        return base.to_vec();
    }
    let base = base.strip_suffix(b"/").unwrap_or(base);
    let text = text.strip_prefix(b"/").unwrap_or(text);
    [base, text].join(&b'/')
}

/// Follows paths.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// A process that was seen in each other mount namespace: a way in while it lives. No handle, which would keep the
    /// namespace's file systems from being unmounted.
    seen: HashMap<u32, (u32, u64)>,
}

/// Mount namespaces remembered.
const SEEN: usize = 256;

/// A root folder, and its path in the root of its mount tree.
struct Root {
    handle: OwnedFd,
    path: Vec<u8>,
    /// The process by which it was found, where that is in another mount namespace: what is mounted there goes with the last
    /// one in it, though the root itself stays in hand.
    by: Option<u32>,
}

impl Follower {
    pub(super) fn follow(&mut self, question: &Question) -> Answer {
        let Some(path) = &question.path else { return Answer::Undecided };
        let Some(root) = self.root(question, path) else { return Answer::Undecided };
        let Some(within) = below(path, &root.path) else { return Answer::Undecided };
        let answer = Self::follow_in(&root, within, question);
        let is_gone = root.by.is_some_and(|pid| mount_namespace(&pid.to_string()) != Some(question.mnt_ns));
        if is_gone && (question.has_guess || !matches!(answer, Answer::There(_))) {
            return Answer::Undecided;
        }
        answer
    }

    fn follow_in(root: &Root, within: &[u8], question: &Question) -> Answer {
        match magic(within, question) {
            Magic::No => look(root, within, question.folder_only),
            Magic::Root(pid, rest) => match Root::of(pid) {
                Some(root) => look(&root, &rest, question.folder_only),
                None => Answer::Elsewhere,
            },
            Magic::Link(_) if question.folder_only => Answer::Elsewhere,
            Magic::Link(link) => {
                match openat(CWD, Path::new(OsStr::from_bytes(&link)), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(handle) => found(&handle, None).map_or(Answer::Elsewhere, Answer::There),
                    Err(_) => Answer::Elsewhere,
                }
            }
        }
    }

    /// The root that the process has or had. `path` begins at the root of its mount tree.
    fn root(&mut self, question: &Question, path: &[u8]) -> Option<Root> {
        let here = mount_namespace("self") == Some(question.mnt_ns);
        if lives(question.pid, question.start_ns)
            && let Some(root) = Root::of(question.pid)
            && lives(question.pid, question.start_ns)
        {
            if !here {
                if self.seen.len() >= SEEN {
                    self.seen.clear();
                }
                self.seen.insert(question.mnt_ns, (question.pid, question.start_ns));
            }
            // A walk can begin outside the process's root, at a descriptor from before.
            if below(path, &root.path).is_some() {
                return Some(if here { Root { by: None, ..root } } else { root });
            }
        }
        if here {
            return Root::at(question.root.as_deref().map_or("/".as_ref(), |root| Path::new(OsStr::from_bytes(root))));
        }
        let seen = self.seen.get(&question.mnt_ns).copied();
        question.forebears.iter().copied().chain(seen).find_map(|(pid, start_ns)| {
            let same = mount_namespace(&pid.to_string()) == Some(question.mnt_ns) && lives(pid, start_ns);
            same.then(|| Root::of(pid)).flatten()
        })
    }
}

impl Root {
    fn of(pid: u32) -> Option<Self> {
        Some(Self { by: Some(pid), ..Self::at(Path::new(&format!("/proc/{pid}/root")))? })
    }

    fn at(path: &Path) -> Option<Self> {
        let handle = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some(Self { path: named(&handle)?, handle, by: None })
    }
}

/// The rest of a path below a root; `None` where it is not below it.
fn below<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    (rest.first() == Some(&b'/')).then_some(rest)
}

/// A path through a link of `/proc`, which means something else to each process.
#[derive(Debug, PartialEq, Eq)]
enum Magic {
    /// It has none at its beginning. (One further on is not followed.)
    No,
    /// The root of a process, and the rest of the path.
    Root(u32, Vec<u8>),
    /// Another link of a process, by the path that it has for the watcher.
    Link(Vec<u8>),
}

fn magic(path: &[u8], question: &Question) -> Magic {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let (who, link): (&[u8], Vec<&[u8]>) = match parts.as_slice() {
        [b"dev", b"fd", link @ ..] => {
            (b"self", std::iter::once(b"fd".as_slice()).chain(link.iter().copied()).collect())
        }
        [b"dev", b"stdin"] => (b"self", vec![b"fd", b"0"]),
        [b"proc", who, b"task", _, link @ ..] | [b"proc", who, link @ ..] => (who, link.to_vec()),
        _ => return Magic::No,
    };
    let pid = match who {
        b"self" | b"thread-self" => Some(question.pid),
        // The numbers of another pid namespace say nothing here.
        digits if question.inner_pid == question.pid => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
        }
        _ => None,
    };
    match (pid, link.as_slice()) {
        (Some(pid), [b"root", rest @ ..]) => Magic::Root(pid, joined(b"", &rest.join(&b'/'))),
        (Some(pid), [b"cwd" | b"fd" | b"exe" | b"map_files", ..]) => {
            Magic::Link(joined(format!("/proc/{pid}").as_bytes(), &link.join(&b'/')))
        }
        _ => Magic::No,
    }
}

/// Follows a path in a root, links and `..` included.
fn look(root: &Root, path: &[u8], folder_only: bool) -> Answer {
    let follow = |path: &[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&root.handle, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    };
    let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => path.split_at(at),
        None => return Answer::Elsewhere,
    };
    let folder = || {
        let handle = follow(if folder.is_empty() { b"/" } else { folder }).ok()?;
        Some((Place::from(&fstat(&handle).ok()?), named(&handle)?))
    };
    let followed = if folder_only { Err(Errno::NOENT) } else { follow(path) };
    match followed {
        Ok(handle) => found(&handle, folder().map(|(folder, _)| folder)).map_or(Answer::Elsewhere, Answer::There),
        Err(Errno::NOENT) if name.len() > 1 => match folder() {
            Some((folder, path)) => Answer::Nothing { folder, path: joined(&path, name) },
            None => Answer::Elsewhere,
        },
        Err(_) => Answer::Elsewhere,
    }
}

fn found(handle: &OwnedFd, folder: Option<Place>) -> Option<Found> {
    let stat = fstat(handle).ok()?;
    Some(Found {
        place: Place::from(&stat),
        folder,
        path: named(handle)?,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
    })
}

/// A handle's path.
fn named(handle: &OwnedFd) -> Option<Vec<u8>> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", handle.as_raw_fd()), Vec::new()).ok()?;
    Some(path.into_bytes())
}

fn mount_namespace(process: &str) -> Option<u32> {
    let ns = std::fs::metadata(format!("/proc/{process}/ns/mnt")).ok()?;
    u32::try_from(ns.ino()).ok()
}

/// Whether the process with that pid is still the one that started then.
fn lives(pid: u32, start_ns: u64) -> bool {
    /// `USER_HZ` is 100 wherever dkimwatch runs (`include/uapi/asm-generic/param.h`).
    const NS_PER_TICK: u64 = 10_000_000;
    let Ok(process) = i32::try_from(pid).map_err(drop).and_then(|pid| procfs::process::Process::new(pid).map_err(drop))
    else {
        return false;
    };
    process.stat().is_ok_and(|stat| stat.starttime == start_ns / NS_PER_TICK)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A path that this process asked for.
    fn mine(path: &Path) -> Question {
        let me = procfs::process::Process::myself().expect("/proc").stat().expect("stat");
        Question {
            pid: std::process::id(),
            start_ns: me.starttime * 10_000_000,
            inner_pid: std::process::id(),
            mnt_ns: mount_namespace("self").expect("a namespace"),
            forebears: Vec::new(),
            path: Some(path.as_os_str().as_bytes().to_vec()),
            root: None,
            has_guess: false,
            folder_only: false,
        }
    }

    fn place(path: &Path) -> Place {
        let stat = rustix::fs::stat(path).expect("it is there");
        Place::from(&stat)
    }

    /// By then what was mounted there is gone, and other things are to be seen beneath.
    #[test]
    fn what_a_path_led_to_in_a_mount_namespace_that_is_gone_is_undecided() {
        let folder = tempfile::tempdir().expect("a folder");
        let (there, nothing) = (folder.path().join("there"), folder.path().join("nothing"));
        fs::write(&there, "").expect("a file");
        let follow =
            |path: &Path, has_guess| Follower::default().follow(&Question { mnt_ns: 1, has_guess, ..mine(path) });
        assert_eq!(follow(&nothing, false), Answer::Undecided);
        assert_eq!(follow(&there, true), Answer::Undecided);
        assert!(matches!(follow(&there, false), Answer::There(_)), "without a guess it is the best there is");
        assert!(matches!(Follower::default().follow(&mine(&nothing)), Answer::Nothing { .. }));
    }

    #[test]
    fn links_are_followed_and_the_folder_is_known() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().canonicalize().expect("a path");
        fs::create_dir(folder.join("keys")).expect("a folder");
        fs::write(folder.join("keys/key"), "").expect("a file");
        symlink("keys/../keys/key", folder.join("link")).expect("a link");
        let Answer::There(found) = Follower::default().follow(&mine(&folder.join("link"))) else {
            panic!("it is there")
        };
        assert_eq!(found.place, place(&folder.join("keys/key")));
        assert_eq!(found.path, folder.join("keys/key").as_os_str().as_bytes());
        assert_eq!(found.folder, Some(place(&folder)));
    }

    #[test]
    fn what_is_not_there_has_its_folder_and_a_fifo_does_not_hang() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().canonicalize().expect("a path");
        let absent = folder.join("absent");
        let expected = Answer::Nothing { folder: place(&folder), path: absent.as_os_str().as_bytes().to_vec() };
        assert_eq!(Follower::default().follow(&mine(&absent)), expected);
        assert_eq!(Follower::default().follow(&mine(&absent.join("deeper"))), Answer::Elsewhere);

        let fifo = folder.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        let Answer::There(found) = Follower::default().follow(&mine(&fifo)) else { panic!("it is there") };
        assert_eq!(found.place, place(&fifo));
    }

    #[test]
    fn a_process_that_is_gone_is_followed_in_its_namespace_or_not_at_all() {
        let file = std::env::current_exe().expect("a path");
        let mut gone = mine(&file);
        gone.start_ns += 10_000_000;
        assert!(matches!(Follower::default().follow(&gone), Answer::There(_)), "the namespace is the watcher's");
        gone.mnt_ns = 1;
        assert_eq!(Follower::default().follow(&gone), Answer::Undecided);
        // A forebear that lives in that namespace leads there; this one lives in another.
        gone.forebears = vec![(std::process::id(), mine(&file).start_ns)];
        assert_eq!(Follower::default().follow(&gone), Answer::Undecided);
        gone.mnt_ns = mount_namespace("self").expect("a namespace");
        assert!(matches!(Follower::default().follow(&gone), Answer::There(_)));
    }

    #[test]
    fn links_of_proc_are_those_of_the_process_that_asked() {
        let mut other = mine(Path::new("/"));
        (other.pid, other.inner_pid) = (7, 7);
        let magic = |path: &str| magic(path.as_bytes(), &other);
        assert_eq!(magic("/proc/self/root/etc/key"), Magic::Root(7, b"/etc/key".to_vec()));
        assert_eq!(magic("/proc/thread-self/../self/root"), Magic::No);
        assert_eq!(magic("//proc/./9/root//etc/key"), Magic::Root(9, b"/etc/key".to_vec()));
        assert_eq!(magic("/proc/9/task/11/root/etc/key"), Magic::Root(9, b"/etc/key".to_vec()));
        assert_eq!(magic("/dev/fd/3"), Magic::Link(b"/proc/7/fd/3".to_vec()));
        assert_eq!(magic("/proc/self/cwd/key"), Magic::Link(b"/proc/7/cwd/key".to_vec()));
        assert_eq!(magic("/proc/self/status"), Magic::No);
        assert_eq!(magic("/srv/proc/self/root"), Magic::No);
    }

    #[test]
    fn a_rest_is_below_whole_folders_only() {
        assert_eq!(below(b"/srv/jail/etc", b"/srv/jail"), Some(b"/etc".as_slice()));
        assert_eq!(below(b"/srv/jailed", b"/srv/jail"), None);
        assert_eq!(below(b"/etc", b"/"), Some(b"/etc".as_slice()));
        assert_eq!(joined(b"/", b"/etc/key"), b"/etc/key");
        assert_eq!(joined(b"/srv", b"a/b"), b"/srv/a/b");
        assert_eq!(joined(b"/srv/key", b""), b"/srv/key");
    }
}
