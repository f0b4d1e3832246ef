//! Begin a draft → what the hook knows → who it was → submit.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Header, Kind, RawAncestor, RawChange, RawExtended, RawRecord, VERSION, Via, fact, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, file_watch},
};

use crate::{
    draft::{self, Draft, Ring},
    maps::SETTINGS,
    memory::{Memory, Probed, Ptr, copy, offset, pointer, u32_at, u64_at},
    subject::{self, Subject},
    watch::{self, Found},
};

/// What a hook knows about the access itself.
pub struct Access {
    /// What happened.
    pub kind: Kind,
    /// What was done, where the kind does not say everything.
    pub deed: Deed,
    /// The hook.
    pub hook: Hook,
    /// [`Via`] as a number.
    pub via: u32,
    /// The name by which the file was reached.
    pub name: Name,
    /// Zero or a negative errno, where the hook knows it.
    pub outcome: Option<i32>,
}

/// By which name a file was reached.
#[derive(Clone, Copy)]
pub enum Name {
    /// The hook has none.
    None,
    /// `struct file *`: its path, flags and mode; null where it is not known.
    File(Ptr),
    /// A name (null: none) and the `struct dentry *` of the folder that it is in: the path in the file system.
    Below(Ptr, Ptr),
    /// `struct dentry *` and `struct vfsmount *`.
    Path(Ptr, Ptr),
}

/// The backend that is live, for programs that several backends share.
#[inline(always)]
pub fn shared_via() -> u32 {
    SETTINGS.get(limits::SETTING_VIA).copied().unwrap_or(0)
}

/// Records an open of a watched file, by a process of this guise.
#[inline(always)]
pub fn access(access: &Access, found: &Found, guise: u64) -> Exit {
    let subject = Subject::current();
    let len = size_of::<RawRecord>();
    recorded(Ring::of(&subject), len, access, found, &subject, |record| {
        // SAFETY: the draft is this thread's alone until it is submitted.
        unsafe { (*record).record.guise = guise };
    })
}

/// Records something that needs more than an open's record: `more` fills the rest of it, whose facts are not known yet.
#[inline(always)]
pub fn extended(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    extended_by(Subject::current(), access, found, more)
}

/// As [`extended`], by a subject that is known already.
#[inline(always)]
pub fn extended_by(subject: Subject, access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    recorded(Ring::of(&subject), size_of::<RawExtended>(), access, found, &subject, more)
}

/// Records a deed: one that was done as [`extended`] does, one that was refused as [`attempt`].
#[inline(always)]
pub fn deed(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    match access.outcome {
        Some(outcome) if outcome < 0 => attempt(access, found, more),
        _ => extended(access, found, more),
    }
}

/// As [`extended`], through the ring for attempts, which anybody can make as many of as he likes.
#[inline(always)]
pub fn attempt(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    recorded(Ring::Attempts, size_of::<RawExtended>(), access, found, &Subject::current(), more)
}

#[inline(always)]
fn recorded(
    ring: Ring,
    len: usize,
    access: &Access,
    found: &Found,
    subject: &Subject,
    more: impl FnOnce(*mut RawExtended),
) -> Exit {
    let Some(draft) = drafted(ring, len, access, found) else { return Exit::RingFull };
    // SAFETY: see `drafted`.
    unsafe { named(&raw mut (*draft.record).record, access.name) };
    more(draft.record);
    draft.submit(subject, ring)
}

/// Begins a draft with what the hook knows, but the name of the file.
#[inline(always)]
pub fn drafted(ring: Ring, len: usize, access: &Access, found: &Found) -> Option<Draft> {
    let draft = Draft::begin(ring)?;
    // SAFETY: the draft is this thread's alone until it is submitted.
    unsafe {
        let record = &raw mut (*draft.record).record;
        (*record).header = Header { version: VERSION, kind: access.kind as u16, len: len as u32 };
        (*record).boot_ns = bpf_ktime_get_boot_ns();
        (*record).cpu = bpf_get_smp_processor_id();
        (*record).hook = access.hook as u16;
        (*record).via = access.via as u16;
        (*record).deed = access.deed as u32;
        if let Some(outcome) = access.outcome {
            (*record).outcome = outcome;
            (*record).known = fact::OUTCOME;
        }
        file(record, found);
    }
    Some(draft)
}

/// What a hook without a watched file reports about: nothing that is watched.
#[inline(always)]
pub const fn no_file() -> Found {
    Found {
        inode: core::ptr::null(),
        file: FileId::new(0, 0),
        dir: FileId::new(0, 0),
        watch: FileWatch { tag: u32::MAX, kind: file_watch::NONE, generation: 0, pad: 0 },
    }
}

