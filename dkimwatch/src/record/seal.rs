//! The seal: each entry carries a keyed hash, and its key is gone once the entry is written. Who takes the host at noon finds the
//! key for what comes; those of the morning cannot be had from it.
//!
//! A key for each entry (Bellare and Yee, *Forward integrity for secure audit logs*, 1997; Schneier and Kelsey, 1998), in chains of a
//! segment each, so that a verifier need not walk from the first entry:
//!
//! ```text
//! segment key:  S(n+1) = HMAC(S(n), "next segment")          S(first) is the verification key
//! entry key:    K(0)   = HMAC(S(n), "entries")               of the segment's header
//!               K(i+1) = HMAC(K(i), "next entry")
//! tag:          HMAC(K(i), chain hash)
//! close:        HMAC(K(i), chain hash of the next segment's header), i: the entry that would have come
//! ```

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::chain::Hash;

/// HMAC-SHA-256 of a chain hash.
pub(super) type Tag = [u8; 32];

/// The tag of what is not sealed.
pub(super) const UNSEALED: Tag = [0; 32];

/// A key that evolves.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    pub(super) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn mac(&self, message: &[u8]) -> [u8; 32] {
        // HMAC takes a key of any length: there is no error for 32 bytes.
        Hmac::<Sha256>::new_from_slice(&self.0)
            .map_or([0; 32], |mac| mac.chain_update(message).finalize().into_bytes().into())
    }

    /// The key of the next segment.
    pub(super) fn next_segment(&self) -> Self {
        Self(self.mac(b"next segment"))
    }
}

/// What seals a segment's entries, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealer {
    /// Of the entry to come.
    pub(super) entry: Key,
    /// Of the segment behind this one.
    pub(super) next_segment: Key,
}

impl Sealer {
    /// For a segment; the segment's own key is gone behind this.
    pub(super) fn of_segment(key: &Key) -> Self {
        Self { entry: Key(key.mac(b"entries")), next_segment: key.next_segment() }
    }

    /// The tag of what follows this segment: that it ends here.
    pub(super) fn close(&self, chain: &Hash) -> Tag {
        self.entry.mac(chain)
    }

    /// The tag of what comes now. The key that made it is overwritten.
    pub(super) fn seal(&mut self, chain: &Hash) -> Tag {
        let tag = self.entry.mac(chain);
        self.entry = Key(self.entry.mac(b"next entry"));
        tag
    }
}

/// What verifies a journal's seals, and could make them: it is kept off the host.
#[derive(Clone, PartialEq, Eq)]
pub struct VerificationKey {
    /// Of which journal.
    pub(super) journal: [u8; 16],
    /// The first segment that is sealed.
    pub(super) from: u64,
    /// That segment's key.
    pub(super) key: Key,
}

/// Why a text is no verification key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no verification key of a journal: it begins with {PREFIX} and is as `journal setup-sealing` printed it, {LENGTH} characters in all"
)]
pub struct NoKey;

const PREFIX: &str = "dkimwatch-seal-1-";
/// Journal, segment, key, and four bytes that tell a slip of the pen.
const BYTES: usize = 16 + 8 + 32 + 4;
const LENGTH: usize = PREFIX.len() + BYTES.div_ceil(3) * 4;

impl VerificationKey {
    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let body = [self.journal.as_slice(), &self.from.to_le_bytes(), self.key.bytes()].concat();
        let sum = Sha256::digest(&body);
        bytes.iter_mut().zip(body.iter().chain(&sum)).for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl fmt::Display for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes();
        let text = Base64UrlUnpadded::encode_string(&bytes);
        bytes.zeroize();
        write!(f, "{PREFIX}{text}")
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("from", &self.from).finish_non_exhaustive()
    }
}

impl std::str::FromStr for VerificationKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(NoKey)?;
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| NoKey)?;
        let parts = || {
            let (journal, rest) = bytes.split_first_chunk()?;
            let (from, rest) = rest.split_first_chunk()?;
            let (key, _) = rest.split_first_chunk()?;
            Some(Self { journal: *journal, from: u64::from_le_bytes(*from), key: Key(*key) })
        };
        parts().filter(|key| key.bytes().as_slice() == bytes).ok_or(NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_text_and_a_slip_of_the_pen_is_told() {
        let key = VerificationKey { journal: [3; 16], from: 2, key: Key([9; 32]) };
        let text = key.to_string();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(format!("  {text}\n").parse(), Ok(key.clone()));
        for at in PREFIX.len()..text.len() {
            let mut slip = text.clone().into_bytes();
            slip[at] = if slip[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(String::from_utf8(slip).expect("ASCII").parse::<VerificationKey>(), Err(NoKey), "{at}");
        }
        assert_eq!(format!("{key:?}"), "VerificationKey { from: 2, .. }", "no key in a log");
    }

    #[test]
    fn no_two_entries_have_one_key() {
        let mut sealer = Sealer::of_segment(&Key([1; 32]));
        let tags: std::collections::BTreeSet<Tag> = (0..100).map(|_| sealer.seal(&[0; 32])).collect();
        assert_eq!(tags.len(), 100);
        assert_ne!(Sealer::of_segment(&sealer.next_segment), Sealer::of_segment(&Key([1; 32])));
    }
}
