//! Journals for the tests: of the golden stories' events, which the program itself rendered, at times of their own.

use std::path::Path;

use serde_json::{Value, json};

use super::{Filter, Question, Report, report};
use crate::{
    judge::Verdict,
    record::{EntryKind, Journal, Limits, New},
};

/// 2026-11-23 00:00:00 UTC.
pub(crate) const MONDAY: i64 = 1_795_392_000_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;

/// Events of a story.
pub(crate) fn story(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/stories").join(name).join("expected.ndjson");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// The first event of a story, with some fields set.
pub(crate) fn event(name: &str, fields: &[(&str, Value)]) -> Value {
    let mut event = story(name).remove(0);
    for (pointer, value) in fields {
        set(&mut event, pointer, value.clone());
    }
    event
}

/// Sets a field by its pointer, and makes the objects that lead to it.
pub(crate) fn set(event: &mut Value, pointer: &str, value: Value) {
    let mut at = event;
    for name in pointer.trim_start_matches('/').split('/') {
        at = &mut at[name];
    }
    *at = value;
}

/// An event of the watch itself, on the stories' host, as docs/output.md has it.
pub(crate) fn state(action: &str, fields: &[(&str, Value)]) -> Value {
    let mut event = json!({
        "event": {"action": action, "kind": "state", "reason": format!("{action}: a sentence.")},
        "host": story("nobody-cats-the-key").remove(0)["host"],
    });
    for (pointer, value) in fields {
        set(&mut event, pointer, value.clone());
    }
    event
}

/// A journal in a folder.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    journal: Journal,
}

impl Made {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::at(folder)
    }

    /// In a folder where sealing may have been set up.
    pub(crate) fn at(folder: tempfile::TempDir) -> Self {
        let limits = Limits {
            segment_size: 64 << 20,
            segment_age: std::time::Duration::from_secs(1 << 40),
            keep_size: 1 << 40,
            keep_age: std::time::Duration::from_secs(1 << 40),
        };
        let (journal, _) = Journal::open(folder.path(), limits, MONDAY).expect("a journal");
        Self { folder, journal }
    }

    pub(crate) fn put(&mut self, unix_ns: i64, event: &Value) {
        let follow_up = event["dkimwatch"]["follow_up"] == true;
        let verdict = match event["dkimwatch"]["verdict"].as_str() {
            Some("expected") => Some(Verdict::Expected),
            Some("maintenance") => Some(Verdict::Maintenance),
            Some(_) => Some(Verdict::Unexpected),
            None => None,
        };
        let kind = match (verdict, follow_up) {
            (None, _) => EntryKind::State,
            (Some(_), false) => EntryKind::Access,
            (Some(_), true) => EntryKind::FollowUp,
        };
        let new = New { unix_ns, kind, verdict, event: event.to_string().into_bytes(), record: vec![7; 40] };
        self.journal.append(new).expect("short enough");
        self.journal.flush().expect("written");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The report about it.
    pub(crate) fn report(&self, filter: Filter) -> Report {
        report_on(&[self], filter)
    }
}

/// The report about several journals, made on Sunday.
pub(crate) fn report_on(journals: &[&Made], filter: Filter) -> Report {
    let journals = journals.iter().map(|made| made.path().to_owned()).collect();
    let question = Question { journals, keys: Vec::new(), filter, now: MONDAY + 6 * 24 * HOUR };
    report(&question).expect("journals")
}