#[inline(always)]
unsafe fn file(record: *mut RawRecord, found: &Found) {
    let inode = found.inode;
    // SAFETY: see `drafted`.
    unsafe {
        (*record).file = found.file;
        (*record).dir = found.dir;
        (*record).watch_generation = found.watch.generation;
        (*record).watch_kind = found.watch.kind;
        (*record).watch_tag = found.watch.tag;
        // Zeroes where there is no inode.
        (*record).file_generation = watch::generation(inode);
        (*record).file_mode = u32::from(Probed::read::<u16>(inode, offset!(inode_i_mode)));
        (*record).file_uid = u32_at(inode, offset!(inode_i_uid));
        (*record).file_gid = u32_at(inode, offset!(inode_i_gid));
        (*record).file_nlink = u32_at(inode, offset!(inode_i_nlink));
    }
}

/// Fills the name by which the file was reached.
///
/// # Safety
/// `record` is the draft of this thread.
#[inline(always)]
pub unsafe fn named(record: *mut RawRecord, name: Name) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let (dentry, mnt, below) = match name {
            Name::None => return,
            // A hook on data that did not find the descriptor.
            Name::File(file) if file.is_null() => return,
            Name::File(file) => {
                (*record).open_flags = u32_at(file, offset!(file_f_flags));
                (*record).open_mode = u32_at(file, offset!(file_f_mode));
                (*record).known |= fact::OPEN_FLAGS;
                (pointer(file, offset!(file_dentry)), pointer(file, offset!(file_mnt)), core::ptr::null())
            }
            Name::Below(name, folder) => {
                (*record).marks |= mark::PATH_IN_FS;
                (folder, core::ptr::null(), name)
            }
            Name::Path(dentry, mnt) => (dentry, mnt, core::ptr::null()),
        };
        let walked = draft::path(dentry, mnt, below, offset_of!(RawRecord, path));
        (*record).path_len = walked.len;
        if walked.cut {
            (*record).marks |= mark::PATH_CUT;
        }
        if walked.unlinked {
            (*record).marks |= mark::UNLINKED;
        }
        (*record).known |= fact::PATH;
    }
}

/// Fills the other process of an extended record from a task.
///
/// # Safety
/// `extended` is a draft of this thread's.
#[inline(always)]
pub unsafe fn other_task(extended: *mut RawExtended, task: Ptr) {
    let leader = pointer(task, offset!(task_group_leader));
    // SAFETY: the caller vouches for the record.
    unsafe {
        let other = &raw mut (*extended).other;
        (*other).pid = u32_at(leader, offset!(task_tgid));
        (*other).start = u64_at(leader, offset!(task_start));
        (*other).uid = u32_at(pointer(leader, offset!(task_real_cred)), offset!(cred_uid));
        copy((&raw mut (*other).comm).cast(), limits::COMM as u32, leader.wrapping_add(offset!(task_comm) as usize));
        (*other).exe = subject::executed((*other).pid, (*other).start);
        (*extended).record.known |= fact::OTHER;
    }
}

/// Fills the other process of an extended record from what was kept of it.
///
/// # Safety
/// `extended` is a draft of this thread's.
#[inline(always)]
pub unsafe fn other_kept(extended: *mut RawExtended, other: &RawAncestor) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*extended).other = *other;
        (*extended).record.known |= fact::OTHER;
    }
}

/// Fills what changed.
///
/// # Safety
/// `extended` is a draft of this thread's.
#[inline(always)]
pub unsafe fn change(extended: *mut RawExtended, change: &RawChange) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*extended).change = *change;
        (*extended).record.known |= fact::CHANGE;
    }
}

/// Fills the second text with a path in its file system, see [`Name::Below`].
///
/// # Safety
/// `extended` is a draft of this thread's.
#[inline(always)]
pub unsafe fn second_below(extended: *mut RawExtended, name: Ptr, folder: Ptr) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let walked = draft::path(folder, core::ptr::null(), name, offset_of!(RawExtended, second));
        (*extended).second_len = walked.len;
        if walked.cut {
            (*extended).record.marks |= mark::SECOND_CUT;
        }
        (*extended).record.known |= fact::SECOND;
    }
}

/// A backend's number, for [`Access::via`].
#[inline(always)]
pub const fn via(via: Via) -> u32 {
    via as u32
}
