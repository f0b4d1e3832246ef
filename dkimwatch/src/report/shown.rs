//! Text that may be shown: the only form in which anything of an event reaches a report.

use std::fmt;

use serde::Serialize;

use crate::escape;

/// Bytes of a text that are kept. Paths and arguments of people are shorter; a flood of long ones must not fill the memory.
const LONGEST: usize = 1_024;
/// And of a sentence, which holds several of them.
const LONGEST_SENTENCE: usize = 6 * LONGEST;

/// Text without control characters, without what turns a line around, and of a bounded length.
///
/// Events are escaped as they are written, but a journal may be a copy that somebody altered, and not every name in an event was a
/// process's choice. There is no way from an event into a report but [`Shown::of`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Shown(Box<str>);

impl Shown {
    /// Of a text of whatever origin. What an event escaped stays as it is.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::cut(text, LONGEST)
    }

    /// Of a sentence, an event's or one of ours.
    #[must_use]
    pub fn sentence(text: &str) -> Self {
        Self::cut(text, LONGEST_SENTENCE)
    }

    fn cut(text: &str, longest: usize) -> Self {
        let mut end = text.len().min(longest);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut shown = escape::again(text.get(..end).unwrap_or_default());
        if end < text.len() {
            shown.push('…');
        }
        Self(shown.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as one word of a sentence: in quotes where blanks would let it pass for several, or for the sentence's end.
    #[must_use]
    pub fn word(&self) -> String {
        if self.0.is_empty() || self.0.contains(|c: char| c.is_whitespace() || c == '"') {
            format!("\"{}\"", self.0.replace('"', "\\x22"))
        } else {
            self.0.to_string()
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_shown_and_what_was_escaped_stays() {
        assert_eq!(Shown::of("a\n\u{202e}b\\x0a\\\\").as_str(), r"a\x0a\xe2\x80\xaeb\x0a\\");
        assert_eq!(Shown::of("a. Nothing \"to\" do").word(), r#""a. Nothing \x22to\x22 do""#);
        assert_eq!((Shown::of("/k/a").word().as_str(), Shown::default().word().as_str()), ("/k/a", "\"\""));
        let long = "é".repeat(LONGEST);
        let shown = Shown::of(&long);
        assert!(shown.as_str().ends_with("é…") && shown.as_str().len() < LONGEST + 4, "{}", shown.as_str().len());
    }
}
