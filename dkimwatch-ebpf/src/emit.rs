//! Reserve → fill → submit, in place in the ring.

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    maps::RingBuf,
};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Header, Kind, RawAncestor, RawChange, RawExtended, RawRecord, VERSION, Via, fact, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, file_watch},
};

use crate::{
    maps::{ATTEMPT_RING, SEQUENCE, SETTINGS, SIGNER_RING, STRANGER_RING},
    memory::{Memory, Probed, Ptr, copy, forgotten, offset, pointer, u32_at, u64_at},
    path,
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

/// The attempts' counter.
const ATTEMPTS: u32 = 2;

/// The backend that is live, for programs that several backends share.
#[inline(always)]
pub fn shared_via() -> u32 {
    SETTINGS.get(limits::SETTING_VIA).copied().unwrap_or(0)
}

/// Records an open of a watched file. What is kept of it for what follows, another program keeps: see `hooks::open`.
#[inline(always)]
pub fn access(access: &Access, found: &Found) -> Exit {
    let subject = Subject::current();
    let signer = subject.runs_signer();
    let sequence = next_sequence(u32::from(signer));
    // Two reservations rather than one on a chosen ring: the verifier wants to know the map.
    let entry = if signer { SIGNER_RING.reserve::<RawRecord>(0) } else { STRANGER_RING.reserve::<RawRecord>(0) };
    let Some(mut entry) = entry else { return Exit::RingFull };
    let ring = if signer { mark::SIGNER_RING } else { 0 };
    // SAFETY: the record is reserved for us alone until it is submitted.
    unsafe { fill(entry.as_mut_ptr(), access, found, subject, sequence, ring, size_of::<RawRecord>()) };
    entry.submit(0);
    Exit::Submitted
}

/// Records something that needs more than an open's record: `more` fills the rest of it, whose facts are not known yet.
#[inline(always)]
pub fn extended(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    extended_by(Subject::current(), access, found, more)
}

/// As [`extended`], by a subject that is known already.
#[inline(always)]
pub fn extended_by(subject: Subject, access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    let signer = subject.runs_signer();
    let sequence = next_sequence(u32::from(signer));
    let entry = if signer { SIGNER_RING.reserve::<RawExtended>(0) } else { STRANGER_RING.reserve::<RawExtended>(0) };
    let Some(mut entry) = entry else { return Exit::RingFull };
    let ring = if signer { mark::SIGNER_RING } else { 0 };
    // SAFETY: the record is reserved for us alone until it is submitted.
    unsafe { fill_extended(entry.as_mut_ptr(), access, found, subject, sequence, ring, more) };
    entry.submit(0);
    Exit::Submitted
}

/// Records a deed: one that was done as [`extended`] does, one that was refused as [`attempt`].
#[inline(always)]
pub fn deed(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    let subject = Subject::current();
    let (ring, marks) = match access.outcome {
        Some(outcome) if outcome < 0 => (ATTEMPTS, mark::ATTEMPT_RING),
        _ if subject.runs_signer() => (1, mark::SIGNER_RING),
        _ => (0, 0),
    };
    let (ring, marks, sequence, found, subject) = forgotten((ring, marks, next_sequence(ring), *found, subject));
    let entry = if ring == ATTEMPTS {
        ATTEMPT_RING.reserve::<RawExtended>(0)
    } else if ring == 1 {
        SIGNER_RING.reserve::<RawExtended>(0)
    } else {
        STRANGER_RING.reserve::<RawExtended>(0)
    };
    let Some(mut entry) = entry else { return Exit::RingFull };
    // SAFETY: the record is reserved for us alone until it is submitted.
    unsafe { fill_extended(entry.as_mut_ptr(), access, &found, subject, sequence, marks, more) };
    entry.submit(0);
    Exit::Submitted
}

/// As [`extended`], through the ring for attempts, which anybody can make as many of as he likes.
#[inline(always)]
pub fn attempt(access: &Access, found: &Found, more: impl FnOnce(*mut RawExtended)) -> Exit {
    let subject = Subject::current();
    let sequence = next_sequence(ATTEMPTS);
    let ring: &RingBuf = &ATTEMPT_RING;
    let Some(mut entry) = ring.reserve::<RawExtended>(0) else { return Exit::RingFull };
    // SAFETY: the record is reserved for us alone until it is submitted.
    unsafe { fill_extended(entry.as_mut_ptr(), access, found, subject, sequence, mark::ATTEMPT_RING, more) };
    entry.submit(0);
    Exit::Submitted
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
unsafe fn fill_extended(
    extended: *mut RawExtended,
    access: &Access,
    found: &Found,
    subject: Subject,
    sequence: u64,
    ring: u32,
    more: impl FnOnce(*mut RawExtended),
) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        fill(&raw mut (*extended).record, access, found, subject, sequence, ring, size_of::<RawExtended>());
        (*extended).second_len = 0;
        (*extended).device = 0;
    }
    more(extended);
}

