//! Exim: what `exim4 -bP transports` says of `dkim_private_key` (Exim specification, chapter "DKIM, SPF, SRS and DMARC").
//!
//! Exim resolves its macros and includes; string expansions (`${…}`, `$name`) remain, and become holes in the path.

use std::path::Path;

use super::{
    findings::{Findings, Identity, at_line},
    template::{Hole, Template},
};
use crate::{
    escape,
    host::{Host, Presence, path_of},
};

const SIGNER: &str = "exim";
/// Debian's name, and everybody else's.
const TOOLS: [&str; 2] = ["/usr/sbin/exim4", "/usr/sbin/exim"];

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    for tool in TOOLS {
        match host.ask(Path::new(tool), &["-bP", "transports"], None) {
            None => {}
            Some(Err(error)) => {
                let place = format!("{tool} -bP transports");
                findings.note(&place, format!("{error}; only the well-known folders are looked at for exim's keys"));
                return;
            }
            Some(Ok(output)) => {
                let conf = host.ask(Path::new(tool), &["-bP", "configure_file"], None).and_then(Result::ok);
                transports(tool, &output, conf.as_deref().unwrap_or_default(), findings);
                return;
            }
        }
    }
    if host.presence(Path::new("/etc/exim4")) == Presence::Folder {
        findings
            .note("/etc/exim4", "exim4 is not to be had here; only the well-known folders are looked at for its keys");
    }
}

/// Most paths that are read off one value.
const MOST_PATHS: usize = 64;

/// A transport's settings.
#[derive(Debug, Default)]
struct Transport {
    name: String,
    key: Vec<u8>,
    domain: Vec<u8>,
    selector: Vec<u8>,
}

fn transports(tool: &str, output: &[u8], conf: &[u8], findings: &mut Findings<'_>) {
    let conf = path_of(conf.trim_ascii());
    let mut transport = Transport::default();
    for line in output.split(|&byte| byte == b'\n').chain([&b" transport:"[..]]) {
        if let Some(name) = line.strip_suffix(b" transport:") {
            let ended =
                std::mem::replace(&mut transport, Transport { name: escape::text(name), ..Transport::default() });
            sign(tool, &ended, &conf, findings);
            continue;
        }
        for (setting, slot) in [
            (&b"dkim_private_key = "[..], &mut transport.key),
            (b"dkim_domain = ", &mut transport.domain),
            (b"dkim_selector = ", &mut transport.selector),
        ] {
            if let Some(value) = line.strip_prefix(setting) {
                *slot = value.trim_ascii().to_vec();
            }
        }
    }
}

fn sign(tool: &str, transport: &Transport, conf: &Path, findings: &mut Findings<'_>) {
    let place = format!("{tool} -bP transport {}", transport.name);
    let value = transport.key.as_slice();
    // The words for "do not sign".
    if value.is_empty() || value == b"0" || value == b"false" {
        return;
    }
    let fixed = |value: &[u8]| (!value.contains(&b'$')).then(|| value.to_vec());
    let (domain, selector) = (fixed(&transport.domain), fixed(&transport.selector));
    if value.windows(11).any(|window| window == b"-----BEGIN ") {
        let text = format!(
            "holds the key itself: {} is watched as a key; better give the key a file of its own",
            escape::path(conf)
        );
        findings.note(&place, text);
        if conf.is_absolute() {
            findings.key(conf, Identity::of(domain.as_deref(), selector.as_deref()), Some(SIGNER), &place);
        }
        return;
    }
    let paths = paths(value);
    if paths.is_empty() {
        findings.note(
            &place,
            "dkim_private_key names no path that can be read off it; name the keys or their folder in keys.paths",
        );
    }
    for Found { mut template, lookup } in paths {
        for (hole, value) in [(Hole::Domain, &domain), (Hole::Selector, &selector)] {
            // A list, `a : b`, is one of several at each message.
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty() && !value.contains(&b':')) {
                template = template.filled(hole, value);
            }
        }
        let identity = Identity::of(domain.as_deref(), selector.as_deref());
        match (lookup, template.literal()) {
            (true, Some(table)) => lookup_table(&table, &place, findings),
            (true, None) => findings.note(
                &place,
                "looks the key up in a table whose path depends on the message; name the keys in keys.paths",
            ),
            (false, Some(path)) if findings.host().presence(&path) == Presence::Folder => {
                findings.folder(&path, Some(SIGNER), &place);
                super::folders::list(&path, Some(SIGNER), &place, findings.host(), findings);
            }
            (false, _) => findings.template(&template, &identity, SIGNER, &place),
        }
    }
}

