//! Which of the variables that make a program run somebody else's code were in its environment when it was executed.
//!
//! Names only: where they lead to is seen when the code is mapped.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use dkimwatch_common::{exec::mark, limits};

use crate::memory::{Ptr, forget_range, offset, pointer, u64_at};

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

/// A variable in words, so that nothing has to be computed of it: no name is shorter than the first word.
#[derive(Clone, Copy)]
struct Words {
    first: u64,
    second: u64,
    /// Which bits of the second word count.
    mask: u64,
    /// The first byte of the value, in the second and the third word.
    value: [u64; 2],
}

impl Words {
    const NONE: Self = Self { first: 0, second: 0, mask: 0, value: [0; 2] };
}

const fn words(name: &[u8]) -> Words {
    assert!(name.len() >= 8 && name.len() <= 16);
    let mut words = Words::NONE;
    let mut i = 0;
    while i < name.len() {
        let byte = (name[i] as u64) << (8 * (i % 8));
        if i < 8 {
            words.first |= byte;
        } else {
            words.second |= byte;
            words.mask |= 0xff << (8 * (i % 8));
        }
        i += 1;
    }
    words.value[i / 8 - 1] = 0xff << (8 * (i % 8));
    words
}

const WORDS: [Words; 11] = {
    let mut all = [Words::NONE; 11];
    let mut i = 0;
    while i < VARIABLES.len() {
        all[i] = words(VARIABLES[i].0);
        let mut j = 0;
        while j < i {
            // `marks_of` goes by it.
            assert!(all[j].first != all[i].first);
            j += 1;
        }
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
            // Of whatever was found: with what it was in each look, the verifier walks every look as often as there are variables.
            marks = forget_range(u64::from(marks | marks_of(&head)), mark::ENVIRONMENT.into()) as u32;
        }
        // The helper ends what it cut with a NUL of its own; a string of just that length leaves an empty one behind.
        begins = (read as u64) < HEAD;
        at += if begins { read as u64 } else { HEAD - 1 };
        look += 1;
    }
    marks | mark::ENVIRONMENT_CUT
}

/// By the first word, which no two names share, and the rest of that one alone: the verifier walks each branch in each look
/// anew, and has a million instructions for all of them.
#[inline(always)]
fn marks_of(head: &Head) -> u32 {
    let mut i = 0;
    while i < VARIABLES.len() {
        let words = WORDS[i];
        if head[0] == words.first {
            // An empty value changes nothing.
            let has_value = (head[1] & words.value[0]) | (head[2] & words.value[1]) != 0;
            return if head[1] & words.mask == words.second && has_value { VARIABLES[i].1 } else { 0 };
        }
        i += 1;
    }
    0
}
