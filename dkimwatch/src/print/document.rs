//! A JSON object that is filled by dotted field names.

use serde_json::{Map, Value};

/// The object. Fields come out sorted by name, so that two renderings of the same event are the same bytes.
#[derive(Debug, Default)]
pub(super) struct Document(Map<String, Value>);

impl Document {
    /// Sets a field, nested by the dots of its name.
    pub(super) fn set(&mut self, field: &str, value: impl Into<Value>) {
        let mut object = &mut self.0;
        let mut names = field.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                object.insert(name.to_owned(), value.into());
                return;
            }
            let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                // A field cannot be both a value and an object; the schema test would name it. The object wins.
                *inner = Value::Object(Map::new());
            }
            let Value::Object(next) = inner else { return };
            object = next;
        }
    }

    /// Sets a field that is known; leaves out one that is not.
    pub(super) fn set_known(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(field, value);
        }
    }

    /// One line, its end included. JSON escapes control characters, so that there is no other line end in it.
    pub(super) fn into_line(self) -> String {
        let mut line = Value::Object(self.0).to_string();
        line.push('\n');
        line
    }
}
