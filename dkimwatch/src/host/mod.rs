//! The host as configuration and key discovery see it: files below a root folder, users, running processes, and the
//! signers' own tools.
//!
//! Everything is bounded: a file is read only if it is a regular one and not too long, a listing and a command line are
//! cut at a limit, a tool has a deadline. Nothing here follows what it reads.

mod tools;

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::fd::AsRawFd as _,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

pub use tools::{Installed, RunAs, ToolError, Tools};

/// Longest configuration file that is read, in bytes; real ones have some kilobytes.
pub const LONGEST_CONF: u64 = 1 << 20;
/// Longest table that is read, in bytes. A KeyTable of 50,000 domains is about 5 MB.
pub const LONGEST_TABLE: u64 = 16 << 20;
/// Most entries of one folder that are looked at.
pub const MOST_ENTRIES: usize = 65_536;
/// Longest command line that is read, in bytes (`/proc/PID/cmdline`).
const LONGEST_CMDLINE: u64 = 64 << 10;

/// A host: this one, or a root folder that stands for one.
pub struct Host {
    root: PathBuf,
    tools: Option<Box<dyn Tools>>,
    /// Files are read only where no link is on the way.
    no_links: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("root", &self.root).field("tools", &self.tools.is_some()).finish()
    }
}

/// What stands at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Something that holds no key: a FIFO, a socket, a device; with the word for it.
    Other(&'static str),
    /// Nothing.
    Missing,
    /// It could not be asked; the error says why (for instance `EACCES` without root).
    Unknown(io::ErrorKind),
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such file.
    #[error("does not exist")]
    Missing,
    /// A folder, FIFO, socket or device stands there.
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    /// Longer than the limit, in bytes.
    #[error("is longer than {0} bytes")]
    TooLong(u64),
    /// Its name says that it is a private key, and key contents are never read.
    #[error("is named like a private key, and keys are never read")]
    NamedLikeKey,
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line, word by word.
    pub args: Vec<Vec<u8>>,
}

/// The processes that run a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Those that see this host's files.
    pub here: Vec<Process>,
    /// Those with another root (a container, a chroot): the paths they were given are not this host's.
    pub elsewhere: Vec<u32>,
}

impl Host {
    /// This host, with its tools.
    #[must_use]
    pub fn here() -> Self {
        Self { root: PathBuf::from("/"), tools: Some(Box::new(Installed)), no_links: false }
    }

