//! A record while it is filled: a place of the thread's own, from where it goes to its ring as a whole.
//!
//! Not in the ring itself: on 6.1 the verifier joins no two ways that reserved apart, and walks what fills the record anew
//! for each; and not in a place of the CPU's, where one task's program can be preempted by another's. What fills most of it
//! are global functions, which the verifier walks once for each program, whatever leads to them; until 5.12 they take only
//! integers, so each finds the draft of its thread by itself.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_get_current_task};
use dkimwatch_common::{
    limits::PATH_BYTES,
    record::{RawExtended, RawRecord, mark},
    tally::Exit,
};

use crate::{
    maps::{ATTEMPT_RING, DRAFTS, SEQUENCE, SIGNER_RING, STRANGER_RING},
    memory::{Ptr, at_most, number},
    path::{self, Walked},
    subject::{self, Subject},
};

/// The ring that a record goes to, as its counter's number.
#[derive(Clone, Copy)]
pub enum Ring {
    /// By anybody who does not run a signer's executable.
    Strangers = 0,
    /// By one who does.
    Signers = 1,
    /// Refused.
    Attempts = 2,
}

impl Ring {
    /// For something that was done.
    #[inline(always)]
    pub fn of(subject: &Subject) -> Self {
        if subject.runs_signer() { Self::Signers } else { Self::Strangers }
    }
}

/// Read-only memory: too much for the stack.
// SAFETY: integers and arrays of such.
static NOTHING: RawExtended = unsafe { MaybeUninit::zeroed().assume_init() };

/// A record that is being filled.
pub struct Draft {
    /// It, zeroed where it is not filled yet. A record of an open ends with its first field.
    pub record: *mut RawExtended,
}

impl Draft {
    /// The draft of this thread. `None` where it has one already (an interrupt in the midst of it), or where all places
    /// are taken: the record is lost, and counted as such.
    #[inline(always)]
    pub fn begin(ring: Ring) -> Option<Self> {
        let thread = thread();
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it would be on the stack first, which has no room for it"
        )]
        let made = DRAFTS.insert(thread, &NOTHING, u64::from(BPF_NOEXIST));
        let record = match made {
            Ok(()) => DRAFTS.get_ptr_mut(thread),
            Err(_) => None,
        };
        let Some(record) = record else {
            next_sequence(ring as u32);
            return None;
        };
        Some(Self { record })
    }

    /// The draft that this thread has begun.
    #[inline(always)]
    pub fn begun() -> Option<Self> {
        DRAFTS.get_ptr_mut(thread()).map(|record| Self { record })
    }

    /// Adds who it was, and hands it to its ring.
    #[inline(always)]
    pub fn submit(self, subject: &Subject, ring: Ring) -> Exit {
        submit(subject, ring)
    }
}

/// As [`Draft::submit`], of the draft that this thread has begun.
#[inline(always)]
pub fn submit(subject: &Subject, ring: Ring) -> Exit {
    if draft_submit(number(subject.task), ring as u64) == 0 { Exit::Submitted } else { Exit::RingFull }
}

/// Of an idle task there is one for each CPU, all of the same numbers: its address tells them apart.
#[inline(always)]
fn thread() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// A global function: fills what is known of the task, and hands the draft to the ring. Zero where that has room for it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn draft_submit(task: u64, ring: u64) -> u64 {
    let thread = thread();
    let Some(draft) = DRAFTS.get_ptr_mut(thread) else { return 1 };
    let record: *mut RawRecord = draft.cast();
    // SAFETY: the draft is this thread's; a record of an open is the beginning of it.
    let result = unsafe {
        subject::fill(record, Subject::of(task as Ptr));
        // As late as can be: numbers are to stand in the ring in their order.
        (*record).sequence = next_sequence(ring as u32);
        let is_open = (*record).header.len == size_of::<RawRecord>() as u32;
        if ring == Ring::Attempts as u64 {
            (*record).marks |= mark::ATTEMPT_RING;
            ATTEMPT_RING.output::<RawExtended>(&*draft, 0)
        } else if ring == Ring::Signers as u64 {
            (*record).marks |= mark::SIGNER_RING;
            if is_open {
                SIGNER_RING.output::<RawRecord>(&*record, 0)
            } else {
                SIGNER_RING.output::<RawExtended>(&*draft, 0)
            }
        } else if is_open {
            STRANGER_RING.output::<RawRecord>(&*record, 0)
        } else {
            STRANGER_RING.output::<RawExtended>(&*draft, 0)
        }
    };
    let _ = DRAFTS.remove(thread);
    u64::from(result.is_err())
}

/// Writes a path into this thread's draft, at a place of it that has `PATH_BYTES` bytes: that of `name` in the folder
/// `entry` where there is one, else that of `entry`; see [`path::walk`].
#[inline(always)]
pub fn path(entry: Ptr, mnt: Ptr, name: Ptr, at: usize) -> Walked {
    Walked::from_bits(draft_path(number(entry), number(mnt), number(name), at as u64))
}

/// A global function, see [`path()`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn draft_path(entry: u64, mnt: u64, name: u64, at: u64) -> u64 {
    let Some(draft) = DRAFTS.get_ptr_mut(thread()) else { return 0 };
    let Some(at) = at_most(at, (size_of::<RawExtended>() - PATH_BYTES) as u64) else { return 0 };
    // SAFETY: within the draft, which is this thread's.
    let to = unsafe { draft.cast::<u8>().add(at as usize) };
    path::below(name as Ptr, entry as Ptr, mnt as Ptr, to).to_bits()
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
