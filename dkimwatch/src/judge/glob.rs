//! File-name patterns of `keys.public`: `*` any bytes, `?` one byte, `[abc]`, `[a-z]`, `[!abc]` one byte of a set.

/// Whether a whole name matches. Takes time proportional to pattern times name at worst: never backtracks over more
/// than the last `*`.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (pattern, name);
    // Where to go on when the rest fails: behind the last `*`, with one more byte of the name given to it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(after) = p.strip_prefix(b"*") {
            p = after;
            retry = Some((p, n));
            continue;
        }
        match (one(p, n.first().copied()), n.split_first()) {
            (Some(after), Some((_, rest))) => (p, n) = (after, rest),
            (_, None) if p.is_empty() => return true,
            _ => {
                let Some((behind, from)) = retry else { return false };
                let Some((_, rest)) = from.split_first() else { return false };
                (p, n) = (behind, rest);
                retry = Some((p, n));
            }
        }
    }
}

/// The pattern behind its first element, if that element takes `byte`.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    let (first, after) = pattern.split_first()?;
    match first {
        b'?' => Some(after),
        b'[' => {
            // A `]` right behind the bracket is a member. A set without an end is a plain `[`.
            let Some((set, behind)) = set(after) else { return (byte == b'[').then_some(after) };
            let (negated, members) = set.strip_prefix(b"!").map_or((false, set), |members| (true, members));
            (holds(members, byte) != negated).then_some(behind)
        }
        literal => (*literal == byte).then_some(after),
    }
}

fn set(after: &[u8]) -> Option<(&[u8], &[u8])> {
    let skip = usize::from(after.starts_with(b"!")) + 1;
    let end = after.iter().skip(skip).position(|byte| *byte == b']')? + skip;
    Some((after.get(..end)?, after.get(end + 1..)?))
}

fn holds(members: &[u8], byte: u8) -> bool {
    let mut rest = members;
    while let Some((first, after)) = rest.split_first() {
        if let [b'-', last, behind @ ..] = after {
            if (*first..=*last).contains(&byte) {
                return true;
            }
            rest = behind;
        } else {
            if *first == byte {
                return true;
            }
            rest = after;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.txt", "sel1.txt", true),
            ("*.txt", ".txt", true),
            ("*.txt", "sel1.txt.bak", false),
            ("*.txt", "sel1.private", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.t*t", "a.tt.txt", true),
            ("*a*b*c", "aXbYc", true),
            ("*a*b*c", "aXcYb", false),
            ("sel[0-9].pub", "sel7.pub", true),
            ("sel[!0-9].pub", "sel7.pub", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(matches(b"*.txt", b"\xff\n.txt"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches("*a".repeat(60).as_bytes(), &[b'a'; 59]));
        assert!(!matches(&[b'*'; 200], &[b'b'; 0]) || matches(&[b'*'; 200], &[]));
    }
}
