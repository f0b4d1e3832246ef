//! The page of `dkimwatch report` as Chromium sees it: what an intruder chose for a name is text in it, it looks other in dark than in
//! light, and nothing is asked of any network.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch::{
    judge::Verdict,
    record::{EntryKind, Journal, Limits, New},
};
use serde_json::{Value, json};

/// What would call home if it were anything but text.
const HOSTILE: [&str; 4] = [
    "<script>fetch('https://called-home.test/')</script>",
    "\"><img src=https://called-home.test/ onerror=alert(1)>",
    "<iframe src=https://called-home.test/></iframe>",
    "</style></title><link rel=stylesheet href=https://called-home.test/>",
];

/// 2026-11-23 00:00:00 UTC.
const MONDAY: i64 = 1_795_392_000_000_000_000;

/// A journal in which somebody with each of the names took a key.
fn journal(folder: &Path) -> Result<()> {
    let age = Duration::from_secs(1 << 30);
    let limits = Limits { segment_size: 64 << 20, segment_age: age, keep_size: 1 << 40, keep_age: age };
    let (mut journal, _) = Journal::open(folder, limits, MONDAY)?;
    let story = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories/nobody-cats-the-key/expected.ndjson");
    let story = fs::read_to_string(story)?;
    for (minute, name) in (0..).zip(HOSTILE) {
        let mut event: Value = serde_json::from_str(story.lines().next().context("an event")?)?;
        let fields = event.as_object_mut().context("an object")?;
        fields.insert("container".to_owned(), json!({"id": "0123456789abcdef", "name": name}));
        for (field, value) in [
            ("/process/executable", json!(name)),
            ("/process/args", json!([name, "key"])),
            ("/dkimwatch/key", json!({"path": name, "domain": name, "selector": name})),
            ("/event/reason", json!(name)),
        ] {
            *event.pointer_mut(field).context(field)? = value;
        }
        let event = event.to_string().into_bytes();
        let (kind, verdict) = (EntryKind::Access, Some(Verdict::Unexpected));
        journal.append(New { unix_ns: MONDAY + minute * 60_000_000_000, kind, verdict, event, record: Vec::new() })?;
    }
    journal.sync()?;
    Ok(())
}

/// Chromium without a window, and without its own errands; its output. A profile of its own, so that it is not somebody's.
fn chromium(page: &Path, folder: &Path, flags: &[&str]) -> Result<String> {
    let mut chromium = Command::new("chromium");
    // As root it has no sandbox; the page is ours.
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--window-size=1280,1600"]);
    let profile = tempfile::tempdir_in(folder)?;
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).args(flags);
    chromium.arg(format!("file://{}", page.display())).stdin(Stdio::null()).stderr(Stdio::null());
    let output = chromium.output().context("chromium cannot be started")?;
    ensure!(output.status.success(), "chromium: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn names_are_text_in_a_browser_and_nothing_is_fetched() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("report.html");
    journal(&folder.path().join("journal"))?;
    let program = std::env::var_os("DKIMWATCH_BIN").context("DKIMWATCH_BIN: run `cargo xtask test --only browser`")?;
    let mut report = Command::new(program);
    report.args(["report", "--format", "html", "--journal"]).arg(folder.path().join("journal"));
    let status = report.arg("--output").arg(&page).status()?;
    ensure!(status.code() == Some(1), "four thefts are findings: {status}");

    let log = folder.path().join("network.json");
    let dom = chromium(&page, folder.path(), &["--dump-dom", &format!("--log-net-log={}", log.display())])?;
    let elements: Vec<_> =
        dom.split('<').skip(1).map(|rest| rest.split([' ', '>']).next().unwrap_or_default()).collect();
    for element in ["script", "img", "iframe", "link"] {
        ensure!(!elements.contains(&element), "a name became <{element}>");
    }
    ensure!(elements.iter().filter(|element| **element == "style").count() == 1, "there is one style sheet");
    ensure!(dom.contains("&lt;script&gt;fetch('https://called-home.test/')&lt;/script&gt;"), "names are shown");
    ensure!(
        dom.contains("<title>DKIM key report: Exposed: 4 keys must be taken for stolen</title>"),
        "the page is whole"
    );
    // What the browser did on the network, as it writes it down itself.
    let log = fs::read_to_string(log).context("chromium's log of its network")?;
    ensure!(log.contains("file://"), "the log has the page itself");
    ensure!(!log.contains("called-home"), "the page asked for something");

    let shot = |name: &str, scheme: &str| -> Result<Vec<u8>> {
        let file = folder.path().join(name);
        let screenshot = format!("--screenshot={}", file.display());
        chromium(&page, folder.path(), &[&screenshot, scheme])?;
        fs::read(&file).context("a screenshot")
    };
    let light = shot("light.png", "--blink-settings=preferredColorScheme=1")?;
    let dark = shot("dark.png", "--blink-settings=preferredColorScheme=0")?;
    ensure!(
        light.len() > 20_000 && dark.len() > 20_000,
        "something is drawn: {} and {} bytes",
        light.len(),
        dark.len()
    );
    ensure!(light != dark, "dark is another scheme than light");
    Ok(())
}
