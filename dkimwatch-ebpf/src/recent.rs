//! Refusals that were told a moment ago: anybody can make as many as he likes.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use dkimwatch_common::{
    limits,
    watch::{Refusal, refusal},
};

use crate::{maps::RECENT, subject::Subject};

/// Whether this refusal was told less than [`limits::RECENT_NS`] ago. If not, it is about to be.
#[inline(always)]
pub fn repeated(refusal: &Refusal) -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a value is only compared.
    if let Some(at) = unsafe { RECENT.get(refusal) }
        && now.wrapping_sub(*at) < limits::RECENT_NS
    {
        return true;
    }
    // A table that lost the entry costs one record too many.
    let _ = RECENT.insert(refusal, now, 0);
    false
}

/// The hook on the open itself has told of a refusal: the walk's end is not to tell of it again.
#[inline(always)]
pub fn tell(subject: &Subject) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let _ = RECENT.insert(mark(subject), now, 0);
}

/// Whether it has, for the open that ends now.
#[inline(always)]
pub fn told(subject: &Subject) -> bool {
    let mark = mark(subject);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a value is only compared.
    let told = match unsafe { RECENT.get(mark) } {
        Some(at) => now.wrapping_sub(*at) < limits::RECENT_NS,
        None => return false,
    };
    let _ = RECENT.remove(mark);
    told
}

#[inline(always)]
const fn mark(subject: &Subject) -> Refusal {
    Refusal { what: 0, whom: subject.start, kind: refusal::TOLD, id: subject.tid }
}
