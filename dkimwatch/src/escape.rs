//! Bytes as text that is safe to show, and back.
//!
//! A path, a command line or a `comm` is bytes that a hostile process may have chosen: newlines that forge a second
//! line, escape sequences that recolour a terminal, right-to-left marks that turn `txt.exe` around, bytes that are no
//! UTF-8. [`text`] shows each such byte as `\xNN`, and the backslash itself as `\\`, so that [`bytes()`] can undo it: two
//! different names never look the same because of the escape.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

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

/// Text that is an event's, and so was escaped already, once more: what still misleads is shown as bytes, and a backslash stays one.
/// For whoever reads events that somebody else may have written.
#[must_use]
pub fn again(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            let mut buffer = [0; 4];
            hex(&mut out, c.encode_utf8(&mut buffer).as_bytes());
        } else {
            out.push(c);
        }
    }
    out
}

/// Text of a path: [`text`] of its bytes.
#[must_use]
pub fn path(path: &Path) -> String {
    text(path.as_os_str().as_bytes())
}

/// Text of `raw` as one word of a sentence or a line: like [`text`], and in quotes where blanks would let it pass for
/// several words (`/tmp/x with /usr/sbin/opendkim`).
#[must_use]
pub fn word(raw: &[u8]) -> String {
    let shown = text(raw).replace('"', "\\x22");
    if shown.is_empty() || shown.contains(char::is_whitespace) { format!("\"{shown}\"") } else { shown }
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
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

    use proptest::prelude::*;

    use super::{bytes, text, word};

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
    fn a_word_stays_one_word() {
        assert_eq!(word(b"/usr/bin/cat"), "/usr/bin/cat");
        assert_eq!(word(b"/tmp/x with /usr/sbin/opendkim"), "\"/tmp/x with /usr/sbin/opendkim\"");
        assert_eq!(word(b"a\" b"), r#""a\x22 b""#);
        assert_eq!(word(b""), "\"\"");
        assert_eq!(word("a\u{2003}b".as_bytes()), "\"a\u{2003}b\"");
    }

    #[test]
    fn a_path_is_its_bytes() {
        let path = Path::new(OsStr::from_bytes(b"/k/a\n\xff\\x"));
        assert_eq!(super::path(path), r"/k/a\x0a\xff\\x");
    }

    proptest! {
        #[test]
        fn every_byte_string_comes_back(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let shown = text(&raw);
            prop_assert!(!shown.chars().any(super::misleads), "{:?}", shown);
            prop_assert_eq!(bytes(&shown), Some(raw));
        }

        #[test]
        fn every_text_comes_back(raw in any::<String>()) {
            let shown = text(raw.as_bytes());
            prop_assert!(!shown.chars().any(super::misleads), "{:?}", shown);
            prop_assert_eq!(super::again(&shown), shown.clone(), "nothing is left to escape");
            prop_assert!(!super::again(&raw).chars().any(super::misleads));
            prop_assert_eq!(bytes(&shown), Some(raw.into_bytes()));
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for broken in [r"\", r"\x", r"\x1", r"\xg0", r"\n", r"\x+1", "\\x\u{e9}"] {
            assert_eq!(bytes(broken), None, "{broken}");
        }
    }
}
