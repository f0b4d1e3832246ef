//! The lines that `watch --format ecs` prints, as a test asks about them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One line: an ECS object.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(Arc<Line>);

/// What is asked of every event, again and again, is taken out once.
#[derive(Debug, PartialEq)]
struct Line {
    value: Value,
    action: String,
    pid: Option<u32>,
    key: Option<PathBuf>,
}

impl Event {
    /// Reads one line.
    ///
    /// # Errors
    /// The line is not a JSON object.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        anyhow::ensure!(value.is_object(), "not a JSON object: {line}");
        let text = |name| field(&value, name).and_then(Value::as_str);
        let action = text("event.action").unwrap_or_default().to_owned();
        let pid = field(&value, "process.pid").and_then(number).and_then(|pid| pid.try_into().ok());
        let key = text("dkimwatch.key.path").map(PathBuf::from);
        Ok(Self(Arc::new(Line { value, action, pid, key })))
    }

    /// The value of an ECS field by its dotted name, for instance `process.real_user.id`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        field(&self.0.value, name)
    }

    /// A field that ECS types as `keyword`; `None` when absent or not a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// A number: given as one, or as ECS gives ids, a string of digits.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name).and_then(number)
    }

    /// `event.action`, or nothing.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.0.action
    }

    /// `dkimwatch.verdict`, or nothing.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.text("dkimwatch.verdict").unwrap_or_default()
    }

    /// `process.pid`: the process (not the thread), in the initial pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// Whether `dkimwatch.key.path` is this path, or below it.
    #[must_use]
    pub fn is_about(&self, path: &Path) -> bool {
        self.0.key.as_ref().is_some_and(|key| key.starts_with(path))
    }

    /// Somebody reached, or tried to reach, a key: every action whose name starts with `key-`, and those around the file.
    #[must_use]
    pub fn is_access(&self) -> bool {
        self.action().starts_with("key-") || matches!(self.action(), "device-opened" | "signer-memory-accessed")
    }

    /// `event.kind` is `alert`.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.text("event.kind") == Some("alert")
    }
}

/// The line, as one would read it in the log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(value, |value, part| value.get(part))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Events in the order they were printed. Displays as one short line each, for a failing test's message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events(Vec<Event>);

impl Events {
    /// Those for which `wanted` holds.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&Event) -> bool) -> Self {
        self.iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// Accesses to keys.
    #[must_use]
    pub fn accesses(&self) -> Self {
        self.only(Event::is_access)
    }

    /// Alerts, about accesses or not.
    #[must_use]
    pub fn alerts(&self) -> Self {
        self.only(Event::is_alert)
    }

    /// Accesses by one process, by its pid in the initial namespace.
    #[must_use]
    pub fn by(&self, pid: u32) -> Self {
        self.only(|event| event.is_access() && event.pid() == Some(pid))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, Event> {
        self.0.iter()
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<&Event> {
        self.0.last()
    }

    /// The only one.
    ///
    /// # Errors
    /// There is none ([`Missing`]), or more than one; `what` says what was looked for.
    pub fn one(&self, what: &str) -> Result<&Event> {
        match self.0.as_slice() {
            [event] => Ok(event),
            [] => Err(Missing(format!("no event: {what}")).into()),
            events => anyhow::bail!("{} events instead of one: {what}\n{self}", events.len()),
        }
    }
}

/// An event that did not come. Other errors are about what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

impl Events {
    /// As many as that.
    ///
    /// # Errors
    /// There are fewer ([`Missing`]), or more; `what` says what was looked for.
    pub fn exactly(&self, count: usize, what: &str) -> Result<()> {
        let found = self.len();
        if found < count {
            return Err(Missing(format!("{found} events instead of {count}: {what}\n{self}")).into());
        }
        anyhow::ensure!(found == count, "{found} events instead of {count}: {what}\n{self}");
        Ok(())
    }
}

impl FromIterator<Event> for Events {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        Self(events.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = &'a Event;
    type IntoIter = std::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 50;
        const SHOWN: [&str; 6] =
            ["dkimwatch.key.path", "process.pid", "process.executable", "user.id", "process.parent.pid", "rule.id"];
        for event in self.iter().take(LINES) {
            write!(f, "  {} {}", event.action(), event.verdict())?;
            for (name, value) in SHOWN.iter().filter_map(|name| Some((name, event.field(name)?))) {
                write!(f, " {name}={value}")?;
            }
            writeln!(f)?;
        }
        match self.len().checked_sub(LINES) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "  … and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_dotted_name_and_a_number_in_either_form() {
        let event = Event::parse(
            r#"{"event":{"kind":"alert","action":"key-opened"},"process":{"pid":7,"real_user":{"id":"33"}},"dkimwatch":{"verdict":"unexpected"}}"#,
        )
        .unwrap();
        assert_eq!(event.pid(), Some(7));
        assert_eq!(event.number("process.real_user.id"), Some(33));
        assert_eq!(event.text("process.pid"), None);
        assert_eq!(event.field("process.parent.pid"), None);
        assert!(event.is_access() && event.is_alert());
        assert_eq!(event.verdict(), "unexpected");
    }

    #[test]
    fn one_refuses_none_and_two() {
        let event = Event::parse(r#"{"event":{"action":"key-opened"},"process":{"pid":7}}"#).unwrap();
        let once: Events = [event.clone()].into_iter().collect();
        let twice: Events = [event.clone(), event.clone()].into_iter().collect();
        assert_eq!(once.by(7).one("by 7").unwrap(), &event);
        assert!(once.by(8).one("by 8").unwrap_err().is::<Missing>());
        assert_eq!(twice.to_string(), "  key-opened  process.pid=7\n  key-opened  process.pid=7\n");
        assert!(!twice.one("all").unwrap_err().is::<Missing>());
        assert!(once.exactly(2, "all").unwrap_err().is::<Missing>() && twice.exactly(2, "all").is_ok());
        assert!(!twice.exactly(1, "all").unwrap_err().is::<Missing>());
    }
}
