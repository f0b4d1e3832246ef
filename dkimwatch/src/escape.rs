//! Bytes as text that is safe to show, and back.
//!
//! A path, a command line or a `comm` is bytes that a hostile process may have chosen: newlines that forge a second
//! line, escape sequences that recolour a terminal, right-to-left marks that turn `txt.exe` around, bytes that are no
//! UTF-8. [`text`] shows each such byte as `\xNN`, and the backslash itself as `\\`, so that [`bytes`] can undo it: two
//! different names never look the same because of the escape.

use std::fmt::Write as _;

/// Text of `raw` with everything that could mislead a terminal or a log escaped, reversibly.
#[must_use]
pub fn text(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                out.push_str("\\\\");
            } else if misleads(c) {
                let mut buffer = [0; 4];
                hex(&mut out, c.encode_utf8(&mut buffer).as_bytes());
            } else {
                out.push(c);
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

/// The bytes that [`text`] made `escaped` from; `None` when it is no such text.
#[must_use]
pub fn bytes(escaped: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        if let Some(after) = escape.strip_prefix("\\\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let after = escape.strip_prefix("\\x")?;
            let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

fn hex(out: &mut String, raw: &[u8]) {
    for byte in raw {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Control characters, and the invisible or direction-changing ones (Unicode categories Cc, Zl, Zp and the parts of Cf
/// that a terminal or a browser acts on; Unicode TR 36, section 2.7).
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{bytes, text};

    #[test]
    fn ordinary_text_is_left_alone() {
        assert_eq!(text("/srv/päckchen/ключ 鍵.private".as_bytes()), "/srv/päckchen/ключ 鍵.private");
    }

    #[test]
    fn what_could_mislead_is_shown_as_bytes() {
        assert_eq!(text(b"a\nb\x1b[31mc\x7f\xff"), r"a\x0ab\x1b[31mc\x7f\xff");
        assert_eq!(text("\u{202e}txt\u{9b}".as_bytes()), r"\xe2\x80\xaetxt\xc2\x9b");
    }

    #[test]
    fn a_literal_escape_does_not_look_like_an_escaped_byte() {
        assert_eq!(text(br"\x0a"), r"\\x0a");
        assert_ne!(text(br"\x0a"), text(b"\n"));
    }

    #[test]
    fn every_byte_string_comes_back() {
        let mut seed = 7_u64;
        for length in 0..2_000_usize {
            let raw: Vec<u8> = (0..length % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    seed.to_be_bytes()[0]
                })
                .collect();
            let shown = text(&raw);
            assert!(!shown.chars().any(super::misleads), "{shown:?}");
            assert_eq!(bytes(&shown), Some(raw));
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in [r"\", r"\x", r"\x1", r"\xg0", r"\n", r"\x+1", "\\x\u{e9}"] {
            assert_eq!(bytes(broken), None, "{broken}");
        }
    }
}
