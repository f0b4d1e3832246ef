//! Every folder below `stories/` is a golden story: add a folder, and it is run.
//!
//! After a change that is meant, `BLESS=1 cargo test -p dkimwatch-tests --test stories` rewrites the expectations (as does
//! `dkimwatch replay --bless`); read the difference before it is committed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use dkimwatch::{
    print::check_schema,
    replay::{Story, Told},
};
use serde_json::Value;

/// A story, run.
struct Run {
    folder: PathBuf,
    story: Story,
    told: Told,
}

impl Run {
    fn documents(&self) -> Result<Vec<Value>> {
        self.told.ndjson.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn stories() -> Result<Vec<Run>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&root).with_context(|| root.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders
        .into_iter()
        .map(|folder| {
            let story = Story::load(&folder)?;
            let told = story.tell()?;
            Ok(Run { folder, story, told })
        })
        .collect()
}

/// The text at a JSON pointer.
fn text<'d>(document: &'d Value, pointer: &str) -> Result<&'d str> {
    document.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no text at {pointer} in {document}"))
}

#[test]
fn every_story_comes_out_as_expected() -> Result<()> {
    let bless = std::env::var_os("BLESS").is_some();
    let mut different = Vec::new();
    for run in stories()? {
        if bless {
            run.story.bless(&run.told)?;
        }
        different.extend(run.story.compare(&run.told)?);
    }
    assert!(different.is_empty(), "{different:#?}");
    Ok(())
}

#[test]
fn there_are_stories_of_every_verdict_action_and_rule() -> Result<()> {
    let (mut verdicts, mut actions, mut rules) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let runs = stories()?;
    for run in &runs {
        for document in run.documents()? {
            verdicts.insert(text(&document, "/dkimwatch/verdict")?.to_owned());
            actions.insert(text(&document, "/event/action")?.to_owned());
            rules.insert(text(&document, "/rule/id")?.to_owned());
        }
    }
    assert!(runs.len() >= 40, "{} stories", runs.len());
    assert_eq!(Vec::from_iter(verdicts), ["expected", "maintenance", "unexpected"]);
    assert_eq!(
        Vec::from_iter(actions),
        [
            "device-opened",
            "key-attributes-changed",
            "key-created",
            "key-deleted",
            "key-linked",
            "key-modified",
            "key-mounted-over",
            "key-open-denied",
            "key-opened",
            "key-permissions-changed",
            "key-read",
            "key-renamed",
            "key-replaced",
            "monitor-tampered",
            "signer-memory-accessed",
        ]
    );
    for rule in [
        "maintenance-mismatch/user",
        "maintenance/nightly backup",
        "monitor/configuration",
        "monitor/journal",
        "monitor/kernel",
        "monitor/kernel-side",
        "monitor/killed-by-kernel",
        "monitor/memory",
        "monitor/parent",
        "monitor/pins",
        "monitor/service-manager",
        "monitor/signal",
        "monitor/terminal",
        "signer-mismatch/container",
        "signer-mismatch/executable-changed",
        "signer-mismatch/executable-deleted",
        "signer-mismatch/executable-link",
        "signer-mismatch/executable-replaced",
        "signer-mismatch/executable-writable",
        "signer-mismatch/key",
        "signer-mismatch/script",
        "signer-mismatch/unit",
        "signer-mismatch/user",
        "signer-mismatch/writes",
        "signer/exim",
        "signer/opendkim",
        "stranger/admin-check",
        "stranger/backup",
        "stranger/container",
        "stranger/disguise",
        "stranger/executable",
        "stranger/hidden-executable",
        "stranger/interactive",
        "stranger/kernel-thread",
        "stranger/key-tool",
        "stranger/signer-user",
        "stranger/unknown-executable",
        "stranger/user",
    ] {
        assert!(rules.contains(rule), "no story of {rule} in {rules:?}");
    }
    Ok(())
}

#[test]
fn every_field_is_of_ecs_or_below_our_own_name() -> Result<()> {
    for run in stories()? {
        for document in run.documents()? {
            assert_eq!(check_schema(&document), Ok(()), "{}", run.folder.display());
        }
    }
    Ok(())
}

#[test]
fn event_ids_tell_events_apart() -> Result<()> {
    let run =
        stories()?.into_iter().find(|run| run.folder.ends_with("a-key-is-born-in-a-folder")).context("the story")?;
    let documents = run.documents()?;
    let ids = documents.iter().map(|one| text(one, "/event/id")).collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(ids.len(), documents.len());
    assert!(documents.len() > 1);
    Ok(())
}

#[test]
fn no_name_can_forge_a_line_or_reach_the_terminal() -> Result<()> {
    for run in stories()? {
        let heads = run.told.text.lines().filter(|line| line.starts_with("2026-")).count();
        assert_eq!(heads, run.documents()?.len(), "{}", run.folder.display());
        let raw = run.told.text.chars().chain(run.told.ndjson.chars()).find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{}", run.folder.display());
        assert!(!run.told.ndjson.contains("\\u00"), "{}: JSON has nothing left to escape", run.folder.display());
    }
    Ok(())
}

#[test]
fn every_alert_says_who_what_and_what_to_do() -> Result<()> {
    let mut alerts = 0;
    for run in stories()? {
        for document in run.documents()? {
            if text(&document, "/event/kind")? != "alert" {
                continue;
            }
            alerts += 1;
            let reason = text(&document, "/event/reason")?;
            let pid = document.pointer("/process/pid").and_then(Value::as_u64).context("a pid")?;
            assert!(reason.contains(&format!("(pid {pid}")), "{reason}");
            let object = if text(&document, "/event/action")? == "monitor-tampered" {
                match text(&document, "/dkimwatch/monitor/part")? {
                    "process" | "kernel-side" => "dkimwatch",
                    _ => text(&document, "/dkimwatch/monitor/path")?,
                }
            } else {
                text(&document, "/dkimwatch/key/path")?
            };
            assert!(reason.contains(object), "{reason}");
            assert!(reason.matches(". ").count() >= 1 && reason.ends_with('.'), "{reason}");
            assert_eq!(text(&document, "/dkimwatch/verdict")?, "unexpected");
        }
    }
    assert!(alerts >= 30, "{alerts} alerts");
    Ok(())
}
