//! What a file is to the kernel: its device and inode, never its path.

/// A file as the kernel holds it: `inode->i_sb->s_dev` and `inode->i_ino`.
///
/// On btrfs each subvolume numbers its inodes anew, from the same number on, and all of them are one `super_block`. There the
/// generation, which is the transaction that made the file, is part of the identity. A snapshot keeps both numbers: the
/// key in it is the key.
///
/// The device is the kernel's own encoding (`major << 20 | minor`, `include/linux/kdev_t.h`), which differs from the one
/// `stat(2)` reports; on btrfs it is another number altogether. Userspace therefore never computes one from a `stat`: it
/// asks the kernel through the `identify` iterator.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// `inode->i_ino`.
    pub ino: u64,
    /// `super_block->s_dev`, the kernel's encoding.
    pub dev: u32,
    /// `inode->i_generation` on btrfs, zero elsewhere: the struct is a map key and is compared byte by byte.
    pub birth: u32,
}

const _: () = assert!(size_of::<FileId>() == 16);

impl FileId {
    /// A file's identity from the kernel's own numbers, where they are unique in the file system.
    #[must_use]
    pub const fn new(dev: u32, ino: u64) -> Self {
        Self { ino, dev, birth: 0 }
    }

    /// The device's major number (`MAJOR()`, `include/linux/kdev_t.h`).
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.dev >> 20
    }

    /// The device's minor number (`MINOR()`, `include/linux/kdev_t.h`).
    #[must_use]
    pub const fn minor(&self) -> u32 {
        self.dev & 0xf_ffff
    }
}

/// The kernel's answer about one of the watcher's own descriptors (`iter/task_file`). The descriptor is opened with
/// `O_PATH`, so that asking never opens the file itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Identified {
    /// The file.
    pub file: FileId,
    /// `inode->i_ctime`, whole seconds.
    pub ctime: u64,
    /// The descriptor.
    pub fd: u32,
    /// `inode->i_mode`.
    pub mode: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
    /// `inode->i_generation`.
    pub generation: u32,
}

const _: () = assert!(size_of::<Identified>() == 48);