    /// The host whose files lie below `root`; it has no tools. Absolute symbolic links in it lead out of it.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), tools: None, no_links: false }
    }

    /// The same host, without tools, for files that an ordinary user has written: none is read that a link leads to.
    #[must_use]
    pub fn without_links(&self) -> Self {
        Self { root: self.root.clone(), tools: None, no_links: true }
    }

    /// The same host with other tools.
    #[must_use]
    pub fn with_tools(self, tools: impl Tools + 'static) -> Self {
        Self { tools: Some(Box::new(tools)), ..self }
    }

    /// Where a path of this host lies for us.
    #[must_use]
    pub fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Reads a configuration file or table of at most `limit` bytes.
    ///
    /// # Errors
    /// Whatever is not a readable regular file of bounded length, or is [named like a key](named_like_key).
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
        if named_like_key(path) {
            return Err(ReadError::NamedLikeKey);
        }
        if self.no_links {
            return read_without_links(&self.inside(path), limit);
        }
        read_regular(&self.inside(path), limit)
    }

    /// The first `bytes` bytes of a regular file, for a script's first line; `None` where there is no such file.
    #[must_use]
    pub fn head(&self, path: &Path, bytes: u64) -> Option<Vec<u8>> {
        let file = open_regular(&self.inside(path)).ok()?;
        let mut head = Vec::new();
        file.take(bytes).read_to_end(&mut head).ok()?;
        Some(head)
    }

    /// What stands at `path`. Asks for its attributes only; opens nothing.
    #[must_use]
    pub fn presence(&self, path: &Path) -> Presence {
        match fs::metadata(self.inside(path)) {
            Ok(metadata) => match kind(metadata.file_type()) {
                None if metadata.is_dir() => Presence::Folder,
                None => Presence::File,
                Some(word) => Presence::Other(word),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Presence::Missing,
                kind => Presence::Unknown(kind),
            },
        }
    }

    /// True for a folder that is not reached through a link.
    #[must_use]
    pub fn is_own_folder(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.inside(path)).is_ok_and(|metadata| metadata.is_dir())
    }

    /// The names in a folder, sorted; none where it cannot be listed, the first [`MOST_ENTRIES`] where it is larger.
    #[must_use]
    pub fn names(&self, folder: &Path) -> Vec<OsString> {
        let Ok(listing) = fs::read_dir(self.inside(folder)) else { return Vec::new() };
        let mut names: Vec<_> = listing.flatten().take(MOST_ENTRIES).map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        names
    }

    /// True if a folder's names can be read.
    #[must_use]
    pub fn can_list(&self, folder: &Path) -> bool {
        fs::read_dir(self.inside(folder)).is_ok()
    }

    /// `path` with every link resolved; `None` where it does not exist or leaves the root.
    #[must_use]
    pub fn resolved(&self, path: &Path) -> Option<PathBuf> {
        let root = self.root.canonicalize().ok()?;
        let real = self.inside(path).canonicalize().ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }

    /// The users of `/etc/passwd`, by name. Other sources of users (NSS) are not asked: they may wait for a network.
    #[must_use]
    pub fn users(&self) -> HashMap<String, RunAs> {
        let Ok(passwd) = read_regular(&self.inside(Path::new("/etc/passwd")), LONGEST_TABLE) else {
            return HashMap::new();
        };
        passwd
            .split(|&byte| byte == b'\n')
            .filter_map(|line| {
                let mut fields = line.split(|&byte| byte == b':').map(|field| std::str::from_utf8(field).ok());
                let (name, uid, gid) = (fields.next()??, fields.nth(1)??, fields.next()??);
                Some((name.to_owned(), RunAs { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
            })
            .collect()
    }

    /// The processes that run `executable` as root or as one of `users`.
    ///
    /// Anybody can start a signer's program with arguments of their own, so other users' processes are not asked; nor is
    /// a command line read before the executable is known, since reading a hostile process's memory can block.
    #[must_use]
    pub fn processes(&self, executable: &Path, users: &[&str]) -> Running {
        let known = self.users();
        let uids: Vec<u32> = users.iter().filter_map(|user| known.get(*user)).map(|user| user.uid).collect();
        let resolved = self.resolved(executable);
        let root = fs::metadata(&self.root).map(|root| (root.dev(), root.ino())).ok();
        let mut running = Running::default();
        for name in self.names(Path::new("/proc")) {
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let folder = Path::new("/proc").join(&name);
            let Ok(metadata) = fs::metadata(self.inside(&folder)) else { continue };
            if metadata.uid() != 0 && !uids.contains(&metadata.uid()) {
                continue;
            }
            let Ok(exe) = fs::read_link(self.inside(&folder.join("exe"))) else { continue };
            // An upgrade leaves the running process with the old file.
            let exe = exe.as_os_str().as_bytes();
            let exe = path_of(exe.strip_suffix(b" (deleted)").unwrap_or(exe));
            if exe != executable && resolved.as_ref() != Some(&exe) {
                continue;
            }
            let its_root = fs::metadata(self.inside(&folder.join("root"))).map(|root| (root.dev(), root.ino())).ok();
            if its_root.is_none() || its_root != root {
                running.elsewhere.push(pid);
                continue;
            }
            let Ok(file) = File::open(self.inside(&folder.join("cmdline"))) else { continue };
            let mut cmdline = Vec::new();
            if file.take(LONGEST_CMDLINE).read_to_end(&mut cmdline).is_err() {
                continue;
            }
            let args = cmdline.strip_suffix(b"\0").unwrap_or(&cmdline).split(|&byte| byte == 0);
            running.here.push(Process { pid, args: args.map(<[u8]>::to_vec).collect() });
        }
        running
    }

    /// Runs a signer's own tool and returns what it printed; `None` where the tool is not installed.
    ///
    /// # Errors
    /// The tool is not safe to run, failed, printed too much, or did not end in time.
    pub fn ask(&self, program: &Path, args: &[&str], user: Option<&str>) -> Option<Result<Vec<u8>, ToolError>> {
        let tools = self.tools.as_ref()?;
        if self.presence(program) != Presence::File {
            return None;
        }
        let user = user.and_then(|user| self.users().get(user).copied());
        Some(tools.run(program, args, user))
    }
}

/// Names that say "private key": such a file is never opened by discovery, whatever names it as a configuration file.
#[must_use]
pub fn named_like_key(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.as_bytes().to_ascii_lowercase()) else { return false };
    let private = [&b".private"[..], b".private.txt", b".key", b".privatekey", b".pem", b".seed"];
    let public = [&b".pub.pem"[..], b".public.pem", b".pub.key", b".public.key"];
    name == b"private"
        || (private.iter().any(|end| name.ends_with(end))
            && !public.iter().any(|end| name.ends_with(end))
            && !name.starts_with(b"public."))
}

/// Bytes as a path.
#[must_use]
pub fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// The word for what is neither a regular file nor a folder.
fn kind(file_type: fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    if file_type.is_fifo() {
        Some("a FIFO")
    } else if file_type.is_socket() {
        Some("a socket")
    } else if file_type.is_block_device() || file_type.is_char_device() {
        Some("a device")
    } else {
        None
    }
}

/// Opens a regular file for reading. Looked at before the open, so that a device or FIFO is not touched, and again
/// after it, as it may have been replaced; `O_NONBLOCK` keeps even that race from blocking.
pub(crate) fn open_regular(path: &Path) -> Result<File, ReadError> {
    let check = |metadata: &fs::Metadata| match kind(metadata.file_type()) {
        Some(word) => Err(ReadError::NotRegular(word)),
        None if metadata.is_dir() => Err(ReadError::NotRegular("a folder")),
        None => Ok(()),
    };
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing,
        _ => ReadError::Io(error),
    };
    check(&fs::metadata(path).map_err(missing)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| missing(error.into()))?);
    check(&file.metadata()?)?;
    Ok(file)
}

