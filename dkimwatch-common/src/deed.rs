//! What was done, finer than the kind of a record.

/// A deed. Which kind of record it belongs to follows from it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// The kind of the record says everything.
    None = 0,

    /// Data was read through a descriptor.
    Read = 1,
    /// Data was written through a descriptor.
    Write = 2,
    /// Data was mapped, or reached by a page fault.
    Map = 3,

    /// A name was removed (`unlink(2)`).
    Unlink = 10,
    /// The name was given up: the file was renamed.
    Rename = 11,
    /// Another file was renamed over this one's name.
    Replace = 12,
    /// The file changed places with another (`RENAME_EXCHANGE`).
    Exchange = 13,
    /// A further name was made (`link(2)`).
    Link = 14,
    /// The mode changed.
    Mode = 15,
    /// Owner or group changed.
    Owner = 16,
    /// The size was set (`truncate(2)`, `ftruncate(2)`).
    Size = 17,
    /// Time stamps were set.
    Times = 18,
    /// An extended attribute was set or removed.
    Xattr = 19,
    /// An access control list was set or removed.
    Acl = 20,
    /// Inode flags (immutable, append-only) changed.
    Flags = 21,
    /// Something was mounted over it.
    Mount = 22,
    /// A mount that it lies on was taken away.
    Unmount = 23,
    /// The inode changed, and this backend cannot say how.
    Changed = 24,
    /// Another file was given a key's name, which no file had, or a name in a watched folder (`rename(2)`, `link(2)`).
    Place = 25,

    /// A block device.
    BlockDevice = 40,
    /// Physical or kernel memory: `/dev/mem`, `/proc/kcore`.
    MemoryDevice = 41,

    /// The right to reach a process's memory was asked for and given: ptrace(2), `/proc/PID/mem`,
    /// `process_vm_readv(2)`, `pidfd_getfd(2)`, where it is not known which.
    Attach = 50,
    /// `ptrace(2)`.
    Ptrace = 51,
    /// `/proc/PID/mem`.
    ProcMem = 52,
    /// `process_vm_readv(2)`, `process_vm_writev(2)`.
    VmRead = 53,
    /// `pidfd_getfd(2)`.
    TakeDescriptor = 54,
    /// A signal was sent that makes the process dump its memory.
    CoreSignal = 55,
    /// The process dumped its memory (core(5)).
    CoreDump = 56,

    /// A signal was sent that ends or stops the watcher.
    Signal = 60,
    /// An entry of a map of the watcher's was written or deleted (bpf(2)).
    MapChange = 61,
    /// A map of the watcher's was frozen: it can no longer be written.
    MapFreeze = 62,
    /// A map of the watcher's was mapped to be written: whoever has a ring so can take records from it.
    MapMapped = 63,
    /// A link of the watcher's was detached, or somebody tried to.
    LinkDetach = 64,
    /// A link of the watcher's was given another program, or somebody tried to.
    LinkUpdate = 65,
    /// A program of the watcher's was run by hand (`BPF_PROG_TEST_RUN`).
    ProgramRun = 66,
}

/// All deeds, in order.
pub const DEEDS: [Deed; 36] = [
    Deed::None,
    Deed::Read,
    Deed::Write,
    Deed::Map,
    Deed::Unlink,
    Deed::Rename,
    Deed::Replace,
    Deed::Exchange,
    Deed::Link,
    Deed::Mode,
    Deed::Owner,
    Deed::Size,
    Deed::Times,
    Deed::Xattr,
    Deed::Acl,
    Deed::Flags,
    Deed::Mount,
    Deed::Unmount,
    Deed::Changed,
    Deed::Place,
    Deed::BlockDevice,
    Deed::MemoryDevice,
    Deed::Attach,
    Deed::Ptrace,
    Deed::ProcMem,
    Deed::VmRead,
    Deed::TakeDescriptor,
    Deed::CoreSignal,
    Deed::CoreDump,
    Deed::Signal,
    Deed::MapChange,
    Deed::MapFreeze,
    Deed::MapMapped,
    Deed::LinkDetach,
    Deed::LinkUpdate,
    Deed::ProgramRun,
];

impl Deed {
    /// The word in events (`dkimwatch.deed`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Map => "map",
            Self::Unlink => "unlink",
            Self::Rename => "rename",
            Self::Replace => "replace",
            Self::Exchange => "exchange",
            Self::Link => "link",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::Times => "times",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Flags => "flags",
            Self::Mount => "mount",
            Self::Unmount => "unmount",
            Self::Changed => "changed",
            Self::Place => "place",
            Self::BlockDevice => "block-device",
            Self::MemoryDevice => "memory-device",
            Self::Attach => "attach",
            Self::Ptrace => "ptrace",
            Self::ProcMem => "proc-mem",
            Self::VmRead => "process-vm",
            Self::TakeDescriptor => "pidfd-getfd",
            Self::CoreSignal => "core-signal",
            Self::CoreDump => "core-dump",
            Self::Signal => "signal",
            Self::MapChange => "map-change",
            Self::MapFreeze => "map-freeze",
            Self::MapMapped => "map-mapped",
            Self::LinkDetach => "link-detach",
            Self::LinkUpdate => "link-update",
            Self::ProgramRun => "program-run",
        }
    }

    /// Whether [`second`](crate::record::RawExtended::second) is a path in components, not a text.
    #[must_use]
    pub const fn second_is_path(self) -> bool {
        matches!(
            self,
            Self::Rename | Self::Replace | Self::Exchange | Self::Link | Self::Place | Self::Mount | Self::Unmount
        )
    }
}

impl TryFrom<u32> for Deed {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        DEEDS.into_iter().find(|deed| *deed as u32 == value).ok_or(value)
    }
}
