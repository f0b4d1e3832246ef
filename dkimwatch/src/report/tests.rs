//! Reports of made journals: what they say, in every form, and what no hostile name can do to them.

use serde_json::json;

use super::{
    made::{HOUR, MONDAY, Made, SECOND, event, night, report_on, state, story},
    *,
};
use crate::judge::Verdict;

fn written(report: &Report, format: Format) -> String {
    let mut out = Vec::new();
    report.write(format, &mut out).expect("a Vec takes everything");
    String::from_utf8(out).expect("UTF-8")
}

/// The text with the journal's folder, which is another one each time, called FOLDER.
fn text(made: &Made, report: &Report) -> String {
    written(report, Format::Text).replace(&*made.path().to_string_lossy(), "FOLDER")
}

#[test]
fn a_night_as_text() {
    let made = night();
    let found = text(&made, &made.report(Filter::default()));
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/night.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &found).expect("written");
    }
    let expected = std::fs::read_to_string(&golden).expect("BLESS=1 writes it");
    for (number, (found, expected)) in (1..).zip(found.lines().zip(expected.lines())) {
        assert_eq!(found, expected, "night.txt:{number}: BLESS=1 cargo test -p dkimwatch --lib report writes it anew");
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn a_night_in_every_other_form() {
    let made = night();
    let report = made.report(Filter::default());
    let document: serde_json::Value = serde_json::from_str(&written(&report, Format::Json)).expect("JSON");
    assert_eq!((&document["verdict"], &document["findings"]), (&json!("exposed"), &json!(true)));
    assert_eq!(document["accesses"]["exposed"], 2);
    assert_eq!(document["advice"][0]["keys"][0]["record"], "sel1._domainkey.example.org");
    assert_eq!(document["keys"][0]["readers"][0]["bearing"], "exposed");
    assert_eq!(document["unexpected"][0]["time"], "2026-11-26T03:11:00.000000000Z");
    assert_eq!(document["gaps"].as_array().map(Vec::len), Some(2), "{}", document["gaps"]);

    let mut table = ::csv::Reader::from_reader(std::io::Cursor::new(written(&report, Format::Csv)));
    let lines: Vec<_> = table.records().map(|line| line.expect("RFC 4180")).collect();
    let of = |kind: &str| lines.iter().filter(|line| &line[0] == kind).count();
    assert_eq!((of("verdict"), of("access"), of("gap"), of("journal")), (1, 4, 2, 1));

    let page = written(&report, Format::Html);
    for part in [
        "<main id=\"main\">",
        "Exposed: 1 key must be taken for stolen",
        "sel1._domainkey.example.org",
        "nobody (uid 65534)",
        "<svg ",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn what_is_asked_for_is_what_is_told() {
    let made = night();
    let counts = |filter: Filter| made.report(filter).counts;
    let own = |text: &str| Some(text.to_owned());
    assert_eq!(counts(Filter::default()).all(), 72 + 5);
    let day = MONDAY + 3 * 24 * HOUR;
    assert_eq!(counts(Filter { since: Some(day), until: Some(day + 3 * HOUR), ..Filter::default() }).all(), 1);
    assert_eq!(counts(Filter { domain: own("example.net"), ..Filter::default() }).unexpected(), 1);
    assert_eq!(counts(Filter { verdict: Some(Verdict::Maintenance), ..Filter::default() }).all(), 1);
    assert_eq!(counts(Filter { process: own("opendkim"), ..Filter::default() }).unexpected(), 0);
    let report = made.report(Filter { domain: own("example.net"), ..Filter::default() });
    assert_eq!(report.headline.level, Level::Look);
    let last = report.headline.sentences.last().map(ToString::to_string);
    assert_eq!(last.as_deref(), Some("Only some accesses were asked for: this verdict is about them."));
    assert!(report.advice.iter().all(|advice| advice.bearing == Bearing::Attempted));
    let nothing = made.report(Filter { since: Some(day + 90 * HOUR), ..Filter::default() });
    assert_eq!(nothing.headline.level, Level::Unsure, "no entry is no good news");
}

#[test]
fn what_was_as_it_should_be_is_quiet() {
    let mut made = Made::new();
    made.put(MONDAY, &state("watch-started", &[("/dkimwatch/keys", json!([{"path": "/etc/dkimkeys/never.private"}]))]));
    made.put(MONDAY + HOUR, &story("opendkim-keyfile-as-root-before-setuid")[0]);
    let report = made.report(Filter::default());
    assert_eq!((report.headline.level, report.has_findings()), (Level::Quiet, false), "{}", text(&made, &report));
    assert_eq!(report.headline.title.as_str(), "Not exposed: 1 access to 2 keys, all expected");
    assert_eq!(report.keys.iter().filter(|key| key.readers.is_empty()).count(), 1, "a key that nobody read is listed");
}

#[test]
fn what_is_found_out_later_completes_an_alert() {
    let pending = [
        ("/event/id", json!("one")),
        ("/container", json!({"id": "0123456789abcdef", "runtime": "docker"})),
        ("/dkimwatch/enrichment/state", json!("pending")),
    ];
    let alert = event("a-reader-in-a-container", &pending);
    let mut later = alert.clone();
    made::set(
        &mut later,
        "/container",
        json!({"id": "0123456789abcdef", "runtime": "docker", "name": "mail", "image": {"name": "mx", "tag": ["3"]}}),
    );
    made::set(&mut later, "/dkimwatch/follow_up", json!(true));
    made::set(&mut later, "/dkimwatch/enrichment/state", json!("done"));
    let mut made = Made::new();
    made.put(MONDAY, &alert);
    made.put(MONDAY, &later);
    for container in [None, Some("mail".to_owned()), Some("0123".to_owned())] {
        let report = made.report(Filter { container, ..Filter::default() });
        assert_eq!(report.counts.exposed, 1, "one access, told twice");
        let words = report.strangers[0].container_words();
        assert_eq!(words.as_deref(), Some("docker container mail (0123456789ab), image mx:3"));
        assert_eq!(report.keys[0].readers[0].place().as_deref(), Some("container mail"));
    }
    assert_eq!(made.report(Filter { container: Some("web".to_owned()), ..Filter::default() }).counts.all(), 0);
}

#[test]
fn several_journals_are_one_story_and_a_copy_is_not_told_twice() {
    let other = |id: &str| {
        event(
            "nobody-cats-the-key",
            &[("/host/name", json!("mx2")), ("/host/id", json!("2")), ("/event/id", json!(id))],
        )
    };
    let (mut one, mut two, mut copy) = (Made::new(), Made::new(), Made::new());
    for at in [1, 3] {
        one.put(MONDAY + at * SECOND, &event("nobody-cats-the-key", &[("/event/id", json!(at.to_string()))]));
        copy.put(MONDAY + at * SECOND, &event("nobody-cats-the-key", &[("/event/id", json!(at.to_string()))]));
        two.put(MONDAY + (at + 1) * SECOND, &other("x"));
    }
    let report = report_on(&[&one, &two, &copy], Filter::default());
    let hosts: Vec<_> = report.strangers.iter().map(|stranger| stranger.host.to_string()).collect();
    assert_eq!(hosts, ["mx1", "mx2", "mx1", "mx2"]);
    assert_eq!((report.counts.exposed, report.keys.len(), report.journals.len()), (4, 2, 3));
    assert!(report.notes.iter().any(|note| note.as_str().starts_with("2 entries are in two of the journals")));
}

#[test]
fn a_flood_of_refusals_does_not_hide_the_theft() {
    let mut made = Made::new();
    let mut refused = event("an-open-refused-by-permission-bits", &[]);
    for at in 0..3_000 {
        made::set(&mut refused, "/process/executable", json!(format!("/tmp/{at}")));
        made.put(MONDAY + at, &refused);
    }
    for at in 0..40 {
        made.put(MONDAY + 5_000 + at, &story("nobody-cats-the-key")[0]);
    }
    let report = made.report(Filter::default());
    assert_eq!((report.counts.attempted, report.counts.exposed), (3_000, 40));
    let of = |bearing| report.strangers.iter().filter(|stranger| stranger.bearing == bearing).count();
    assert_eq!((of(Bearing::Attempted), of(Bearing::Exposed)), (150, 25));
    assert_eq!(report.strangers_left_out, 3_040 - 175);
    assert_eq!(report.keys[0].readers[0].counts.exposed, 40, "the gravest reader comes first");
}

#[test]
fn a_sealed_journal_is_believed_with_its_key_only_and_a_broken_one_never() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = crate::record::set_up_sealing(folder.path(), false).expect("sealed").0;
    let mut made = Made::at(folder);
    (0..5).for_each(|at| made.put(MONDAY + at, &story("opendkim-keyfile-as-root-before-setuid")[0]));
    let trust = |keys: Vec<VerificationKey>| {
        let question = Question { journals: vec![made.path().to_owned()], keys, ..Question::default() };
        report(&question).expect("a journal")
    };
    assert_eq!(trust(Vec::new()).journals[0].trust, Trust::NotChecked);
    let sealed = trust(vec![key.clone()]);
    assert_eq!((sealed.journals[0].trust, sealed.has_findings()), (Trust::Sealed, false));

    let segment = made.path().join("0000000000000001.dkj");
    let mut bytes = std::fs::read(&segment).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let broken = trust(vec![key]);
    assert_eq!((broken.journals[0].trust, broken.headline.level), (Trust::Broken, Level::Unsure));
    assert!(broken.has_findings() && !broken.journals[0].findings.is_empty());
}

#[test]
fn entries_that_are_no_events_are_told() {
    let mut made = Made::new();
    made.put(MONDAY, &json!({"event": 7}));
    made.put(MONDAY, &json!({"event": {"severity": "high"}, "dkimwatch": {"verdict": "unexpected"}}));
    let report = made.report(Filter::default());
    assert_eq!((report.unreadable, report.has_findings()), (2, true));
}

/// Whatever an intruder can choose: names that are markup, formulas, line ends, and turn text around.
const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "=HYPERLINK(\"https://x.test\")",
    "a\nVERDICT: QUIET\r\n,b",
    "\u{202e}gnp.exe\u{2066}\u{0}\u{1b}[31m",
    "</style><style>*{display:none}</style>",
];

/// Each text of an event becomes hostile, whatever field it is in.
fn poison(value: &mut serde_json::Value, with: &str, spare: &[&str]) {
    match value {
        serde_json::Value::String(text) if !spare.contains(&text.as_str()) => with.clone_into(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| poison(item, with, spare)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| poison(field, with, spare)),
        _ => {}
    }
}

fn hostile() -> Made {
    let mut made = Made::new();
    for (at, with) in (0..).zip(HOSTILE) {
        let mut told = event(
            "a-reader-in-a-container",
            &[("/dkimwatch/other", json!({"pid": 7, "comm": "x"})), ("/dkimwatch/other_path", json!("x"))],
        );
        made::set(&mut told, "/container/name", json!("x"));
        poison(&mut told, with, &["unexpected"]);
        made.put(MONDAY + at * SECOND, &told);
        let mut lost = state("journal-gap", &[("/event/kind", json!("alert"))]);
        poison(&mut lost, with, &["alert", "journal-gap"]);
        made.put(MONDAY + at * SECOND, &lost);
    }
    made
}

#[test]
fn no_name_is_anything_but_text_in_any_form() {
    let made = hostile();
    let report = made.report(Filter::default());
    assert_eq!(report.counts.exposed, 7, "an action that nobody knows counts as the worst");
    for format in [Format::Text, Format::Json, Format::Csv, Format::Html] {
        let out = written(&report, format);
        let misleading = |c: char| {
            (c.is_control() && !matches!(c, '\n' | '\r')) || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2066}'
        };
        assert!(!out.contains(misleading), "{format:?}");
        assert!(out.lines().all(|line| !line.starts_with("VERDICT")), "{format:?}: no line is forged");
    }
    let text = written(&report, Format::Text);
    assert!(text.contains(r"\xe2\x80\xaegnp.exe"), "it is shown as bytes");

    let page = written(&report, Format::Html);
    // The page is read as a browser reads it: nothing that was put in became an element or an attribute.
    let elements: Vec<_> = page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()).collect();
    let without_values = |tag: &str| tag.split('"').step_by(2).collect::<String>();
    for tag in &elements {
        let bare = without_values(tag);
        assert!(!bare.starts_with("script") && !bare.starts_with("img"), "no element of theirs: {tag}");
        assert!(!bare.contains("alert") && !bare.contains(" on"), "and no attribute: {tag}");
    }
    assert_eq!(elements.iter().filter(|tag| tag.starts_with("style")).count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown as text");
    assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("default-src 'none'; style-src 'sha256-"), "and nothing could run");
    assert!(!page.contains("http://") && !page.contains("src=\"") && !page.contains("url(h"), "nothing is fetched");

    let mut table = ::csv::Reader::from_reader(std::io::Cursor::new(written(&report, Format::Csv)));
    let mut formulas = 0;
    for line in table.records() {
        for cell in &line.expect("RFC 4180") {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
            formulas += usize::from(cell.starts_with("'=HYPERLINK"));
        }
    }
    assert!(formulas > 5, "{formulas}");
}