/// The same, where no symbolic link leads to it.
fn read_without_links(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let found = found.map_err(|error| match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => ReadError::Missing,
        error => ReadError::Io(error.into()),
    })?;
    // What was looked at is what is read.
    read_regular(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())), limit)
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLong(limit)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_fifo_a_folder_and_a_giant_are_refused_without_waiting() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(host.read(Path::new("/fifo"), LONGEST_TABLE), Err(ReadError::NotRegular("a FIFO"))));
        assert!(matches!(host.read(Path::new("/"), LONGEST_TABLE), Err(ReadError::NotRegular("a folder"))));
        File::create(root.path().join("giant")).unwrap().set_len(100 << 20).unwrap();
        assert!(matches!(host.read(Path::new("/giant"), LONGEST_TABLE), Err(ReadError::TooLong(LONGEST_TABLE))));
        assert!(matches!(host.read(Path::new("/none"), LONGEST_TABLE), Err(ReadError::Missing)));
        assert!(matches!(host.read(Path::new("/giant/x"), LONGEST_TABLE), Err(ReadError::Missing)));
    }

    #[test]
    fn a_file_named_like_a_key_is_never_opened() {
        for name in ["mail.private", "example.org.dkim.key", "d.pem", "rsa-2048-mail-d.private.txt", "private", "A.PEM"]
        {
            assert!(named_like_key(Path::new(name)), "{name}");
        }
        for name in ["KeyTable", "key.table", "mail.txt", "public.pem", "mail.pub.pem", "README.PrivateKeys"] {
            assert!(!named_like_key(Path::new(name)), "{name}");
        }
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.private"), "x").unwrap();
        assert!(matches!(
            Host::at(root.path()).read(Path::new("/a.private"), LONGEST_CONF),
            Err(ReadError::NamedLikeKey)
        ));
    }

    #[test]
    fn only_the_signers_own_processes_are_asked() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::write(root.path().join("usr/sbin/opendkim"), "").unwrap();
        // Whoever runs this test owns the folders below; that user is the signer here.
        let me = rustix::process::geteuid().as_raw();
        fs::write(root.path().join("etc/passwd"), format!("opendkim:x:{me}:7::/:/bin/false\nbroken\n")).unwrap();
        let (here, there) = (root.path(), root.path().join("etc"));
        for (pid, exe, its_root, cmdline) in [
            ("7", "/usr/sbin/opendkim (deleted)", here, &b"opendkim\0-x\0/srv/\xff.conf\0"[..]),
            ("8", "/bin/cat", here, b"opendkim\0-x\0/evil\0"),
            ("9", "/usr/sbin/opendkim", &there, b"opendkim\0-x\0/in/its/root\0"),
        ] {
            let folder = root.path().join("proc").join(pid);
            fs::create_dir_all(&folder).unwrap();
            symlink(exe, folder.join("exe")).unwrap();
            symlink(its_root, folder.join("root")).unwrap();
            fs::write(folder.join("cmdline"), cmdline).unwrap();
        }
        let host = Host::at(root.path());
        let args = [&b"opendkim"[..], b"-x", b"/srv/\xff.conf"].map(<[u8]>::to_vec).to_vec();
        assert_eq!(
            host.processes(Path::new("/usr/sbin/opendkim"), &["opendkim"]),
            Running { here: vec![Process { pid: 7, args }], elsewhere: vec![9] },
            "/bin/cat calls itself opendkim and is not asked"
        );
        if me != 0 {
            assert_eq!(host.processes(Path::new("/usr/sbin/opendkim"), &[]), Running::default());
        }
        assert_eq!(host.users().get("opendkim"), Some(&RunAs { uid: me, gid: 7 }));
    }
}
