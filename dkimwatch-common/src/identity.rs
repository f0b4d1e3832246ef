//! What a file is to the kernel: its device and inode, never its path.

/// A file as the kernel holds it: `inode->i_sb->s_dev` and `inode->i_ino`.
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
    /// Explicit padding, always zero: the struct is a map key and is compared byte by byte.
    pub pad: u32,
}

const _: () = assert!(size_of::<FileId>() == 16);

impl FileId {
    /// A file's identity from the kernel's own numbers.
    #[must_use]
    pub const fn new(dev: u32, ino: u64) -> Self {
        Self { ino, dev, pad: 0 }
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
