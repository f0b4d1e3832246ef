//! Reserve → fill → submit, in place in the ring.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use dkimwatch_common::{
    record::{Header, Kind, RawRecord, VERSION, Via, fact, mark},
    tally::{Exit, Hook},
    watch::{SeenBy, file_watch},
};

use crate::{
    maps::{SEEN, SEQUENCE, SIGNER_RING, STRANGER_RING},
    memory::{Memory, Probed, Ptr, offset, u32_at},
    path,
    subject::{self, Subject},
    watch::Found,
};

/// What a hook knows about the access itself.
pub struct Access {
    /// Opened, or data reached.
    pub kind: Kind,
    /// The hook.
    pub hook: Hook,
    /// The backend.
    pub via: Via,
    /// `struct file *`; null for a hook that has none.
    pub file: Ptr,
    /// Zero or a negative errno, where the hook knows it.
    pub outcome: Option<i32>,
}

/// Records an access to a watched file.
#[inline(always)]
pub fn access(access: &Access, found: &Found) -> Exit {
    let subject = Subject::current();
    let seen = SeenBy { file: found.file, tgid: subject.tgid, pad: 0 };
    if access.kind as u16 == Kind::Data as u16 {
        // SAFETY: a value is only compared.
        if let Some(start) = unsafe { SEEN.get(seen) }
            && *start == subject.start
        {
            return Exit::AlreadySeen;
        }
    }
    if found.watch.kind != file_watch::CANARY {
        // The data that follows this open is no news; a table that lost the entry costs one event too many.
        let _ = SEEN.insert(seen, subject.start, 0);
    }

    let signer = subject.runs_signer();
    let sequence = next_sequence(u32::from(signer));
    // Two reservations rather than one on a chosen ring: the verifier wants to know the map.
    let entry = if signer { SIGNER_RING.reserve::<RawRecord>(0) } else { STRANGER_RING.reserve::<RawRecord>(0) };
    let Some(mut entry) = entry else { return Exit::RingFull };
    let record = entry.as_mut_ptr();
    // SAFETY: the record is reserved for us alone until it is submitted.
    unsafe {
        (*record).header = Header { version: VERSION, kind: access.kind as u16, len: size_of::<RawRecord>() as u32 };
        (*record).boot_ns = bpf_ktime_get_boot_ns();
        (*record).sequence = sequence;
        (*record).cpu = bpf_get_smp_processor_id();
        (*record).hook = access.hook as u16;
        (*record).via = access.via as u16;
        (*record).known = 0;
        (*record).unreadable = 0;
        (*record).marks = if signer { mark::SIGNER_RING } else { 0 };
        (*record).outcome = 0;
        if let Some(outcome) = access.outcome {
            (*record).outcome = outcome;
            (*record).known = fact::OUTCOME;
        }
        clear(record);
        file(record, access.file, found);
        subject::fill(record, subject);
    }
    entry.submit(0);
    Exit::Submitted
}

/// Old ring bytes are no facts: zero what is not always written.
#[inline(always)]
unsafe fn clear(record: *mut RawRecord) {
    // SAFETY: see `access`.
    unsafe {
        (*record).open_flags = 0;
        (*record).open_mode = 0;
        (*record).inner_pid = 0;
        (*record).login_uid = u32::MAX;
        (*record).session = u32::MAX;
        (*record).cgroup_id = 0;
        (*record).claimed = dkimwatch_common::identity::FileId::new(0, 0);
        (*record).ancestor_count = 0;
        (*record).path_len = 0;
        (*record).claimed_path_len = 0;
        (*record).args_len = 0;
        (*record).cgroup_len = 0;
        (*record).pad = 0;
    }
}

#[inline(always)]
unsafe fn file(record: *mut RawRecord, file: Ptr, found: &Found) {
    let inode = found.inode;
    // SAFETY: see `access`.
    unsafe {
        (*record).file = found.file;
        (*record).dir = found.dir;
        (*record).file_generation = crate::watch::generation(inode);
        (*record).watch_generation = found.watch.generation;
        (*record).file_mode = u32::from(Probed::read::<u16>(inode, offset!(inode_i_mode)));
        (*record).file_uid = u32_at(inode, offset!(inode_i_uid));
        (*record).file_gid = u32_at(inode, offset!(inode_i_gid));
        (*record).file_nlink = u32_at(inode, offset!(inode_i_nlink));
        (*record).watch_kind = found.watch.kind;
        (*record).watch_tag = found.watch.tag;
        if file.is_null() {
            return;
        }
        (*record).open_flags = u32_at(file, offset!(file_f_flags));
        (*record).open_mode = u32_at(file, offset!(file_f_mode));
        let walked = path::walk(file, (&raw mut (*record).path).cast());
        (*record).path_len = walked.len;
        if walked.cut {
            (*record).marks |= mark::PATH_CUT;
        }
        if walked.unlinked {
            (*record).marks |= mark::UNLINKED;
        }
        (*record).known |= fact::PATH | fact::OPEN_FLAGS;
    }
}

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
