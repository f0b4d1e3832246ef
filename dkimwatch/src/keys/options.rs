//! Command lines: words as `sh` splits them, short options as `getopt(3)` reads them.

/// The options in `args` (without the program's name); `valued` are the letters that take a value.
pub(super) fn options(args: &[Vec<u8>], valued: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(letters) = arg.strip_prefix(b"-").filter(|letters| !letters.is_empty() && *letters != b"-") else {
            // OpenBSD's and musl's getopt stop at the first operand, glibc's goes on; none of the signers has operands
            // before its options.
            break;
        };
        for (index, &letter) in letters.iter().enumerate() {
            if !valued.contains(&letter) {
                found.push((letter, Vec::new()));
                continue;
            }
            let attached = letters.get(index + 1..).unwrap_or_default();
            let value = if attached.is_empty() { args.next().cloned() } else { Some(attached.to_vec()) };
            found.extend(value.map(|value| (letter, value)));
            break;
        }
    }
    found
}

/// The words of a command as `sh` splits a plain one: blanks, quotes, backslashes; no expansions.
pub(super) fn shell_words(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<Vec<u8>>, None);
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(b'\''), byte) => word.get_or_insert_default().push(byte),
            (_, b'\\') => word.get_or_insert_default().extend(bytes.next()),
            (Some(_), byte) => word.get_or_insert_default().push(byte),
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, byte) if byte.is_ascii_whitespace() => words.extend(word.take()),
            (None, byte) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_getopt_reads_them() {
        let args = ["-fv", "-x/a", "-vk", "/b", "-d", "-x", "--", "-k", "/c"].map(|arg| arg.as_bytes().to_vec());
        let found: Vec<_> = options(&args, b"xkd")
            .into_iter()
            .map(|(letter, value)| (char::from(letter), String::from_utf8(value).unwrap()))
            .collect();
        let expected = [('f', ""), ('v', ""), ('x', "/a"), ('v', ""), ('k', "/b"), ('d', "-x")];
        assert_eq!(found, expected.map(|(letter, value)| (letter, value.to_owned())));
        assert_eq!(options(&[b"-x".to_vec()], b"x"), []);
    }
}
