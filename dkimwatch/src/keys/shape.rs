//! Domain and selector that a key's path alone tells, by the naming customs of the signers' tools: only where one
//! reading is possible.

use std::{os::unix::ffi::OsStrExt, path::Path};

use super::findings::{Identity, dns_name};

/// What the path tells.
pub(crate) fn guess(path: &Path) -> Identity {
    let Some(name) = path.file_name().map(OsStrExt::as_bytes) else { return Identity::default() };
    let folder = path.parent();
    let folder_name = folder.and_then(Path::file_name).map_or(&b""[..], OsStrExt::as_bytes);

    // docker-mailserver: rsa-2048-SELECTOR-DOMAIN.private.txt
    if let Some(stem) = name.strip_suffix(b".private.txt") {
        let words: Vec<_> = stem.split(|&byte| byte == b'-').collect();
        return match words.as_slice() {
            [b"rsa", b"1024" | b"2048" | b"3072" | b"4096", selector, domain] | [b"ed25519", selector, domain] => {
                domain_and_selector(domain, selector)
            }
            _ => Identity::default(),
        };
    }
    // Haraka: DOMAIN/private
    if name == b"private" {
        return Identity { domain: domain(folder_name), selector: None };
    }
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else { return Identity::default() };
    let (stem, ending) = name.split_at(dot);
    if !matches!(ending, b".private" | b".key" | b".pem") {
        return Identity::default();
    }
    // rspamd's default, $domain.$selector.key: the last label is the selector, if a whole domain is left before it.
    if folder.is_some_and(|folder| folder.starts_with("/var/lib/rspamd")) {
        return match stem.iter().rposition(|&byte| byte == b'.').map(|dot| stem.split_at(dot)) {
            Some((domain, selector)) => domain_and_selector(domain, selector.strip_prefix(b".").unwrap_or(selector)),
            None => Identity::default(),
        };
    }
    // Modoboa, iRedMail: /var/lib/dkim/DOMAIN.pem
    if folder == Some(Path::new("/var/lib/dkim")) {
        return Identity { domain: domain(stem), selector: None };
    }
    if stem.contains(&b'.') {
        return Identity::default();
    }
    // opendkim's custom: DOMAIN/SELECTOR.private; opendkim-genkey's: SELECTOR.private
    match domain(folder_name) {
        Some(domain) => Identity { domain: Some(domain), selector: dns_name(stem) },
        None if ending == b".private" => Identity { domain: None, selector: dns_name(stem) },
        None => Identity::default(),
    }
}

fn domain_and_selector(domain_bytes: &[u8], selector: &[u8]) -> Identity {
    match (domain(domain_bytes), dns_name(selector)) {
        (Some(domain), Some(selector)) => Identity { domain: Some(domain), selector: Some(selector) },
        _ => Identity::default(),
    }
}

/// A name that can be a mail domain: two labels at least, the last no number. A folder `keys.d` is none.
fn domain(bytes: &[u8]) -> Option<String> {
    let name = dns_name(bytes)?;
    let (_, last) = name.rsplit_once('.')?;
    (last.chars().count() > 1 && last.chars().all(|c| c.is_alphabetic() || c == '-' || last.starts_with("xn--")))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_reading() {
        for (path, domain, selector) in [
            ("/etc/opendkim/keys/example.org/s1.private", "example.org", "s1"),
            ("/etc/opendkim/keys/xn--bcher-kva.xn--p1ai/s1.key", "xn--bcher-kva.xn--p1ai", "s1"),
            ("/var/lib/rspamd/dkim/mail.example.org.s1.key", "mail.example.org", "s1"),
            ("/var/lib/rspamd/dkim/example.org.key", "", ""),
            ("/var/lib/dkim/example.org.pem", "example.org", ""),
            ("/etc/dkimkeys/s1.private", "", "s1"),
            ("/etc/dkimkeys/example.org.private", "", ""),
            ("/etc/dkimkeys/server.key", "", ""),
            ("/etc/exim4/dkim/example.org.s1.key", "", ""),
            ("/srv/rspamd/dkim/rsa-2048-mail-example.org.private.txt", "example.org", "mail"),
            ("/srv/rspamd/dkim/rsa-2048-my-mail-example.org.private.txt", "", ""),
            ("/srv/config/dkim/example.org/private", "example.org", ""),
            ("/srv/keys.d/s1.key", "", ""),
            ("/srv/keys/s 1.private", "", ""),
        ] {
            let guessed = guess(Path::new(path));
            assert_eq!(
                (guessed.domain.as_deref().unwrap_or(""), guessed.selector.as_deref().unwrap_or("")),
                (domain, selector),
                "{path}"
            );
        }
    }
}
