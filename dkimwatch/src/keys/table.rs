//! Data sets (opendkim(8), "DATA SETS") and the KeyTable in them.

use std::path::{Path, PathBuf};

use super::{
    findings::{Findings, Identity, at_line},
    template::{Hole, Template},
};
use crate::{escape, host::path_of};

/// Where a data set lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In a flat file, one row a line.
    File(PathBuf),
    /// In the setting itself, comma-separated.
    List(Vec<u8>),
    /// Where nothing can be listed; the word for it.
    Elsewhere(&'static str),
}

/// Where a table is named: for messages, and as the key file when the table is written inline with its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) file: &'a Path,
    pub(super) place: &'a str,
    /// The profile of the signer whose table it is.
    pub(super) signer: &'a str,
    /// What relative paths are relative to.
    pub(super) base: Option<&'a Path>,
}

/// Reads the data set type off a setting's value.
pub(super) fn source(value: &[u8], base: Option<&Path>) -> Option<Source> {
    const ELSEWHERE: [(&[u8], &str); 13] = [
        (b"db:", "a Berkeley database"),
        (b"bdb:", "a Berkeley database"),
        (b"mdb:", "an LMDB database"),
        (b"dsn:", "an SQL database"),
        (b"ldap:", "an LDAP directory"),
        (b"ldaps:", "an LDAP directory"),
        (b"ldapi:", "an LDAP directory"),
        (b"lua:", "a Lua program"),
        (b"memcache:", "a memcached server"),
        (b"repute:", "a reputation server"),
        (b"erlang:", "an Erlang node"),
        (b"socket:", "a network service"),
        (b"http", "a web server"),
    ];
    if let Some((_, word)) = ELSEWHERE.iter().find(|(prefix, _)| value.starts_with(prefix)) {
        return Some(Source::Elsewhere(word));
    }
    for prefix in [&b"file:"[..], b"refile:"] {
        if let Some(path) = value.strip_prefix(prefix) {
            return absolute(path, base).map(Source::File);
        }
    }
    if [&b"/"[..], b"./", b"../"].iter().any(|start| value.starts_with(start)) {
        return absolute(value, base).map(Source::File);
    }
    Some(Source::List(value.strip_prefix(b"csl:").unwrap_or(value).to_vec()))
}

/// The path, made absolute by `base`; `None` for a relative one without a base.
pub(super) fn absolute(path: &[u8], base: Option<&Path>) -> Option<PathBuf> {
    let path = path_of(path.trim_ascii());
    if path.is_absolute() { Some(path) } else { base.filter(|base| base.is_absolute()).map(|base| base.join(path)) }
}

/// The rows of a flat file: line number, name, value. `#` ends a line.
pub(crate) fn rows(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
    (1..).zip(bytes.split(|&byte| byte == b'\n')).filter_map(|(number, line)| {
        let line = line.split(|&byte| byte == b'#').next()?.trim_ascii();
        let end = line.iter().position(u8::is_ascii_whitespace)?;
        let (name, value) = line.split_at_checked(end)?;
        Some((number, name, value.trim_ascii()))
    })
}

/// The keys that a KeyTable names.
pub(super) fn key_table(value: &[u8], named: Named<'_>, findings: &mut Findings<'_>) {
    match source(value, named.base) {
        None => {
            findings.note(named.place, "names its key table by a relative path; make it absolute, or set BaseDirectory")
        }
        Some(Source::Elsewhere(what)) => findings.note(
            named.place,
            format!("the key table is in {what} and cannot be listed; name the keys or their folder in keys.paths"),
        ),
        Some(Source::List(list)) => {
            for item in list.split(|&byte| byte == b',').filter(|item| !item.trim_ascii().is_empty()) {
                let value = item.splitn(2, |&byte| byte == b'=').nth(1).unwrap_or_default();
                row(value.trim_ascii(), named.file, named.place, named, findings);
            }
        }
        Some(Source::File(table)) => {
            let Some(bytes) = findings.read_table(&table, named.place) else { return };
            for (line, _, value) in rows(&bytes) {
                row(value, &table, &at_line(&table, line), named, findings);
            }
        }
    }
}

/// One row, `domain:selector:key`, where the key is a path or the key itself.
fn row(value: &[u8], table: &Path, place: &str, named: Named<'_>, findings: &mut Findings<'_>) {
    let mut fields = value.splitn(3, |&byte| byte == b':');
    let (Some(domain), Some(selector), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
        findings.note(place, "is not domain:selector:key, so no key is known from it");
        return;
    };
    let key = key.trim_ascii();
    let identity = Identity::of(Some(domain.trim_ascii()), Some(selector.trim_ascii()));
    if key.is_empty() {
        findings.note(place, "names no key");
    } else if [&b"/"[..], b"./", b"../"].iter().any(|start| key.starts_with(start)) {
        match absolute(key, named.base) {
            // `%` stands for the domain of the message's sender.
            Some(path) => {
                let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
                findings.template(&Template::new(path, &[(b"%", Hole::Domain)]), &identity, named.signer, place);
            }
            None => findings.note(place, "names its key by a relative path; make it absolute, or set BaseDirectory"),
        }
    } else {
        findings.note(
            place,
            format!(
                "holds the key itself: {} is watched as a key, and was read to find that out; better give the \
                     key a file of its own",
                escape::path(table)
            ),
        );
        findings.key(table, identity, Some(named.signer), place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_set_types() {
        let file = |path: &str| Some(Source::File(path.into()));
        assert_eq!(source(b"/a b", None), file("/a b"));
        assert_eq!(source(b"file:/a", None), file("/a"));
        assert_eq!(source(b"refile:./a", Some(Path::new("/base"))), file("/base/./a"));
        assert_eq!(source(b"./a", None), None);
        assert_eq!(source(b"csl:a=b,c", None), Some(Source::List(b"a=b,c".to_vec())));
        assert_eq!(source(b"a=b", None), Some(Source::List(b"a=b".to_vec())));
        assert_eq!(source(b"dsn:mysql://x", None), Some(Source::Elsewhere("an SQL database")));
    }
}
