//! Private keys in text: PEM (RFC 7468), and the older form with headers (RFC 1421).
//!
//! Every copy of a cryptographic library holds the words `BEGIN PRIVATE KEY`. A key is what follows them with a body.

use memchr::memmem;
use zeroize::Zeroizing;

use super::{
    base64,
    limits::{BODY, MOST_IN_FILE},
};

/// Shortest body: an Ed25519 key has 64 characters, an elliptic curve's without its public half 68.
const SHORTEST: usize = 40;
/// Longest label that is looked at.
const LONGEST_LABEL: usize = 32;

/// A private key in its textual form.
pub(super) struct Pem {
    /// The words between `BEGIN ` and the dashes.
    pub(super) label: String,
    /// The bytes; `None` where the text is cut, or no base64.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    /// Encrypted, in the older form: `body` tells nothing.
    pub(super) encrypted: bool,
}

/// The private keys that begin in the first `limit` bytes of a text.
pub(super) fn blocks(head: &[u8], limit: usize) -> Vec<Pem> {
    let begin = memmem::Finder::new(b"-----BEGIN ");
    let mut found = Vec::new();
    for at in begin.find_iter(head) {
        if at >= limit || found.len() == MOST_IN_FILE {
            break;
        }
        let after = head.get(at + 11..).unwrap_or_default();
        let Some(end) = memmem::find(after.get(..LONGEST_LABEL + 5).unwrap_or(after), b"-----") else { continue };
        let (label, body) = after.split_at(end);
        let body = body.get(5..).unwrap_or_default();
        if label.ends_with(b"PRIVATE KEY")
            && label.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ')
        {
            found.extend(block(&String::from_utf8_lossy(label), body));
        }
    }
    found
}

fn block(label: &str, text: &[u8]) -> Option<Pem> {
    let (encrypted, text) = headers(text);
    // As the key stands in a file of its own, indented in YAML, or in a string of JSON or of a program.
    let mut base64 = Zeroizing::new(Vec::with_capacity(BODY));
    let mut rest = text;
    let whole = loop {
        match rest {
            [b'-', b'-', b'-', b'-', b'-', b'E', b'N', b'D', ..] => break true,
            [b'\\', b'n' | b'r' | b't', after @ ..] => rest = after,
            [b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'' | b'\\', after @ ..] => rest = after,
            // A longer buffer would be another one, and leave this one's content behind.
            [byte, after @ ..] if base64::is_digit(*byte) && base64.len() < BODY => {
                base64.push(*byte);
                rest = after;
            }
            _ => break false,
        }
    };
    (base64.len() >= SHORTEST).then(|| Pem {
        label: label.to_owned(),
        body: if whole { base64::decoded(&base64) } else { None },
        encrypted,
    })
}

/// The older form's headers, `Proc-Type: 4,ENCRYPTED` and `DEK-Info: …`, up to a blank line.
fn headers(text: &[u8]) -> (bool, &[u8]) {
    let start = text.trim_ascii_start();
    if !start.starts_with(b"Proc-Type:") {
        return (false, text);
    }
    let blank = [&b"\n\n"[..], b"\r\n\r\n", b"\\n\\n"]
        .into_iter()
        .filter_map(|blank| memmem::find(start, blank).and_then(|at| start.get(at + blank.len()..)));
    let body = blank.max_by_key(|rest| rest.len()).unwrap_or_default();
    (memmem::find(start.get(..64).unwrap_or(start), b"ENCRYPTED").is_some(), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::limits::HEAD;

    fn labels(text: &[u8]) -> Vec<(String, bool, bool)> {
        blocks(text, HEAD).into_iter().map(|pem| (pem.label, pem.body.is_some(), pem.encrypted)).collect()
    }

    #[test]
    fn a_key_is_what_has_a_body() {
        let body = "QUJD".repeat(20);
        let key = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let plain = |label: &str| vec![(label.to_owned(), true, false)];
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            assert_eq!(labels(key(label).as_bytes()), plain(label));
        }
        assert_eq!(labels(key("PUBLIC KEY").as_bytes()), []);
        assert_eq!(labels(key("CERTIFICATE").as_bytes()), []);
        // The words in a program, in a manual, in a template.
        assert_eq!(labels(b"\0-----BEGIN PRIVATE KEY-----\0-----END PRIVATE KEY-----\0"), []);
        assert_eq!(labels(b"-----BEGIN PRIVATE KEY-----\nMIIE...\n-----END PRIVATE KEY-----"), []);
        assert_eq!(labels(b"-----BEGIN PRIVATE KEY-----"), []);
        // In YAML, in JSON, behind a certificate.
        let rsa = key("PRIVATE KEY");
        assert_eq!(labels(rsa.replace('\n', "\n    ").as_bytes()), plain("PRIVATE KEY"));
        assert_eq!(labels(rsa.replace('\n', "\\n").as_bytes()), plain("PRIVATE KEY"));
        assert_eq!(labels(rsa.replace('\n', "\r\n").as_bytes()), plain("PRIVATE KEY"));
        assert_eq!(labels((key("CERTIFICATE") + &rsa).as_bytes()), plain("PRIVATE KEY"));
        // Cut, it is one still.
        assert_eq!(labels(&rsa.as_bytes()[..90]), [("PRIVATE KEY".to_owned(), false, false)]);
        let old = format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}\n-----END RSA PRIVATE KEY-----"
        );
        assert_eq!(labels(old.as_bytes()), [("RSA PRIVATE KEY".to_owned(), true, true)]);
    }

    #[test]
    fn bounds() {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", "QUJD".repeat(20));
        assert_eq!(labels(key.repeat(100).as_bytes()).len(), MOST_IN_FILE);
        assert_eq!(labels(&[vec![b'x'; HEAD - 1], key.clone().into_bytes()].concat()).len(), 1);
        assert_eq!(labels(&[vec![b'x'; HEAD], key.into_bytes()].concat()).len(), 0);
    }
}