#[inline(always)]
unsafe fn fill(
    record: *mut RawRecord,
    access: &Access,
    found: &Found,
    subject: Subject,
    sequence: u64,
    ring: u32,
    len: usize,
) {
    // SAFETY: the caller vouches for the record; each part writes its own fields.
    unsafe {
        (*record).header = Header { version: VERSION, kind: access.kind as u16, len: len as u32 };
        (*record).boot_ns = bpf_ktime_get_boot_ns();
        (*record).sequence = sequence;
        (*record).cpu = bpf_get_smp_processor_id();
        (*record).hook = access.hook as u16;
        (*record).via = access.via as u16;
        (*record).deed = access.deed as u32;
        (*record).known = 0;
        (*record).unreadable = 0;
        (*record).marks = ring;
        (*record).outcome = 0;
        if let Some(outcome) = access.outcome {
            (*record).outcome = outcome;
            (*record).known = fact::OUTCOME;
        }
        clear(record);
        file(record, access.name, found);
        subject::fill(record, subject);
    }
}

/// Old ring bytes are no facts: zero what is not always written.
#[inline(always)]
unsafe fn clear(record: *mut RawRecord) {
    // SAFETY: see `fill`.
    unsafe {
        (*record).open_flags = 0;
        (*record).open_mode = 0;
        (*record).inner_pid = 0;
        (*record).tracer = 0;
        (*record).login_uid = u32::MAX;
        (*record).session = u32::MAX;
        (*record).cgroup_id = 0;
        (*record).claimed = FileId::new(0, 0);
        (*record).ancestor_count = 0;
        (*record).path_len = 0;
        (*record).claimed_path_len = 0;
        (*record).args_len = 0;
        (*record).cgroup_len = 0;
    }
}

#[inline(always)]
unsafe fn file(record: *mut RawRecord, name: Name, found: &Found) {
    let inode = found.inode;
    // SAFETY: see `fill`.
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
        let to = (&raw mut (*record).path).cast();
        let walked = match name {
            Name::None => return,
            // A hook on data that did not find the descriptor.
            Name::File(file) if file.is_null() => return,
            Name::File(file) => {
                (*record).open_flags = u32_at(file, offset!(file_f_flags));
                (*record).open_mode = u32_at(file, offset!(file_f_mode));
                (*record).known |= fact::OPEN_FLAGS;
                path::of_file(file, to)
            }
            Name::Below(name, folder) => {
                (*record).marks |= mark::PATH_IN_FS;
                path::below(name, folder, to)
            }
            Name::Path(dentry, mnt) => path::walk(dentry, mnt, to),
        };
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
/// `extended` points to a record reserved in the ring.
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
/// `extended` points to a record reserved in the ring.
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
/// `extended` points to a record reserved in the ring.
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
/// `extended` points to a record reserved in the ring.
#[inline(always)]
pub unsafe fn second_below(extended: *mut RawExtended, name: Ptr, folder: Ptr) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let walked = path::below(name, folder, (&raw mut (*extended).second).cast());
        (*extended).second_len = walked.len;
        if walked.cut {
            (*extended).record.marks |= mark::SECOND_CUT;
        }
        (*extended).record.known |= fact::SECOND;
    }
}

/// Counts a ring's records.
#[inline(always)]
fn next_sequence(ring: u32) -> u64 {
    match SEQUENCE.get_ptr_mut(ring) {
        // SAFETY: the slot is this CPU's own.
        Some(sequence) => unsafe {
            *sequence += 1;
            *sequence
        },
        None => 0,
    }
}

/// A backend's number, for [`Access::via`].
#[inline(always)]
pub const fn via(via: Via) -> u32 {
    via as u32
}
