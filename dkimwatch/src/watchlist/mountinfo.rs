//! Words of proc_pid_mountinfo(5).

/// A word without its escapes, `\040` and its like.
pub(super) fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, behind)) = rest.split_first() {
        let octal =
            behind.first_chunk::<3>().and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        if let (b'\\', Some(byte), Some(after)) = (first, octal, behind.get(3..)) {
            plain.push(byte);
            rest = after;
        } else {
            plain.push(*first);
            rest = behind;
        }
    }
    plain
}
