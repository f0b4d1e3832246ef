//! OpenSMTPD's filter-dkimsign: smtpd.conf(5), and the running filter's command line.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    findings::{Findings, Identity, at_line},
    options::{options, shell_words},
};
use crate::{
    escape,
    host::{Host, Presence, path_of},
};

const SIGNER: &str = "opensmtpd-filter-dkimsign";
/// Debian's; the other is where ports and source builds put it.
const EXECUTABLES: [&str; 2] = ["/usr/libexec/opensmtpd/filter-dkimsign", "/usr/libexec/smtpd/filter-dkimsign"];
const CONFS: [&str; 2] = ["/etc/smtpd.conf", "/etc/mail/smtpd.conf"];
/// The options of filter-dkimsign(8) that take a value.
const VALUED: &[u8] = b"acdhksx";
/// How deep `include` is followed, and how many files in all.
const DEEPEST: usize = 5;
const MOST_FILES: usize = 64;
/// Longest value of a macro, in bytes: macros hold macros.
const LONGEST_MACRO: usize = 4096;

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    for conf in CONFS.iter().map(Path::new).filter(|conf| host.presence(conf) != Presence::Missing) {
        let mut reader = Reader::default();
        reader.file(conf, &escape::path(conf), 0, findings);
    }
    for executable in EXECUTABLES {
        for process in findings.running(SIGNER, Path::new(executable), "_dkimsign") {
            let place = format!("command line of filter-dkimsign (pid {})", process.pid);
            filter(process.args.get(1..).unwrap_or_default(), &place, findings);
        }
    }
}

/// The keys of a filter's arguments.
fn filter(args: &[Vec<u8>], place: &str, findings: &mut Findings<'_>) {
    let (mut key, mut selector, mut domains) = (None, None, Vec::new());
    for (letter, value) in options(args, VALUED) {
        match letter {
            b'k' => key = Some(value),
            b's' => selector = Some(value),
            b'd' => domains.push(value),
            _ => {}
        }
    }
    let Some(key) = key.map(|key| path_of(&key)) else { return };
    if !key.is_absolute() {
        findings.note(place, format!("names its key by the relative path {}; make it absolute", escape::path(&key)));
        return;
    }
    if domains.is_empty() {
        domains.push(Vec::new());
    }
    for domain in domains {
        findings.key(&key, Identity::of(Some(&domain), selector.as_deref()), Some(SIGNER), place);
    }
}

/// Reads smtpd.conf(5): quoted strings, `#` comments, `\` continuations, `include`, macros.
#[derive(Default)]
struct Reader {
    macros: HashMap<Vec<u8>, Vec<u8>>,
    files: usize,
}

impl Reader {
    fn file(&mut self, file: &Path, named_by: &str, depth: usize, findings: &mut Findings<'_>) {
        let Some(bytes) = findings.read(file, named_by) else { return };
        self.files += 1;
        for (line, words) in lines(&bytes) {
            let place = at_line(file, line);
            match words.as_slice() {
                [name, equals, value @ ..] if equals == b"=" => {
                    let value = self.expanded(&value.join(&b' '));
                    self.macros.insert(name.clone(), value);
                }
                [include, path] if include == b"include" => {
                    let path: PathBuf = path_of(&self.expanded(path));
                    if depth == DEEPEST || self.files == MOST_FILES || !path.is_absolute() {
                        findings.note(
                            &place,
                            format!(
                                "the include of {} is not followed (too deep, too many, or relative)",
                                escape::path(&path)
                            ),
                        );
                    } else {
                        self.file(&path, &place, depth + 1, findings);
                    }
                }
                [first, rest @ ..] if first == b"filter" => {
                    let Some(command) = rest.iter().skip_while(|word| *word != b"proc-exec" && *word != b"proc").nth(1)
                    else {
                        continue;
                    };
                    self.command(command, &place, findings);
                }
                [proc, _, command, ..] if proc == b"proc" => self.command(command, &place, findings),
                _ => {}
            }
        }
    }

    /// A command, which smtpd gives to `sh -c`.
    fn command(&self, command: &[u8], place: &str, findings: &mut Findings<'_>) {
        let words = shell_words(&self.expanded(command));
        let Some(program) =
            words.iter().position(|word| word == b"filter-dkimsign" || word.ends_with(b"/filter-dkimsign"))
        else {
            return;
        };
        filter(words.get(program + 1..).unwrap_or_default(), place, findings);
    }

    /// The text with `$name` replaced.
    fn expanded(&self, text: &[u8]) -> Vec<u8> {
        let mut expanded = Vec::new();
        let mut rest = text;
        while let Some((&first, tail)) = rest.split_first() {
            let length = tail.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            let value = tail
                .get(..length)
                .filter(|name| first == b'$' && !name.is_empty())
                .and_then(|name| self.macros.get(name));
            match value {
                Some(value) => {
                    expanded.extend_from_slice(value);
                    rest = tail.get(length..).unwrap_or_default();
                }
                None => {
                    expanded.push(first);
                    rest = tail;
                }
            }
            if expanded.len() > LONGEST_MACRO {
                expanded.truncate(LONGEST_MACRO);
                break;
            }
        }
        expanded
    }
}

/// Lines with their number, continuations joined, as words; `=` is a word of its own.
fn lines(bytes: &[u8]) -> Vec<(usize, Vec<Vec<u8>>)> {
    let (mut lines, mut words, mut word) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    let (mut number, mut began, mut quote, mut comment) = (1, 1, None, false);
    let mut bytes = bytes.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.peek() == Some(&b'\n') && !comment {
            bytes.next();
            number += 1;
            continue;
        }
        if byte == b'\n' {
            words.extend(word.take());
            if !words.is_empty() {
                lines.push((began, std::mem::take(&mut words)));
            }
            number += 1;
            (began, quote, comment) = (number, None, false);
            continue;
        }
        match (quote, byte) {
            _ if comment => {}
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), b'\\') => word.get_or_insert_default().extend(bytes.next_if(|byte| *byte != b'\n')),
            (Some(_), byte) => word.get_or_insert_default().push(byte),
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b'#') => comment = true,
            (None, b'=') => {
                words.extend(word.take());
                words.push(b"=".to_vec());
            }
            (None, byte) if byte.is_ascii_whitespace() => words.extend(word.take()),
            (None, byte) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    if !words.is_empty() {
        lines.push((began, words));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_quotes_and_continuations() {
        let text =
            b"# c\nkey=\"/k/a b\" # c\nfilter x proc-exec \\\n \"filter-dkimsign -d \\\"d\\\" -k '$key'\" user u\n";
        let read: Vec<_> = lines(text)
            .into_iter()
            .map(|(line, words)| {
                (line, words.iter().map(|word| String::from_utf8(word.clone()).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(read[0], (2, vec!["key".into(), "=".into(), "/k/a b".into()]));
        assert_eq!(read[1].0, 3);
        assert_eq!(read[1].1[3], "filter-dkimsign -d \"d\" -k '$key'");
        assert_eq!(shell_words(b"a 'b c' \"d\\\"e\" f\\ g ''"), [&b"a"[..], b"b c", b"d\"e", b"f g", b""]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'\n'), Just(b'$'), any::<u8>()], 0..400)) {
            let _ = (lines(&bytes), shell_words(&bytes));
        }
    }
}
