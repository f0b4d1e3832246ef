//! Which of the variables that make a program run somebody else's code were in its environment when it was executed.
//!
//! Names only: where they lead to is seen when the code is mapped.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use dkimwatch_common::{exec::mark, limits};

use crate::memory::{Ptr, offset, pointer, u64_at};

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

/// The first two words of a name, and which of their bits count.
#[expect(clippy::indexing_slicing, reason = "evaluated as it is compiled, where an index out of bounds is an error")]
const fn words(name: &[u8]) -> [(u64, u64); 2] {
    let mut words = [(0, 0); 2];
    let mut i = 0;
    while i < name.len() {
        words[i / 8].0 |= (name[i] as u64) << (8 * (i % 8));
        words[i / 8].1 |= 0xff << (8 * (i % 8));
        i += 1;
    }
    words
}

#[expect(clippy::indexing_slicing, reason = "evaluated as it is compiled, where an index out of bounds is an error")]
const WORDS: [[(u64, u64); 2]; 11] = {
    let mut all = [[(0, 0); 2]; 11];
    let mut i = 0;
    while i < VARIABLES.len() {
        all[i] = words(VARIABLES[i].0);
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

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "constants below the lengths of arrays; the loop is unrolled")]
fn marks_of(head: &Head) -> u32 {
    let mut marks = 0;
    let mut i = 0;
    while i < VARIABLES.len() {
        let (name, bit) = VARIABLES[i];
        let [first, second] = WORDS[i];
        let value = name.len();
        // An empty value changes nothing.
        let is_empty = (head[value / 8] >> (8 * (value % 8))) & 0xff == 0;
        if head[0] & first.1 == first.0 && head[1] & second.1 == second.0 && !is_empty {
            marks |= bit;
        }
        i += 1;
    }
    marks
}
