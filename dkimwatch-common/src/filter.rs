//! The filter before the hash tables: one slot per inode number, so that an unrelated `open` leaves after two array reads.
//!
//! A slot is a whole word, not a bit: hooks on several CPUs and userspace set slots at the same time, and a plain store to
//! a word of its own cannot lose a neighbour's (an atomic OR needs kernel 5.12). A slot is never cleared while the
//! programs are loaded: a stale one costs a hash lookup, a lost one would cost an access.

use crate::limits;

/// Slots: with 100 watched inodes, 1 unrelated open in 80 goes on to the hash lookup. 128 KiB.
pub const SLOTS: u32 = 1 << 14;

/// The slot of an inode number (Fibonacci hashing; Knuth, TAOCP vol. 3, 6.4).
#[inline(always)]
#[must_use]
pub const fn slot(ino: u64) -> u32 {
    (ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as u32
}

/// Words of a name of the greatest length.
#[expect(clippy::cast_possible_truncation, reason = "a name has 256 bytes")]
const WORDS: u32 = (limits::NAME / 8) as u32;

/// The hash of a file's name within a folder: FNV-1a over the 64-bit words of the NUL-padded name, up to and including
/// the word that holds the NUL. `word(i)` is the name's `i`-th word, little-endian.
///
/// A collision would report one unrelated file to userspace, which compares the name itself.
#[inline(always)]
#[must_use]
pub fn name_hash(mut word: impl FnMut(u32) -> u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i <= WORDS {
        let next = word(i);
        hash = (hash ^ next).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
        if next >> 56 == 0 {
            break;
        }
        i += 1;
    }
    hash
}
