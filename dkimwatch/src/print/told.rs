//! Lines for people from events that were written before: the journal keeps ECS documents, perhaps of another version or another host,
//! perhaps altered. What is not there is left out, and no byte of it reaches a terminal as a command.

use std::{fmt::Write as _, io::Write};

use serde_json::Value;

use super::{
    Colour,
    pretty::{ACTION, ALARM, CALM, KEY, NOTED, STATE, USER, padded, painted},
    time,
};

/// Writes an event as [`super::Pretty`] would have.
///
/// # Errors
/// The output's own.
pub fn told(event: &Value, unix_ns: i128, colour: Colour, out: &mut impl Write) -> std::io::Result<()> {
    let event = Event(event);
    let line = if event.text("/dkimwatch/verdict").is_some() {
        access(event, unix_ns, colour)
    } else {
        let is_alarm = event.text("/event/kind").as_deref() == Some("alert");
        let (mark, paint) = if is_alarm { ("!!", ALARM) } else { ("  ", STATE) };
        let badge = painted(colour, paint, &format!("{mark} {:11}", event.word("/event/action")));
        format!("{} {badge}  {}\n", time::plain(unix_ns), event.word("/event/reason"))
    };
    out.write_all(line.as_bytes())
}

fn access(event: Event<'_>, unix_ns: i128, colour: Colour) -> String {
    if event.0.pointer("/dkimwatch/follow_up").is_some() {
        let id: String = event.word("/container/id").chars().take(12).collect();
        return format!("{} {:14} {id}: {}\n", time::plain(unix_ns), "   container", event.word("/event/reason"));
    }
    let verdict = event.word("/dkimwatch/verdict");
    let severity = event.word("/dkimwatch/severity");
    let (mark, badge, paint) = match (verdict.as_str(), severity.as_str()) {
        ("unexpected", "high" | "critical") => ("!!", "STRANGER", ALARM),
        ("unexpected", _) => ("! ", "unexpected", NOTED),
        (other, _) => ("  ", other, CALM),
    };
    let key = match (event.text("/dkimwatch/key/domain"), event.text("/dkimwatch/key/selector")) {
        (Some(domain), Some(selector)) => format!("{domain}/{selector}"),
        _ => event.word("/dkimwatch/key/path"),
    };
    let user = event.text("/user/name").or_else(|| event.text("/user/id")).unwrap_or_default();
    let mut line = format!(
        "{} {} {} {} {} {}[{}]",
        time::plain(unix_ns),
        painted(colour, paint, &format!("{mark} {badge:11}")),
        padded(&event.word("/event/action"), ACTION),
        padded(&key, KEY),
        padded(&user, USER),
        event.text("/process/executable").or_else(|| event.text("/process/name")).unwrap_or_default(),
        event.word("/process/pid"),
    );
    for ancestor in event.list("/dkimwatch/process/ancestors") {
        let _ = write!(line, " < {}[{}]", ancestor.word("/comm"), ancestor.word("/pid"));
    }
    let place = event.text("/container/name").or_else(|| event.text("/container/id"));
    if let Some(place) = place.or_else(|| event.text("/dkimwatch/unit")) {
        let _ = write!(line, "  in {place}");
    }
    line.push('\n');
    if verdict == "unexpected" {
        let (reason, rule) = (event.word("/event/reason"), event.word("/event/code"));
        let _ = writeln!(line, "{:26}{reason} ({rule}, {severity})", "");
        let args: Vec<String> = event.list("/process/args").map(|arg| arg.word("")).collect();
        if !args.is_empty() {
            let _ = writeln!(line, "{:26}command line: {}", "", args.join(" "));
        }
    }
    line
}

#[derive(Clone, Copy)]
struct Event<'a>(&'a Value);

impl<'a> Event<'a> {
    /// A string or a number, for a terminal.
    fn text(self, pointer: &str) -> Option<String> {
        match self.0.pointer(pointer)? {
            Value::String(text) => Some(harmless(text)),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn word(self, pointer: &str) -> String {
        self.text(pointer).unwrap_or_default()
    }

    fn list(self, pointer: &str) -> impl Iterator<Item = Event<'a>> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten().map(Event)
    }
}

/// Whether a character does something else than stand there: control characters, and those that change the direction or the place of
/// others. Ours are escaped as they are written.
#[must_use]
pub fn harmful(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        )
}

/// What we wrote holds no control character: it was escaped. What somebody else wrote may.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for char in text.chars() {
        if harmful(char) {
            harmless.extend(char.escape_unicode());
        } else {
            harmless.push(char);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &Value) -> String {
        let mut out = Vec::new();
        told(event, 1_000_000_000, Colour::Never, &mut out).expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    }

    /// The journal's line is the one that was told as it happened.
    #[test]
    fn a_line_is_the_one_that_was_told() {
        let stories = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stories");
        let read = |name: &str| std::fs::read_to_string(stories.join("nobody-cats-the-key").join(name)).expect("read");
        let event: Value = serde_json::from_str(read("expected.ndjson").lines().next().expect("a line")).expect("JSON");
        let without_time = |text: &str| {
            text.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).map(|(_, rest)| rest.to_owned())
        };
        assert_eq!(without_time(&line(&event)), without_time(&read("expected.txt")));
    }

    #[test]
    fn nothing_that_was_altered_reaches_the_terminal() {
        let event = serde_json::json!({
            "dkimwatch": {"verdict": "unexpected", "key": {"path": "\u{1b}[2J\n"}},
            "event": {"action": "\u{202e}x", "reason": "a\rb"},
            "process": {"pid": {"not": "a number"}, "args": ["\u{7}"]},
        });
        for event in [&event, &Value::Null, &serde_json::json!([1])] {
            let line = line(event);
            assert!(line.chars().all(|char| char == '\n' || !char.is_control()), "{line:?}");
            assert!(!line.contains('\u{202e}'), "{line:?}");
        }
    }
}