/// Writes a journal into the folder `DKIMWATCH_JOURNAL`: the night, hostile names, or as many entries as `DKIMWATCH_ENTRIES` says. For
/// looking at pages, and for the figures in docs/bench.md.
#[test]
#[ignore = "it writes up to some gigabytes: DKIMWATCH_JOURNAL=FOLDER DKIMWATCH_ENTRIES=1000000 cargo test -p dkimwatch --lib -- --ignored a_journal_to_measure"]
fn a_journal_to_measure() {
    let folder = std::path::PathBuf::from(std::env::var_os("DKIMWATCH_JOURNAL").expect("a folder"));
    let what = std::env::var("DKIMWATCH_ENTRIES").unwrap_or_default();
    let copy = |made: &Made| {
        std::fs::create_dir_all(&folder).expect("made");
        for entry in std::fs::read_dir(made.path()).expect("listed") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    };
    match what.as_str() {
        "night" => copy(&night()),
        "hostile" => copy(&hostile()),
        "flood" => copy(&made::flood()),
        number => made::many(&folder, number.parse().expect("a number")),
    }
}

#[test]
fn what_was_told_in_sum_counts() {
    let mut made = Made::new();
    let sum = |count: u64| {
        let key = json!({"path": "/etc/dkimkeys/a", "domain": "example.org", "selector": "sel1"});
        state(
            "key-opens-summarised",
            &[
                ("/event/start", json!("2026-11-23T05:59:30Z")),
                ("/event/end", json!("2026-11-23T06:00:20Z")),
                ("/dkimwatch/key", key),
                ("/dkimwatch/summarised/count", json!(count)),
                ("/process/executable", json!("/usr/sbin/opendkim")),
                ("/process/real_user/id", json!("105")),
                ("/rule/id", json!("signer/opendkim")),
            ],
        )
    };
    made.put(MONDAY + 6 * HOUR + 30 * SECOND, &sum(600_000));
    made.put(MONDAY + 6 * HOUR + 90 * SECOND, &sum(u64::MAX));
    let report = made.report(Filter::default());
    let most = 1 << 40;
    assert_eq!(report.counts.expected, 600_000 + most, "a number that cannot be is cut");
    let [key] = report.keys.as_slice() else { panic!("{:?}", report.keys) };
    let hours = key.usual.each();
    assert_eq!((hours[5], hours[6]), (2, 600_000 + most - 2), "the first one, and the rest");
    let [reader] = key.readers.as_slice() else { panic!("{:?}", key.readers) };
    assert_eq!(reader.executable.as_str(), "/usr/sbin/opendkim");
    assert_eq!(reader.actions(), [("key-opened", 600_000 + most)]);
    let unexpected = Filter { verdict: Some(Verdict::Unexpected), ..Filter::default() };
    assert_eq!(made.report(unexpected).counts.all(), 0);
}
