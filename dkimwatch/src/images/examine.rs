//! One file's beginning: the keys in it, the public records, the rows of a key table.

use super::{
    key::{self, Key},
    keytable::{self, Row},
    limits::{HEAD, MOST_IN_FILE},
    names, pem,
    record::{self, Record},
};
use crate::keys::Identity;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Examined {
    /// Keys, and whose they are where the file itself says so.
    pub(super) keys: Vec<(Key, Identity)>,
    pub(super) records: Vec<Record>,
    pub(super) rows: Vec<Row>,
}

/// Looks at the file at `path` (in its normal spelling), of `size` bytes, that begins with `head`.
pub(super) fn examine(path: &[u8], head: &[u8], size: u64) -> Examined {
    let mut found = Examined::default();
    let nobody = Identity::default;
    found.keys.extend(pem::blocks(head, HEAD).iter().map(|pem| (Key::of_pem(pem), nobody())));
    // What follows is told by the whole file; keys are small.
    let whole = head.len() as u64 == size && head.len() <= HEAD;
    if whole && found.keys.is_empty() {
        // DER says its length: nothing else begins like that by chance.
        if head.starts_with(&[0x30]) {
            found.keys.extend(Key::of_der(head).map(|key| (key, nobody())));
        } else if looks_like_dkim(path) && !is_public(path) {
            // Any 32 bytes are a seed: only the place says so.
            found.keys.extend(key::bare(head).and_then(|text| Key::of_base64(&text)).map(|key| (key, nobody())));
        }
    }
    let (_, name) = names::split(path);
    if keytable::is_named_so(name) {
        let (rows, keys) = keytable::read(head);
        found.rows = rows;
        found.keys.extend(keys.into_iter().take(MOST_IN_FILE).map(|(identity, key)| (key, identity)));
    }
    if memchr::memmem::find(head, b"DKIM1").is_some() || memchr::memmem::find(head, b"_domainkey").is_some() {
        found.records = record::records(head);
    }
    found.keys.dedup();
    found
}

/// True for a path that says DKIM: by the word, by the folder of a signer, or by the ending that the signers' own tools
/// give to private keys.
pub(super) fn looks_like_dkim(path: &[u8]) -> bool {
    let lower = path.to_ascii_lowercase();
    memchr::memmem::find(&lower, b"dkim").is_some()
        || crate::keys::is_in_key_folder(&crate::host::path_of(&[b"/", path].concat()))
        || lower.ends_with(b".private")
        || lower.ends_with(b".private.txt")
}

/// A public key that says so by its name: 32 bytes, too, where it is Ed25519's.
fn is_public(path: &[u8]) -> bool {
    let (_, name) = names::split(path);
    let name = name.to_ascii_lowercase();
    [&b".pub"[..], b".public", b".dns", b".pub.txt"].iter().any(|end| name.ends_with(end))
        || name.starts_with(b"public")
}

/// True for private keys that are everybody's: in the documentation and the test suites of packages, at the places where
/// package managers put them.
pub(super) fn is_well_known(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    let has = |names: &[&str]| parts.iter().any(|part| names.iter().any(|name| *part == name.as_bytes()));
    let tests = has(&["test", "tests", "testdata", "spec", "testing", "t"]);
    match parts.as_slice() {
        [b"usr", b"share", b"doc", ..] | [b"usr", b"local", b"share", b"doc", ..] => true,
        [b"usr", b"share", ..]
        | [b"usr", b"lib", ..]
        | [b"usr", b"lib64", ..]
        | [b"usr", b"local", b"lib", ..]
        | [b"usr", b"local", b"go", ..]
        | [b"opt", ..]
        | [b"root", ..]
        | [b"go", b"pkg", ..] => {
            tests
                && (has(&["site-packages", "dist-packages", "node_modules", "gems", "perl5", "perl", "go"])
                    || is_python(&parts))
        }
        _ => false,
    }
}

/// `usr/lib/python3.11/test/…`, `usr/local/lib/python3.13/test/…`.
fn is_python(parts: &[&[u8]]) -> bool {
    parts.windows(2).any(|pair| matches!(pair, [python, b"test" | b"tests"] if python.starts_with(b"python")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for path in ["etc/DKIM/x", "etc/opendkim/keys/a/b.private", "var/lib/rspamd/arc/x.key", "k/s.private"] {
            assert!(looks_like_dkim(path.as_bytes()), "{path}");
        }
        for path in ["etc/ssl/private/server.key", "root/.ssh/id_rsa"] {
            assert!(!looks_like_dkim(path.as_bytes()), "{path}");
        }
        for path in [
            "usr/share/doc/libmail-dkim-perl/x.pem",
            "usr/lib/python3.11/test/keycert.pem",
            "usr/local/lib/python3.13/site-packages/dkim/tests/data/test.private",
            "opt/app/node_modules/x/test/key.pem",
        ] {
            assert!(is_well_known(path.as_bytes()), "{path}");
        }
        for path in ["etc/dkim/tests/x", "opt/tests/key.pem", "usr/lib/python3/x.pem", "srv/usr/share/doc/x.pem"] {
            assert!(!is_well_known(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn bare_shapes_count_where_the_path_says_dkim() {
        let seed = super::super::base64::encoded(&[7; 32]) + "\n";
        let keys = |path: &str| examine(path.as_bytes(), seed.as_bytes(), seed.len() as u64).keys.len();
        assert_eq!((keys("etc/dkim/a.key"), keys("etc/token"), keys("etc/dkim/a.pub")), (1, 0, 0));
        assert_eq!(
            examine(b"etc/dkim/a.key", seed.as_bytes(), 1 << 20).keys.len(),
            0,
            "the beginning of something else"
        );
    }
}
