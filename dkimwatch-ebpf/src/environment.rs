//! Which of the variables that make a program run somebody else's code were in its environment when it was executed.
//!
//! Names only: where they lead to is seen when the code is mapped.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use dkimwatch_common::{exec::mark, limits};

use crate::memory::{Ptr, offset, opaque, pointer, u64_at};

/// Bytes of a string that are looked at: room for the longest name, in words.
type Head = [u64; 8];
const HEAD: u64 = size_of::<Head>() as u64;

/// The variables, and their marks.
const VARIABLES: [(&[u8], u32); 11] = [
    (b"LD_PRELOAD=", mark::PRELOAD),
    (b"LD_AUDIT=", mark::AUDIT),
    (b"LD_LIBRARY_PATH=", mark::LIBRARY_PATH),
    (b"PYTHONPATH=", mark::PYTHON),
    (b"PYTHONHOME=", mark::PYTHON),
    (b"PERL5LIB=", mark::PERL),
    (b"PERLLIB=", mark::PERL),
    (b"PERL5OPT=", mark::PERL),
    // With versions behind them: `LUA_PATH_5_4`.
    (b"LUA_PATH", mark::LUA),
    (b"LUA_CPATH", mark::LUA),
    (b"LUA_INIT", mark::LUA),
];

/// A variable as it is looked for, in words, so that it takes no branch.
#[derive(Clone, Copy)]
struct Wanted {
    /// The name, two words of it.
    name: [u64; 2],
    /// Which of their bits count.
    mask: [u64; 2],
    /// The first byte of the value, in the first three words.
    value: [u64; 3],
    mark: u64,
}

const fn wanted((name, mark): (&[u8], u32)) -> Wanted {
    let mut wanted = Wanted { name: [0; 2], mask: [0; 2], value: [0; 3], mark: mark as u64 };
    let mut i = 0;
    while i < name.len() {
        wanted.name[i / 8] |= (name[i] as u64) << (8 * (i % 8));
        wanted.mask[i / 8] |= 0xff << (8 * (i % 8));
        i += 1;
    }
    wanted.value[i / 8] = 0xff << (8 * (i % 8));
    wanted
}

static WANTED: [Wanted; VARIABLES.len()] = {
    let mut all = [const { wanted(VARIABLES[0]) }; VARIABLES.len()];
    let mut i = 0;
    while i < VARIABLES.len() {
        all[i] = wanted(VARIABLES[i]);
        i += 1;
    }
    all
};

/// The marks of a task's environment, which its exec has just put in place.
#[inline(always)]
pub fn marks(task: Ptr) -> u32 {
    let mm = pointer(task, offset!(task_mm));
    let mut at = u64_at(mm, offset!(mm_env_start));
    let end = u64_at(mm, offset!(mm_env_end));
    let mut marks = 0;
    // Not within a string that is longer than what is looked at in one go.
    let mut begins = true;
    let mut look = 0;
    while look < limits::ENVIRONMENT {
        if at >= end {
            return marks;
        }
        let mut head: Head = [0; 8];
        // SAFETY: the array has this many bytes; the helper takes any source address.
        let read = unsafe { bpf_probe_read_user_str(head.as_mut_ptr().cast(), HEAD as u32, at as *const _) };
        if read <= 0 {
            break;
        }
        if begins {
            marks |= marks_of(&head);
        }
        // The helper ends what it cut with a NUL of its own; a string of just that length leaves an empty one behind.
        begins = (read as u64) < HEAD;
        at += if begins { read as u64 } else { HEAD - 1 };
        look += 1;
    }
    marks | mark::ENVIRONMENT_CUT
}

/// Without a branch: the verifier walks each of them in each look anew.
#[inline(always)]
fn marks_of(head: &Head) -> u32 {
    let mut marks = 0;
    let mut i = 0;
    while i < WANTED.len() {
        let Wanted { name, mask, value, mark } = &WANTED[i];
        let differs = (head[0] & mask[0]) ^ name[0] | (head[1] & mask[1]) ^ name[1];
        // An empty value changes nothing.
        let begun = head[0] & value[0] | head[1] & value[1] | head[2] & value[2];
        marks |= mark & is_zero(differs) & !is_zero(begun);
        i += 1;
    }
    marks as u32
}

/// All ones for zero, else zero; by sums that the compiler does not know for a comparison.
#[inline(always)]
fn is_zero(value: u64) -> u64 {
    opaque(opaque(value | opaque(value.wrapping_neg())) >> 63).wrapping_sub(1)
}