/// A night at a mail host: its signers restart, a backup runs, somebody tries and somebody takes a key, and the watch is away for a
/// while.
pub(crate) fn night() -> Made {
    let mut made = Made::new();
    let key = |domain: &str, selector: &str| {
        let path = format!("/etc/dkimkeys/{selector}.private");
        json!({"path": path, "domain": domain, "selector": selector, "signer": "opendkim"})
    };
    let (org, net) = (key("example.org", "sel1"), key("example.net", "mail"));
    let keys = [("/dkimwatch/keys", json!([org, net])), ("/dkimwatch/backend", json!("lsm"))];
    made.put(MONDAY, &state("watch-started", &keys));
    let signs = |key: &Value| event("opendkim-keyfile-as-root-before-setuid", &[("/dkimwatch/key", key.clone())]);
    for restart in 0..36 {
        // Twelve times between six and nine, on three mornings.
        let time = MONDAY + restart / 12 * 24 * HOUR + 6 * HOUR + restart % 12 * 1_000 * SECOND;
        made.put(time, &signs(&org));
        made.put(time + SECOND, &signs(&net));
    }
    let day = MONDAY + 3 * 24 * HOUR;
    made.put(
        day + 2 * HOUR,
        &event("a-declared-backup", &[("/dkimwatch/key", org.clone()), ("/event/id", json!("backup"))]),
    );
    let refused = event("an-open-refused-by-permission-bits", &[("/event/id", json!("refused"))]).to_string();
    let refused = refused.replace("example.org", "example.net").replace("sel1", "mail");
    made.put(day + 3 * HOUR + 11 * 60 * SECOND, &serde_json::from_str(&refused).expect("an event"));
    let taken = [("/dkimwatch/key", org.clone()), ("/event/id", json!("taken"))];
    made.put(day + 3 * HOUR + 12 * 60 * SECOND, &event("nobody-cats-the-key", &taken));
    let contained = [("/dkimwatch/key", org.clone()), ("/event/id", json!("contained"))];
    made.put(day + 3 * HOUR + 14 * 60 * SECOND, &event("a-reader-in-a-container", &contained));
    let lost = [
        ("/event/kind", json!("alert")),
        ("/event/start", json!("2026-11-26T03:15:00.000000000Z")),
        ("/event/end", json!("2026-11-26T03:15:01.000000000Z")),
        ("/event/reason", json!("12 accesses could not be handed over by lsm/file_open, as the ring was full.")),
        ("/dkimwatch/lost", json!({"count": 12, "why": "ring-full"})),
    ];
    made.put(day + 3 * HOUR + 15 * 60 * SECOND, &state("events-lost", &lost));
    made.put(day + 4 * HOUR, &state("watch-stopped", &[]));
    made.put(day + 6 * HOUR, &state("watch-started", &keys));
    made.put(
        day + 7 * HOUR,
        &event("opendkim-testkey-by-root", &[("/dkimwatch/key", org), ("/event/id", json!("check"))]),
    );
    made
}

/// A large journal: 50 keys of as many domains, four hosts' worth of readers, a stranger among ten thousand accesses, a heartbeat a
/// minute. Events of signers are 3.3 kB, as the program renders them.
pub(crate) fn many(folder: &Path, entries: i64) {
    let limits = Limits {
        segment_size: 64 << 20,
        segment_age: std::time::Duration::from_secs(1 << 40),
        keep_size: 1 << 40,
        keep_age: std::time::Duration::from_secs(1 << 40),
    };
    let (mut journal, _) = Journal::open(folder, limits, MONDAY).expect("a journal");
    let signs: Vec<String> = (0..50)
        .map(|at| {
            let (path, domain) = (format!("/etc/dkimkeys/{at}.private"), format!("d{at}.example"));
            let key = json!({"path": path, "domain": domain, "selector": "sel1"});
            event("opendkim-keyfile-as-root-before-setuid", &[("/dkimwatch/key", key)]).to_string()
        })
        .collect();
    let taken = story("nobody-cats-the-key").remove(0).to_string();
    let heartbeat = state("watch-heartbeat", &[]).to_string();
    for at in 0..entries {
        let (kind, verdict, event) = match at % 10_000 {
            9_999 => (EntryKind::Access, Some(Verdict::Unexpected), &taken),
            other if other % 60 == 0 => (EntryKind::State, None, &heartbeat),
            other => (EntryKind::Access, Some(Verdict::Expected), &signs[usize::try_from(other % 50).expect("small")]),
        };
        let new = New {
            unix_ns: MONDAY + at * SECOND,
            kind,
            verdict,
            // Each is another one, as real ones are.
            event: event.replacen("\"sequence\":", &format!("\"sequence\":{}", at % 900 + 100), 1).into_bytes(),
            record: vec![7; 700],
        };
        journal.append(new).expect("short enough");
        if at % 500 == 0 {
            journal.flush().expect("written");
            journal.rotate(MONDAY + at * SECOND).expect("a segment");
        }
    }
    journal.sync().expect("written");
}

/// Whoever wants a report to fill the memory: each access is by another program, in another container, at another key, with names as long
/// as they can be, of what grows most as it is escaped.
pub(crate) fn flood() -> Made {
    let mut made = Made::new();
    let mut taken = event("a-reader-in-a-container", &[]);
    let long = "&".repeat(4_000);
    for at in 0..20_000 {
        for field in ["/process/executable", "/container/name", "/container/id", "/dkimwatch/unit"] {
            set(&mut taken, field, json!(format!("{at}{long}")));
        }
        if at % 10 == 0 {
            set(&mut taken, "/dkimwatch/key/path", json!(format!("/{at}{long}")));
        }
        made.put(MONDAY + at * SECOND, &taken);
    }
    made
}
