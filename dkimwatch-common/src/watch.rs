//! What is watched: files by identity, folders by identity, and names awaited in a key's parent folder.

use crate::{identity::FileId, record::RawAncestor};

/// A tag names an entry of userspace's watch list; the kernel only hands it back.
pub type Tag = u32;

/// The bit of a tag that names what is the watcher's own (its configuration, its journal, its pins, itself), by an entry of
/// userspace's list of such. Of that only deeds are told, and only those of others.
const OWN: Tag = 1 << 30;

/// The tag of the watcher's process, and of its maps, programs and links.
pub const OWN_PROCESS: Tag = own_tag(0xffff);

/// The tag of the watcher's own entry of this number.
#[must_use]
pub const fn own_tag(entry: u16) -> Tag {
    OWN | entry as Tag
}

/// Whether a tag names what is the watcher's own. [`Tag::MAX`], which names nothing, does not.
#[must_use]
pub const fn is_own(tag: Tag) -> bool {
    tag >> 30 == 1
}

/// The number of the watcher's own entry; none for a tag that names no entry of that list.
#[must_use]
pub const fn own_entry(tag: Tag) -> Option<u16> {
    if is_own(tag) && tag != OWN_PROCESS { Some((tag & 0xffff) as u16) } else { None }
}

/// Which process the watcher is: noted by the kernel side itself, as only that knows its numbers there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Itself {
    /// `start_boottime` of its first thread, nanoseconds.
    pub start: u64,
    /// When its maps, programs and links were noted last, nanoseconds since boot.
    pub noted: u64,
    /// `task->tgid`, initial pid namespace; zero until it is known.
    pub tgid: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Itself>() == 24);

/// The value of a watched file: why it is watched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileWatch {
    /// The watch list's entry.
    pub tag: Tag,
    /// One of [`file_watch`].
    pub kind: u32,
    /// `inode->i_generation` when it was enrolled. A different one at an access means that the inode number was reused,
    /// or that somebody set the generation (`FS_IOC_SETVERSION`) to look like it: userspace decides, the hook reports.
    pub generation: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

/// Why a file is watched.
pub mod file_watch {
    /// Not watched.
    pub const NONE: u32 = 0;
    /// Armed by userspace: the file at a key's path.
    pub const ARMED: u32 = 1;
    /// Enrolled by a hook: it was first seen in a watched folder, or under an awaited name.
    pub const BORN: u32 = 2;
    /// The canary that proves a backend live.
    pub const CANARY: u32 = 3;
    /// Not a key: the file behind a loop device whose file system holds one.
    pub const BACKING: u32 = 4;
    /// The file in a layer below that a key on an overlay has its data in.
    pub const LAYER: u32 = 5;
}

/// What an executable in the table of signers is.
pub mod signer {
    /// The signer's program.
    pub const PROGRAM: u32 = 1;
    /// An interpreter: the signer's program is a script, which is in a table of its own.
    pub const INTERPRETER: u32 = 2;
}

/// The value of a watched folder.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirWatch {
    /// The watch list's entry.
    pub tag: Tag,
    /// One of [`dir_watch`].
    pub kind: u32,
}

/// Why a folder is watched.
pub mod dir_watch {
    /// The folder as a whole: every regular file in it and below, now and later.
    pub const FOLDER: u32 = 1;
    /// A key's parent: only the names awaited in it ([`super::NestName`]).
    pub const NEST: u32 = 2;
}

/// A name awaited in a folder: the key's own, which a rotation by rename gives to another inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NestName {
    /// The folder.
    pub dir: FileId,
    /// [`crate::filter::name_hash`] of the name.
    pub name: u64,
}

const _: () = assert!(size_of::<NestName>() == 24);

/// Who has reached which file's data, and how: the key of the map that keeps data access after an own open, and every
/// later one, from being reported again. A process that executes another program is somebody else from then on, though
/// it keeps its id and its start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenBy {
    /// The file.
    pub file: FileId,
    /// Start of the process, nanoseconds since boot: a reused pid is another process.
    pub start: u64,
    /// `task->self_exec_id`: how often the process and its forebears have executed a program.
    pub exec: u64,
    /// The process (`task->tgid`, initial pid namespace).
    pub tgid: u32,
    /// One of [`seen`].
    pub how: u32,
}

const _: () = assert!(size_of::<SeenBy>() == 40);

/// How data was reached.
pub mod seen {
    /// Read or mapped, or opened for that.
    pub const READ: u32 = 1;
    /// Written, or opened or mapped for that.
    pub const WRITE: u32 = 2;
    /// Not a file's data, but another process's memory.
    pub const MEMORY: u32 = 3;
    /// Not a file's data, but another process's descriptor.
    pub const DESCRIPTOR: u32 = 4;
}

/// Who opened a file: the value of a map from `struct file *`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Opener {
    /// The file: an address is used again for another file's descriptor.
    pub file: FileId,
    /// The process that opened it, as it was then.
    pub process: RawAncestor,
}

const _: () = assert!(size_of::<Opener>() == 64);

/// A process whose memory holds a key: the value of a map by process. It is true of the program that the process executed
/// last only, and is copied with the memory over fork(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The key that it reached last; zeroes where it is only known to run a signer's program.
    pub file: FileId,
    /// Start of the process, nanoseconds since boot: a reused pid is another process.
    pub start: u64,
    /// `task->self_exec_id`.
    pub exec: u64,
    /// The watch list's entry; [`Tag::MAX`] where it is only known to run a signer's program.
    pub tag: Tag,
    /// One of [`file_watch`].
    pub kind: u32,
}

const _: () = assert!(size_of::<Holder>() == 40);

/// A refusal, as far as it must be told apart from others: the key of the map that keeps one that repeats itself from
/// being told each time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// What was refused: the folder that refused, or a hash of the path as asked.
    pub what: u64,
    /// Where or to whom: the folder's device and the mount namespace, or the process's start.
    pub whom: u64,
    /// One of [`refusal`].
    pub kind: u32,
    /// The process (`task->tgid`), or for a refusal that was told the thread (`task->pid`); zero for a folder's.
    pub id: u32,
}

/// Kinds of [`Refusal`].
pub mod refusal {
    /// A folder that is not known to lead to a key refused somebody.
    pub const FOLDER: u32 = 1;
    /// A process was refused a path.
    pub const PATH: u32 = 2;
    /// The hook on the open itself has told this thread's refusal already.
    pub const TOLD: u32 = 3;
    /// A thread changed something, in a way whose end is not seen.
    pub const CHANGE: u32 = 5;
    /// A process was refused another one's memory.
    pub const MEMORY: u32 = 4;
    /// A process did something to the watcher itself.
    pub const ITSELF: u32 = 6;
}

const _: () = assert!(size_of::<Refusal>() == 24);
