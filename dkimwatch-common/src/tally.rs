//! Counters that the hooks keep per CPU, so that loss is a number and not a silence.

/// A hook, as counted and as named in a record.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `lsm/file_open`.
    LsmFileOpen = 1,
    /// `fexit/security_file_open`.
    FexitFileOpen = 2,
    /// `sys_exit_*` of the open family.
    SysExitOpen = 3,
    /// `tp_btf/mm_filemap_get_pages`: data read through the page cache.
    FilemapGetPages = 4,
    /// `tp_btf/mm_filemap_map_pages`: data mapped.
    FilemapMapPages = 5,
    /// `tp_btf/mm_filemap_fault`: data faulted in.
    FilemapFault = 6,
    /// `security_d_instantiate`: a name got its inode.
    Instantiate = 7,
    /// `security_inode_rename`.
    Rename = 8,
    /// `tp_btf/sched_process_exec`, `_fork`, `_exit`: the process table.
    Process = 9,
}

/// All hooks, in order.
pub const HOOKS: [Hook; 9] = [
    Hook::LsmFileOpen,
    Hook::FexitFileOpen,
    Hook::SysExitOpen,
    Hook::FilemapGetPages,
    Hook::FilemapMapPages,
    Hook::FilemapFault,
    Hook::Instantiate,
    Hook::Rename,
    Hook::Process,
];

impl Hook {
    /// The program's name as the kernel's own documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LsmFileOpen => "lsm/file_open",
            Self::FexitFileOpen => "fexit/security_file_open",
            Self::SysExitOpen => "tracepoint/sys_exit_open*",
            Self::FilemapGetPages => "tp_btf/mm_filemap_get_pages",
            Self::FilemapMapPages => "tp_btf/mm_filemap_map_pages",
            Self::FilemapFault => "tp_btf/mm_filemap_fault",
            Self::Instantiate => "security_d_instantiate",
            Self::Rename => "security_inode_rename",
            Self::Process => "tp_btf/sched_process_*",
        }
    }
}

impl TryFrom<u16> for Hook {
    type Error = u16;

    fn try_from(value: u16) -> Result<Self, u16> {
        match HOOKS.iter().find(|hook| **hook as u16 == value) {
            Some(hook) => Ok(*hook),
            None => Err(value),
        }
    }
}

/// How a hook ended. An unrelated file is not counted: that exit is the hot path of the whole host, and the kernel
/// counts it itself (`run_cnt`) when `kernel.bpf_stats_enabled` is set.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Not ours, found out on the first look.
    Unrelated = 0,
    /// The filter let it through, the tables did not.
    FilterMiss = 1,
    /// A record was submitted.
    Submitted = 2,
    /// A record was due and the ring was full: a lost access.
    RingFull = 3,
    /// Data access after the process's own open, reported already.
    AlreadySeen = 4,
    /// A file or folder was enrolled.
    Enrolled = 5,
    /// A table was full.
    TableFull = 6,
}

/// Counters per hook; a hook's counters start at `hook as u32 * EXITS`.
pub const EXITS: u32 = 8;
/// Entries of the counter array.
pub const COUNTERS: u32 = 16 * EXITS;
