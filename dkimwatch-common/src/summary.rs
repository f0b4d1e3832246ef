//! Expected opens that are counted in the kernel and told in sum.
//!
//! The kernel side keeps of each signer's process what it was when it last told of an open in full (its *guise*), and gives
//! that a number, which stands in the record. The judge judges the record; where it was expected, userspace makes an
//! entry for the key, the process and that number. From then on an open of that key, by that process, in that very guise,
//! is counted there. Whatever changes the guise gives it another number, of which nothing was judged yet.

use crate::{
    identity::FileId,
    record::{Creds, Namespaces},
    watch::Tag,
};

/// What the judge's verdict about a process hangs on, as the kernel side finds it at an open: the value of a map by
/// `tgid`. Two are the same process in the same state if all is equal but [`Guise::number`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Guise {
    /// Its number: nanoseconds since boot and the CPU that found it. No two guises have the same one. It stands first: see
    /// the kernel side, which reads it last.
    pub number: u64,
    /// `task->start_boottime` of the process, nanoseconds: a reused pid is another process.
    pub start: u64,
    /// `task->self_exec_id`, 0 on a kernel without one.
    pub exec: u64,
    /// [`crate::exec::ExecImage::executed`].
    pub executed: u64,
    /// `kernfs_node->id` of the control group, as [`crate::record::RawRecord::cgroup_id`] has it.
    pub cgroup: u64,
    /// A hash of the control group's names, where they can be changed (hierarchies of version 1).
    pub cgroup_names: u64,
    /// A hash of where `mm->exe_file` is called by which names.
    pub place: u64,
    /// The policy that judged it: [`switch::POLICY`].
    pub policy: u64,
    /// Code that signers had mapped by then: [`switch::CODE`].
    pub code: u64,
    /// `mm->exe_file`, which a process can change.
    pub claimed: FileId,
    /// Of the thread (`task->real_cred`).
    pub creds: Creds,
    /// Of the thread.
    pub namespaces: Namespaces,
    /// [`crate::exec::mark`].
    pub marks: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Guise>() == 168);

/// Whose opens of what are counted: the key of the map of summaries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SummaryKey {
    /// The file.
    pub file: FileId,
    /// [`Guise::number`].
    pub guise: u64,
    /// The process (`task->tgid`, initial pid namespace).
    pub tgid: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<SummaryKey>() == 32);

/// Opens that were counted. Written by userspace once, and by the kernel side from then on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many, since the entry was made. It stands first, and is read before the times: what was counted is between them.
    pub count: u64,
    /// The first one since `span` began, nanoseconds since boot.
    pub first: u64,
    /// The last one, nanoseconds since boot.
    pub last: u64,
    /// The span ([`switch::SPAN`]) that `first` is of.
    pub span: u64,
    /// The watch list's entry of the file that was judged.
    pub tag: Tag,
    /// One of [`crate::watch::file_watch`].
    pub kind: u32,
    /// Of the file that was judged ([`crate::watch::FileWatch::generation`]).
    pub generation: u32,
    /// Explicit padding, always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Summary>() == 48);

/// Entries of the map by which summaries are switched.
pub mod switch {
    /// Not zero: expected opens are counted. Zero, as it begins: each is told, and nothing is kept of anybody.
    pub const ON: u32 = 0;
    /// The number of the policy: another one, and whoever was expected is judged anew. Userspace's.
    pub const POLICY: u32 = 1;
    /// Grows whenever a signer maps code that is not known to be the system's: then all of them are judged anew, as what
    /// was mapped is known by what all processes of a program share. The kernel side's.
    pub const CODE: u32 = 2;
    /// The number of the span of time that is being summed up. Userspace's.
    pub const SPAN: u32 = 3;
}
