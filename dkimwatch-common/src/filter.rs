//! The filter before the hash table: one bit per inode number, so that an unrelated `open` leaves after two array reads.
//!
//! A bit is set for each watched file and folder and never cleared while the programs are loaded: a stale bit costs one
//! hash lookup, a lost one would cost an access.

/// Bits in the filter: with 100 watched inodes, 1 unrelated open in 330 goes on to the hash lookup.
pub const BITS: u32 = 1 << 16;
/// The filter is an array of 64-bit words.
pub const WORDS: u32 = BITS / 64;

/// The word and the mask of an inode number's bit (Fibonacci hashing; Knuth, TAOCP vol. 3, 6.4).
#[inline(always)]
#[must_use]
pub const fn bit(ino: u64) -> (u32, u64) {
    let hash = ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    ((hash >> 6) as u32 & (WORDS - 1), 1 << (hash & 63))
}

/// The hash of a file's name within a folder: FNV-1a over 64-bit words of the zero-padded name.
///
/// A collision would report one unrelated file to userspace, which compares the name itself.
#[inline(always)]
#[must_use]
pub fn name_hash(words: &[u64; crate::limits::NAME / 8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < words.len() {
        hash = (hash ^ words[i]).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
        i += 1;
    }
    hash
}
