//! Bytes as text that a terminal can show and a reader can turn back: paths are bytes, and anybody can name a file.
//!
//! Control characters, bytes that are not UTF-8 and characters that reorder or hide text become `\xNN`, byte by byte;
//! the backslash itself becomes `\\`. Everything else stays as it is.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

/// A path as text.
#[must_use]
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_bytes())
}

/// Bytes as text.
#[must_use]
pub fn bytes(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || hides(c) => {
                    let mut utf8 = [0; 4];
                    escape(&mut text, c.encode_utf8(&mut utf8).as_bytes());
                }
                c => text.push(c),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// Not control characters to Unicode, yet able to reorder or hide what stands beside them on a terminal.
const fn hides(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escape(text: &mut String, raw: &[u8]) {
    for byte in raw {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Turns [`bytes`] back.
    fn back(text: &str) -> Vec<u8> {
        let (mut raw, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((&first, tail)) = rest.split_first() {
            if first != b'\\' {
                raw.push(first);
                rest = tail;
            } else if tail[0] == b'\\' {
                raw.push(b'\\');
                rest = &tail[1..];
            } else {
                assert_eq!(tail[0], b'x');
                raw.push(u8::from_str_radix(std::str::from_utf8(&tail[1..3]).unwrap(), 16).unwrap());
                rest = &tail[3..];
            }
        }
        raw
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(bytes(b"/k/a\n\x1b[2J\xff\\x"), r"/k/a\x0a\x1b[2J\xff\\x");
        assert_eq!(bytes("/k/ä\u{202e}".as_bytes()), r"/k/ä\xe2\x80\xae");
    }

    proptest! {
        #[test]
        fn every_name_can_be_turned_back(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = bytes(&raw);
            prop_assert_eq!(back(&text), raw);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
