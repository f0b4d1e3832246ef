//! Amavis: `dkim_key('domain', 'selector', '/path', …)` in its configuration.
//!
//! That configuration is a Perl program, and the command that would evaluate it (`amavisd showkeys`) opens the keys; so
//! only calls with plain strings are read, and any other is noted.

use std::path::Path;

use super::findings::{Findings, Identity, at_line};
use crate::host::{Host, path_of};

const FOLDER: &str = "/etc/amavis/conf.d";
const FILES: [&str; 2] = ["/etc/amavisd.conf", "/etc/amavisd/amavisd.conf"];
/// It has no built-in profile; a `[[signer]]` of this name is its.
const SIGNER: &str = "amavis";

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    let folder = Path::new(FOLDER);
    let in_folder = host.names(folder).into_iter().map(|name| folder.join(name));
    for file in FILES.iter().map(|file| Path::new(file).to_path_buf()).chain(in_folder) {
        let Some(bytes) = findings.read_if_there(&file) else { continue };
        for (line, call) in calls(&bytes) {
            let place = at_line(&file, line);
            match call {
                Some([domain, selector, path]) if path.starts_with(b"/") => {
                    findings.key(&path_of(&path), Identity::of(Some(&domain), Some(&selector)), Some(SIGNER), &place);
                }
                _ => findings.note(
                    &place,
                    "dkim_key is called with something else than plain strings; name its key in keys.paths",
                ),
            }
        }
    }
}

/// The calls of `dkim_key` outside comments, with their first three arguments where they are plain strings.
fn calls(bytes: &[u8]) -> Vec<(usize, Option<[Vec<u8>; 3]>)> {
    const NAME: &[u8] = b"dkim_key";
    let mut calls = Vec::new();
    let mut start = 0;
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let code = line.iter().position(|&byte| byte == b'#').unwrap_or(line.len());
        let at = line.get(..code).and_then(|code| code.windows(NAME.len()).position(|window| window == NAME));
        if let Some(at) = at {
            let after = bytes.get(start + at + NAME.len()..).unwrap_or_default().trim_ascii_start();
            if let Some(arguments) = after.strip_prefix(b"(") {
                calls.push((number, strings(arguments)));
            }
        }
        start += line.len() + 1;
    }
    calls
}

/// Three strings in quotes, separated by commas.
fn strings(mut text: &[u8]) -> Option<[Vec<u8>; 3]> {
    let mut found: [Vec<u8>; 3] = Default::default();
    for (index, slot) in found.iter_mut().enumerate() {
        text = text.trim_ascii_start();
        if index > 0 {
            text = text.strip_prefix(b",").or_else(|| text.strip_prefix(b"=>"))?.trim_ascii_start();
        }
        let (&quote, rest) = text.split_first().filter(|(quote, _)| b"'\"".contains(quote))?;
        let end = rest.iter().position(|&byte| byte == quote)?;
        let (string, tail) = rest.split_at_checked(end)?;
        if string.contains(&b'\\') || (quote == b'"' && string.iter().any(|byte| b"$@".contains(byte))) {
            return None;
        }
        *slot = string.to_vec();
        text = tail.get(1..)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_calls_are_read_and_others_are_noticed() {
        let text = b"# dkim_key('no', 'no', '/no');\ndkim_key('a.org', \"s1\",\n  '/k/a.pem', h => 'x');\ndkim_key($d, 's', '/k');\n@dkim_key_x = 1;\n";
        let plain = ["a.org", "s1", "/k/a.pem"].map(|word| word.as_bytes().to_vec());
        assert_eq!(calls(text), [(2, Some(plain)), (4, None)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let mut bytes = bytes;
            let at = at.min(bytes.len());
            bytes.splice(at..at, *b"dkim_key('a',");
            let _ = calls(&bytes);
        }
    }
}