/// A file of `lsearch`: `domain: /path/of/key`, or the key itself.
fn lookup_table(table: &Path, named_by: &str, findings: &mut Findings<'_>) {
    let Some(bytes) = findings.read_table(table, named_by) else { return };
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = at_line(table, number);
        let end = line.iter().position(|&byte| byte == b':' || byte.is_ascii_whitespace()).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(end).unwrap_or((line, b""));
        let value = value.trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        let identity = Identity::of(Some(name), None);
        if value.starts_with(b"/") {
            findings.key(&path_of(value), identity, Some(SIGNER), &place);
        } else if value.windows(11).any(|window| window == b"-----BEGIN ") {
            findings.note(&place, format!("holds the key itself: {} is watched as a key", escape::path(table)));
            findings.key(table, identity, Some(SIGNER), &place);
        }
    }
}

/// An absolute path in an expandable string.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    template: Template,
    /// It is the table of a lookup, not a key.
    lookup: bool,
}

/// Every absolute path in `value`, each once.
fn paths(value: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let before = at.checked_sub(1).and_then(|before| value.get(before));
        if byte != b'/' || before.is_some_and(|before| !b"{ \t\"'<=,;".contains(before)) {
            at += 1;
            continue;
        }
        let lookup = is_lookup(value.get(..at).unwrap_or_default());
        let (template, end) = path_at(value, at);
        let one = Found { template, lookup };
        if found.len() < MOST_PATHS && !found.contains(&one) {
            found.push(one);
        }
        at = end;
    }
    found
}

/// Does `…lsearch{` (or another single-key lookup in a file) stand before the path? `dsearch` is a folder of keys.
fn is_lookup(before: &[u8]) -> bool {
    let Some(before) = before.strip_suffix(b"{") else { return false };
    let word_at = before
        .iter()
        .rposition(|byte| !(byte.is_ascii_alphanumeric() || b"*-;_,=".contains(byte)))
        .map_or(0, |at| at + 1);
    let word = before.get(word_at..).unwrap_or_default();
    [&b"lsearch"[..], b"cdb", b"dbm", b"json", b"sqlite", b"lmdb", b"redis"]
        .iter()
        .any(|kind| word.windows(kind.len()).any(|window| window == *kind))
}

/// The path that begins at `start`, and where it ends.
fn path_at(value: &[u8], start: usize) -> (Template, usize) {
    let (mut template, mut at) = (Template::default(), start);
    while let Some(&byte) = value.get(at) {
        match byte {
            b'$' => {
                let (hole, end) = hole_at(value, at + 1);
                template.push_hole(hole);
                at = end;
            }
            b'{' | b'}' | b'"' | b',' | b';' => break,
            byte if byte.is_ascii_whitespace() => break,
            byte => {
                template.push(byte);
                at += 1;
            }
        }
    }
    (template, at)
}

/// The expansion whose `$` stands before `start`: `name`, or `{…}` with its braces balanced.
fn hole_at(value: &[u8], start: usize) -> (Hole, usize) {
    let mut end = start;
    if value.get(start) == Some(&b'{') {
        let mut depth = 0_usize;
        while let Some(&byte) = value.get(end) {
            end += 1;
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    } else {
        while value.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            end += 1;
        }
    }
    let name = value.get(start..end).unwrap_or_default();
    // `${dkim_domain}`, `${lc:$dkim_domain}` and `$dkim_domain` all stand for the domain.
    let hole = match name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}")).unwrap_or(name) {
        b"dkim_domain" | b"lc:$dkim_domain" | b"lc:${dkim_domain}" => Hole::Domain,
        b"dkim_selector" | b"lc:$dkim_selector" | b"lc:${dkim_selector}" => Hole::Selector,
        _ => Hole::Other,
    };
    (hole, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literals(value: &str) -> Vec<(String, bool)> {
        paths(value.as_bytes())
            .into_iter()
            .map(|found| {
                let filled = found
                    .template
                    .filled(Hole::Domain, b"<d>")
                    .filled(Hole::Selector, b"<s>")
                    .filled(Hole::Other, b"<?>");
                (filled.literal().unwrap().display().to_string(), found.lookup)
            })
            .collect()
    }

    #[test]
    fn every_absolute_path_with_its_holes() {
        let key = |path: &str| (path.to_owned(), false);
        assert_eq!(literals("/k/fixed.pem"), [key("/k/fixed.pem")]);
        assert_eq!(
            literals("${if exists{/k/${dkim_domain}.${dkim_selector}.key}{/k/$dkim_domain.$dkim_selector.key}{0}}"),
            [key("/k/<d>.<s>.key")]
        );
        assert_eq!(
            literals("${lookup{$dkim_domain}lsearch*{/k/table}{$value}{/k/default.pem}}"),
            [("/k/table".into(), true), key("/k/default.pem")]
        );
        assert_eq!(literals("/k/${lookup{${lc:$dkim_domain}}dsearch{/k}}.key"), [key("/k/<?>.key")]);
        assert_eq!(literals("${lookup{$dkim_domain.key}dsearch,ret=full{/k}}"), [key("/k")]);
        assert_eq!(literals("0"), []);
        assert_eq!(literals("a/b"), []);
    }

    proptest! {
        #[test]
        fn any_value_is_read_to_its_end(value in proptest::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'$'), Just(b'/'), any::<u8>()], 0..400)) {
            let _ = paths(&value);
        }
    }
}
