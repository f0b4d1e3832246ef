//! `docs/output.md` names every field, event, rule and step of severity that the program can print, and no other.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use dkimwatch::{exit::Outcome, judge::severity, print::FIELDS};
use serde_json::Value;

use crate::{first_cells, literals, path, text};

const REFERENCE: &str = "docs/output.md";

/// The first cells of a section's table.
fn section(heading: &str) -> Result<BTreeSet<String>> {
    let text = text(REFERENCE)?;
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).with_context(|| format!("no heading {heading}"))?;
    Ok(first_cells(rest.split("\n## ").next().unwrap_or_default()).into_iter().collect())
}

fn same(what: &str, documented: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(documented).collect();
    let invented: Vec<_> = documented.difference(real).collect();
    assert!(missing.is_empty() && invented.is_empty(), "{what}: missing {missing:?}, invented {invented:?}");
    assert!(!real.is_empty(), "{what}: nothing to compare");
}

#[test]
fn ecs_fields() -> Result<()> {
    let real = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    same("ECS fields", &section("Fields of ECS")?, &real);
    Ok(())
}

/// Every field below `dkimwatch.` that a document of any story has.
fn own_fields_of_stories() -> Result<BTreeSet<String>> {
    fn walk(name: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(field, inner)| walk(&format!("{name}.{field}"), inner, found));
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                list.iter().for_each(|inner| walk(name, inner, found));
            }
            _ => drop(found.insert(name.to_owned())),
        }
    }
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path("tests/stories"))? {
        let file = entry?.path().join("expected.ndjson");
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let document: Value = serde_json::from_str(line)?;
            walk("dkimwatch", document.pointer("/dkimwatch").context("fields of our own")?, &mut found);
        }
    }
    // A story without ancestors prints an empty list.
    found.remove("dkimwatch.process.ancestors");
    Ok(found)
}

#[test]
fn own_fields() -> Result<()> {
    let documented = section("Fields of our own")?;
    let printed = own_fields_of_stories()?;
    let missing: Vec<_> = printed.difference(&documented).collect();
    assert!(printed.len() > 40 && missing.is_empty(), "missing {missing:?}");
    // The stories have no events of the watch itself; and what they do not print must be in the code at least.
    let mut written = BTreeSet::new();
    for file in ["ecs", "ecs_own", "ecs_state"] {
        written.extend(literals(&format!("dkimwatch/src/print/{file}.rs"))?);
    }
    for field in &documented {
        let bare = field.strip_prefix("dkimwatch.").with_context(|| format!("{field} is none of ours"))?;
        let last = field.rsplit('.').next().unwrap_or_default();
        let known = printed.contains(field) || [field.as_str(), bare, last].iter().any(|name| written.contains(*name));
        assert!(known, "{field} is documented and never written");
    }
    for field in written.iter().filter(|literal| literal.starts_with("dkimwatch.") && !literal.contains(['{', '/'])) {
        let is_list = ["dkimwatch.keys", "dkimwatch.watch", "dkimwatch.access"].contains(&field.as_str());
        assert!(is_list || documented.contains(field), "{field} is written and not documented");
    }
    Ok(())
}

#[test]
fn events() -> Result<()> {
    let mut real = BTreeSet::new();
    for file in ["judge/action", "print/state", "record/notice"] {
        let names = literals(&format!("dkimwatch/src/{file}.rs"))?;
        let event = |name: &String| {
            ["key-", "device-", "signer-memory-", "monitor-", "watch-", "events-", "journal-"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        real.extend(names.into_iter().filter(event));
    }
    same("events", &section("Events")?, &real);
    Ok(())
}

#[test]
fn rules() -> Result<()> {
    let mut real: BTreeSet<String> = ["signer/NAME", "maintenance/NAME"].map(str::to_owned).into();
    let literal = |name: &String| {
        name.starts_with("monitor/")
            || name.starts_with("stranger/")
            || name.starts_with("signer-mismatch/") && !name.contains('{')
    };
    for file in ["decide", "stranger", "itself"] {
        real.extend(literals(&format!("dkimwatch/src/judge/{file}.rs"))?.into_iter().filter(literal));
    }
    // The words of `Detail::rule` are the only literals of that file.
    let details = literals("dkimwatch/src/judge/fit.rs")?;
    assert!(details.len() >= 10, "{details:?}");
    real.extend(details.iter().map(|detail| format!("signer-mismatch/{detail}")));
    same("rules", &section("Rules")?, &real);
    Ok(())
}

#[test]
fn severities_and_exit_codes() -> Result<()> {
    let steps = [severity::NONE, severity::NOTICE, severity::LOW, severity::MEDIUM, severity::HIGH, severity::CRITICAL];
    let real = steps.iter().map(|step| format!("{step} {}", severity::name(*step))).collect();
    same("severities", &section("Severity")?, &real);
    let codes = [Outcome::Quiet, Outcome::Findings, Outcome::Usage, Outcome::Blind];
    same("exit codes", &section("Exit codes")?, &codes.iter().map(|code| (*code as u8).to_string()).collect());
    Ok(())
}
