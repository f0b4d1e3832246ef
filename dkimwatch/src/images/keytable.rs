//! OpenDKIM's KeyTable in an image: whose key lies at a path, and keys that stand in the table itself.

use super::{key::Key, names};
use crate::keys::{Identity, table_rows};

/// A row: whose key lies where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) identity: Identity,
    /// The key's path in its normal spelling.
    pub(super) path: Vec<u8>,
}

/// True for the names that opendkim's key tables have by custom (`KeyTable`, `key.table`, `key_table`).
pub(super) fn is_named_so(name: &[u8]) -> bool {
    let letters: Vec<u8> = name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase).collect();
    letters.starts_with(b"keytable")
}

/// The rows of a table (opendkim.conf(5), "KeyTable"), and the keys in it. A row whose path is a pattern (`%`) names no one key.
pub(super) fn read(text: &[u8]) -> (Vec<Row>, Vec<(Identity, Key)>) {
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    for (_, _, value) in table_rows(text) {
        let mut fields = value.splitn(3, |&byte| byte == b':');
        let (Some(domain), Some(selector), Some(key)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let identity = Identity::of(Some(domain.trim_ascii()), Some(selector.trim_ascii()));
        let key = key.trim_ascii();
        if key.starts_with(b"/") {
            if !key.contains(&b'%') {
                rows.push(Row { identity, path: names::normal(key) });
            }
        } else if let Some(key) = Key::of_base64(key) {
            keys.push((identity, key));
        }
    }
    (rows, keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_inline_keys() {
        for name in ["KeyTable", "key.table", "key_table", "KeyTable.local"] {
            assert!(is_named_so(name.as_bytes()), "{name}");
        }
        assert!(!is_named_so(b"SigningTable"));
        let seed = super::super::base64::encoded(&[7; 32]);
        let text = format!(
            "# x\nm._domainkey.example.org example.org:m:/etc/opendkim//keys/m.private\np %:p:/keys/%.private\ni example.net:i:{seed}\nbroken\nb a:b:c\n"
        );
        let (rows, keys) = read(text.as_bytes());
        let identity = |domain: &str, selector: &str| Identity::of(Some(domain.as_bytes()), Some(selector.as_bytes()));
        assert_eq!(
            rows,
            [Row { identity: identity("example.org", "m"), path: b"etc/opendkim/keys/m.private".to_vec() }]
        );
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].0, identity("example.net", "i"));
    }
}
