//! DKIM records in text: what opendkim-genkey, rspamadm and dknewkey write beside a key, and zone files (RFC 6376, section
//! 3.6.1; RFC 1035, section 5.1).

use memchr::memmem;

use super::{
    base64,
    key::{self, Fingerprint},
};
use crate::keys::{Identity, dns_name};

/// A public key, and where it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Selector and domain, as far as the text says them.
    pub(super) identity: Identity,
    /// The key.
    pub(super) public: Fingerprint,
}

/// A line of a zone file with what belongs to it.
#[derive(Default)]
struct Entry {
    /// The first word, where the line begins with it.
    owner: Option<Vec<u8>>,
    /// The strings in quotes, one after the other.
    quoted: Vec<u8>,
    /// All that stands outside of quotes and comments.
    plain: Vec<u8>,
    /// What stands after `;`.
    comment: Vec<u8>,
}

/// The records in a text; those that are withdrawn (`p=`) or not understood are left out.
pub(super) fn records(text: &[u8]) -> Vec<Record> {
    if memmem::find(text, b"p=").is_none() {
        return Vec::new();
    }
    let (mut origin, mut owner) = (None, Vec::new());
    let mut found = Vec::new();
    for entry in entries(text) {
        if let Some(name) = entry.owner.as_deref() {
            if name == b"$ORIGIN" {
                origin = entry.plain.split(u8::is_ascii_whitespace).rfind(|word| !word.is_empty()).and_then(dns_name);
                continue;
            }
            owner = name.to_vec();
        }
        let public = if entry.quoted.is_empty() {
            // A record without a zone file around it: there `;` begins no comment.
            public_key(&[&entry.plain[..], b";", &entry.comment].concat())
        } else {
            public_key(&entry.quoted)
        };
        if let Some(public) = public {
            found.push(Record { identity: identity(&owner, origin.as_deref(), &entry.comment), public });
        }
    }
    found
}

fn public_key(value: &[u8]) -> Option<Fingerprint> {
    let start = [&b"v=DKIM1"[..], b"k=", b"p="].iter().filter_map(|start| memmem::find(value, start)).min()?;
    let tag = value.get(start..)?.split(|&byte| byte == b';').find_map(|tag| tag.trim_ascii().strip_prefix(b"p="))?;
    key::published(&base64::decoded(&key::bare(tag)?)?)
}

/// `SELECTOR._domainkey[.DOMAIN]`, the origin, or opendkim-genkey's comment: `DKIM key SELECTOR for DOMAIN`.
fn identity(owner: &[u8], origin: Option<&str>, comment: &[u8]) -> Identity {
    let Some(at) = memmem::find(owner, b"._domainkey") else { return Identity::default() };
    let (selector, rest) = owner.split_at(at);
    let rest = rest.get(11..).unwrap_or_default();
    let after = |word: &[u8]| {
        let at = memmem::find(comment, word)?;
        let rest = comment.get(at + word.len()..)?.trim_ascii_start();
        dns_name(rest.split(u8::is_ascii_whitespace).next()?)
    };
    let domain = rest.strip_prefix(b".").and_then(dns_name).or_else(|| after(b" for ")).or(origin.map(str::to_owned));
    Identity { domain, selector: dns_name(selector) }
}

/// Cuts a text into lines, with those in parentheses put together.
fn entries(text: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let (mut depth, mut in_quotes, mut in_comment, mut first, mut in_owner) = (0_usize, false, false, true, false);
    for &byte in text {
        if byte == b'\n' {
            in_comment = false;
            in_owner = false;
            if depth == 0 {
                in_quotes = false;
                entries.push(std::mem::take(&mut entry));
                first = true;
                continue;
            }
        }
        match byte {
            _ if in_comment => entry.comment.push(byte),
            b'"' => in_quotes = !in_quotes,
            _ if in_quotes => entry.quoted.push(byte),
            b';' => in_comment = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {
                if first && !byte.is_ascii_whitespace() {
                    entry.owner = Some(Vec::new());
                    in_owner = true;
                }
                in_owner &= !byte.is_ascii_whitespace();
                match &mut entry.owner {
                    Some(owner) if in_owner => owner.push(byte),
                    _ => entry.plain.push(byte),
                }
            }
        }
        first = false;
    }
    entries.push(entry);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn found(text: &str) -> Vec<(String, String)> {
        let name = |name: Option<String>| name.unwrap_or_default();
        let one = |record: Record| (name(record.identity.selector), name(record.identity.domain));
        records(text.as_bytes()).into_iter().map(one).collect()
    }

    #[test]
    fn what_the_tools_write() {
        let one = |selector: &str, domain: &str| vec![(selector.to_owned(), domain.to_owned())];
        let genkey = format!(
            "mail._domainkey\tIN\tTXT\t( \"v=DKIM1; h=sha256; k=ed25519; \"\n\t  \"p={}\"\n\t  \"{}\" )  ; ----- DKIM key mail for example.org\n",
            &P[..20],
            &P[20..]
        );
        assert_eq!(found(&genkey), one("mail", "example.org"));
        let rspamadm = format!("sel._domainkey IN TXT ( \"v=DKIM1; k=ed25519; \"\n\t\"p={P}\" ) ;\n");
        assert_eq!(found(&rspamadm), one("sel", ""));
        assert_eq!(found(&format!("v=DKIM1; k=ed25519; p={P}\n")), one("", ""));
        assert_eq!(found(&format!("s._domainkey.example.net. 300 IN TXT \"p={P}\"")), one("s", "example.net"));
        let zone = format!(
            "$ORIGIN example.com.\n@ IN SOA ns hostmaster ( 1 2\n 3 4 5 )\n; p={P}\na._domainkey TXT \"k=rsa\\; p=\"\nb._domainkey TXT \"k=ed25519\" \"; p={P}\"\n"
        );
        assert_eq!(found(&zone)[1..], one("b", "example.com"));
    }

    #[test]
    fn other_text_is_none() {
        for text in ["", "p=", "p=;", "\"p=", "x p=\"", "((((p=", "v=DKIM1; p=!!", "p=QUJD", "a p=\u{fffd}"] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
