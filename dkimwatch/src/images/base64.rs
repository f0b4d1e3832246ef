//! Base64 as keys and records have it: standard digits, blanks anywhere, with or without padding.

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use zeroize::Zeroizing;

/// True for a digit of base64, and for the padding.
pub(super) const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// The bytes of a text without blanks; `None` where it is no base64. They may be a key's and are overwritten when dropped.
pub(super) fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = std::str::from_utf8(text.get(..text.len() - padding)?).ok()?;
    if padding > 2 {
        return None;
    }
    Base64Unpadded::decode_vec(text).ok().map(Zeroizing::new)
}

/// Bytes as base64, padded.
pub(super) fn encoded(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}
