//! Every folder below `stories/` is a golden story: add a folder, and it is run.
//!
//! After a change that is meant, `BLESS=1 cargo test -p dkimwatch-tests --test stories` rewrites the expectations (as does
//! `dkimwatch replay --bless`); read the difference before it is committed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dkimwatch::{
    print::check_schema,
    replay::{Story, Told},
};
use serde_json::Value;

fn stories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .expect("the stories are there")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn told() -> impl Iterator<Item = (PathBuf, Story, Told)> {
    stories().into_iter().map(|folder| {
        let story = Story::load(&folder).unwrap_or_else(|error| panic!("{error}"));
        let told = story.tell().unwrap_or_else(|error| panic!("{error}"));
        (folder, story, told)
    })
}

fn documents(told: &Told) -> Vec<Value> {
    told.ndjson.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

#[test]
fn every_story_comes_out_as_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut different = Vec::new();
    for (_, story, told) in told() {
        if bless {
            story.bless(&told).unwrap_or_else(|error| panic!("{error}"));
        }
        different.extend(story.compare(&told).unwrap_or_else(|error| panic!("{error}")));
    }
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn there_are_stories_of_every_verdict_and_action() {
    let (mut verdicts, mut actions, mut rules, mut count) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for (_, _, told) in told() {
        count += 1;
        for document in documents(&told) {
            verdicts.insert(document["dkimwatch"]["verdict"].as_str().expect("a word").to_owned());
            actions.insert(document["event"]["action"].as_str().expect("a word").to_owned());
            rules.insert(document["rule"]["id"].as_str().expect("a word").to_owned());
        }
    }
    assert!(count >= 40, "{count} stories");
    assert_eq!(Vec::from_iter(verdicts), ["expected", "maintenance", "unexpected"]);
    assert_eq!(Vec::from_iter(actions), ["key-created", "key-modified", "key-open-denied", "key-opened", "key-read"]);
    for rule in [
        "stranger/disguise",
        "stranger/hidden-executable",
        "stranger/container",
        "stranger/kernel-thread",
        "stranger/signer-user",
        "stranger/admin-check",
        "stranger/unknown-executable",
        "signer-mismatch/user",
        "signer-mismatch/unit",
        "signer-mismatch/container",
        "signer-mismatch/executable-changed",
    ] {
        assert!(rules.contains(rule), "no story of {rule} in {rules:?}");
    }
}

#[test]
fn every_field_is_of_ecs_or_below_our_own_name() {
    for (folder, _, told) in told() {
        for document in documents(&told) {
            check_schema(&document).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
    }
}

#[test]
fn no_name_can_forge_a_line_or_reach_the_terminal() {
    for (folder, _, told) in told() {
        let accesses = documents(&told).len();
        let heads = told.text.lines().filter(|line| line.starts_with("2026-")).count();
        assert_eq!(heads, accesses, "{}", folder.display());
        let raw = told.text.chars().chain(told.ndjson.chars()).find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{}", folder.display());
        assert!(!told.ndjson.contains("\\u00"), "{}: JSON escapes nothing that we have not", folder.display());
    }
}

#[test]
fn every_alert_says_who_what_and_what_to_do() {
    let mut alerts = 0;
    for (folder, _, told) in told() {
        for document in documents(&told).iter().filter(|one| one["event"]["kind"] == "alert") {
            alerts += 1;
            let reason = document["event"]["reason"].as_str().expect("a sentence");
            let pid = document["process"]["pid"].to_string();
            let key = document["dkimwatch"]["key"]["path"].as_str().expect("a path");
            assert!(reason.contains(&format!("(pid {pid}")), "{}: {reason}", folder.display());
            assert!(reason.contains(key), "{}: {reason}", folder.display());
            assert!(reason.matches(". ").count() >= 1 && reason.ends_with('.'), "{}: {reason}", folder.display());
        }
    }
    assert!(alerts >= 30, "{alerts} alerts");
}
