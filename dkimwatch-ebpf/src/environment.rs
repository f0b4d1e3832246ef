//! Which of the variables that make a program run somebody else's code were in its environment when it was executed.
//!
//! Names only: where they lead to is seen when the code is mapped.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use dkimwatch_common::{exec::mark, limits};

use crate::memory::{Ptr, is_less, offset, pointer, u64_at};

/// Bytes of a string that are looked at: room for the longest name, in words.
type Head = [u64; 8];
const HEAD: u64 = size_of::<Head>() as u64;

/// The variables, and their marks.
const VARIABLES: [(&[u8], u32); 13] = [
    (b"LD_PRELOAD=", mark::PRELOAD),
    (b"LD_AUDIT=", mark::AUDIT),
    (b"LD_LIBRARY_PATH=", mark::LIBRARY_PATH),
    (b"PYTHONPATH=", mark::PYTHON),
    (b"PYTHONHOME=", mark::PYTHON),
    (b"PYTHONUSERBASE=", mark::PYTHON),
    // `PYTHONPYCACHEPREFIX`, as far as there is room for it.
    (b"PYTHONPYCACHEPRE", mark::PYTHON),
    (b"PERL5LIB=", mark::PERL),
    (b"PERLLIB=", mark::PERL),
    (b"PERL5OPT=", mark::PERL),
    // With versions behind them: `LUA_PATH_5_4`.
    (b"LUA_PATH", mark::LUA),
    (b"LUA_CPATH", mark::LUA),
    (b"LUA_INIT", mark::LUA),
];

/// A variable in words: no name is shorter than the first, and none longer than two.
#[derive(Clone, Copy)]
struct Variable {
    first: u64,
    second: u64,
    /// Which bits of the second word count.
    mask: u64,
    /// The first byte of the value, in the second and the third word.
    value: [u64; 2],
    mark: u32,
}

const NONE: Variable = Variable { first: 0, second: 0, mask: 0, value: [0; 2], mark: 0 };

#[expect(clippy::indexing_slicing, reason = "evaluated as it is compiled, where an index out of bounds is an error")]
const fn variable((name, mark): (&[u8], u32)) -> Variable {
    assert!(name.len() >= 8 && name.len() <= 16);
    let mut words = Variable { mark, ..NONE };
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

/// The place of a first word in the table.
const fn place(first: u64, multiplier: u64) -> usize {
    (first.wrapping_mul(multiplier) >> 60) as usize
}

/// The table, in which each variable has a place of its own; `None` where two would share one.
#[expect(clippy::indexing_slicing, reason = "evaluated as it is compiled, where an index out of bounds is an error")]
const fn table(multiplier: u64) -> Option<[Variable; 16]> {
    let mut table = [NONE; 16];
    let mut i = 0;
    while i < VARIABLES.len() {
        let variable = variable(VARIABLES[i]);
        let place = place(variable.first, multiplier);
        if table[place].first != 0 {
            return None;
        }
        table[place] = variable;
        i += 1;
    }
    Some(table)
}

/// The first multiplier, of a row of odd ones, that gives each variable a place of its own.
const MULTIPLIER: u64 = {
    let mut multiplier = 0x9e37_79b9_7f4a_7c15_u64;
    while table(multiplier).is_none() {
        multiplier = multiplier.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    multiplier
};

static TABLE: [Variable; 16] = match table(MULTIPLIER) {
    Some(table) => table,
    None => [NONE; 16],
};

/// The marks of a task's environment, which its exec has just put in place.
#[inline(always)]
pub fn marks(task: Ptr) -> u32 {
    let mm = pointer(task, offset!(task_mm));
    let mut at = u64_at(mm, offset!(mm_env_start));
    let end = u64_at(mm, offset!(mm_env_end));
    let mut marks = 0;
    // All ones, or zero within a string that is longer than what is looked at in one go.
    let mut begins = u32::MAX;
    let mut look = 0;
    while look < limits::ENVIRONMENT {
        if at >= end {
            return marks;
        }
        let seen = environment_string(at);
        let read = seen & 0xffff_ffff;
        if read == 0 {
            break;
        }
        marks |= (seen >> 32) as u32 & begins;
        // The helper ends what it cut with a NUL of its own; a string of just that length leaves an empty one behind.
        let whole = is_less(read, HEAD);
        begins = (whole as u32).wrapping_neg();
        at += read - 1 + whole;
        look += 1;
    }
    marks | mark::ENVIRONMENT_CUT
}

/// A global function, so that the verifier walks it once and not anew in each of 256 looks: how many bytes of the string at an
/// address were read, with their NUL, and above those 32 bits the mark of the variable that it is.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn environment_string(at: u64) -> u64 {
    let mut head: Head = [0; 8];
    // SAFETY: the array has this many bytes; the helper takes any source address.
    let read = unsafe { bpf_probe_read_user_str(head.as_mut_ptr().cast(), HEAD as u32, at as *const _) };
    if read <= 0 { 0 } else { read as u64 | mark_of(&head) << 32 }
}

/// By one place of a table, and without a branch.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the upper four bits of a word are less than sixteen, as the compiler knows"
)]
fn mark_of(head: &Head) -> u64 {
    let Variable { first, second, mask, value, mark } = &TABLE[place(head[0], MULTIPLIER)];
    let differs = (head[0] ^ first) | ((head[1] & mask) ^ second);
    // An empty value changes nothing.
    let begun = head[1] & value[0] | head[2] & value[1];
    u64::from(*mark) & (is_less(differs, 1) & is_less(0, begun)).wrapping_neg()
}
