//! `docs/coverage.md`: which technique is seen on which kernel, made of the lines that the kernel sentences print.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{command, workspace};

/// What one run of the kernel sentences says at its end, in a line after the word `SEES`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Sees {
    /// The kernel's release.
    kernel: String,
    /// The hooks that were attached.
    hooks: Vec<String>,
    /// What the watch named as unseen: an id, a colon, a sentence.
    blind_spots: Vec<String>,
    /// The backends that this kernel refused, each with its reason.
    refused: BTreeMap<String, String>,
    /// The sentences by subject.
    groups: Vec<Group>,
}

/// Sentences about one subject.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Group {
    title: String,
    /// The word for a sentence that holds: `seen`, `silent`.
    held: String,
    sentences: Vec<Sentence>,
}

/// A sentence and what became of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Sentence {
    name: String,
    outcome: Outcome,
    /// How long it took.
    milliseconds: u64,
}

/// What became of a sentence.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It is true.
    Held,
    /// It is true in that the watch had named the limit, by this id.
    Limit(String),
    /// It cannot be tried on this kernel, for this reason.
    Absent(String),
    /// It is not.
    Failed,
    /// It was not tried, or did not come to its end.
    Missing,
}

/// The word before the object.
const MARK: &str = "SEES ";

impl Sees {
    /// The line in a test program's output; `None`: it did not come to its end.
    pub(super) fn read(output: &str) -> Option<Self> {
        output.lines().rev().find_map(|line| serde_json::from_str(line.trim().strip_prefix(MARK)?).ok())
    }

    fn sentences(&self) -> impl Iterator<Item = &Sentence> {
        self.groups.iter().flat_map(|group| &group.sentences)
    }

    fn outcome(&self, name: &str) -> &Outcome {
        self.sentences().find(|sentence| sentence.name == name).map_or(&Outcome::Missing, |sentence| &sentence.outcome)
    }

    /// The blind spots as ids and texts.
    fn limits(&self) -> impl Iterator<Item = (&str, &str)> {
        self.blind_spots.iter().map(|spot| spot.split_once(": ").unwrap_or((spot, "")))
    }
}

/// A run, and the head of its column.
type Column<'a> = (&'a str, &'a Sees);

const HEAD: &str = "\
# What is seen on which kernel

`cargo xtask test` writes this page from what its kernel tests found; it is not edited by hand.

A row is a technique, or a promise, that the tests try against a running watch, and assert that it really got the bytes or
did the deed; a column is a stock Debian kernel (emulated, with `mitigations=off`) and a way into it, or the kernel of the
machine that ran the tests (*here*).

- *seen*, *silent*, *holds*: exactly the events that were due came, about the right process, and no others.
- a name such as `data-without-open`: not seen. The watch and `dkimwatch doctor` name this limit there; [below](#limits) is why.
- *–*: not tried here: this kernel cannot do it, or it is tried in other columns; the footnote says which.
- **failed**: it should hold and did not. **not run**: nobody knows.
";

/// The page, from one column for each run, in order.
///
/// # Errors
/// There is no run.
fn page(columns: &[Column<'_>]) -> Result<String> {
    if columns.is_empty() {
        bail!("no run, no page");
    }
    let mut notes = Vec::new();
    let mut text = format!("{HEAD}\n{}", summary(columns));
    for (title, held, names) in rows(columns) {
        let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
        text += &format!("\n## {title}\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(columns.len()));
        for name in names {
            let cells: Vec<_> = columns.iter().map(|(_, sees)| cell(sees.outcome(name), held, &mut notes)).collect();
            text += &format!("| {} | {} |\n", name.replace('_', " "), cells.join(" | "));
        }
    }
    text += &limits(columns);
    text += &programs(columns);
    for (index, note) in notes.iter().enumerate() {
        text += &format!("{}[^{}]: {note}\n", if index == 0 { "\n" } else { "" }, index + 1);
    }
    Ok(text)
}

/// The rows by subject, in the order in which the runs tried them: of all runs together, so that a row which one of them
/// lacks shows there.
fn rows<'a>(columns: &[Column<'a>]) -> Vec<(&'a str, &'a str, Vec<&'a str>)> {
    let mut rows: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for group in columns.iter().flat_map(|(_, sees)| &sees.groups) {
        let at = rows.iter().position(|(title, ..)| *title == group.title).unwrap_or(rows.len());
        if at == rows.len() {
            rows.push((&group.title, &group.held, Vec::new()));
        }
        if let Some((_, _, names)) = rows.get_mut(at) {
            for sentence in &group.sentences {
                if !names.contains(&sentence.name.as_str()) {
                    names.push(&sentence.name);
                }
            }
        }
    }
    rows
}

fn cell(outcome: &Outcome, held: &str, notes: &mut Vec<String>) -> String {
    match outcome {
        Outcome::Held => held.to_owned(),
        Outcome::Limit(id) => format!("[`{id}`](#{id})"),
        Outcome::Failed => "**failed**".to_owned(),
        Outcome::Missing => "**not run**".to_owned(),
        Outcome::Absent(why) => {
            let at = notes.iter().position(|note| note == why).unwrap_or_else(|| {
                notes.push(why.clone());
                notes.len() - 1
            });
            format!("–[^{}]", at + 1)
        }
    }
}

/// One line a column: how many of which.
fn summary(columns: &[Column<'_>]) -> String {
    let mut text =
        "| | kernel | held | named limits | – | failed | not run |\n|---|---|---:|---:|---:|---:|---:|\n".to_owned();
    let all: Vec<&str> = rows(columns).into_iter().flat_map(|(.., names)| names).collect();
    for (head, sees) in columns {
        let mut counts = [0; 5];
        for name in &all {
            let [held, limit, absent, failed, missing] = &mut counts;
            *match sees.outcome(name) {
                Outcome::Held => held,
                Outcome::Limit(_) => limit,
                Outcome::Absent(_) => absent,
                Outcome::Failed => failed,
                Outcome::Missing => missing,
            } += 1;
        }
        text += &format!("| {head} | {} | {} |\n", sees.kernel, counts.map(|count| count.to_string()).join(" | "));
    }
    text
}

/// Every limit that a watch named: where, why, and whether a sentence tries it.
fn limits(columns: &[Column<'_>]) -> String {
    let ids: BTreeSet<_> = columns.iter().flat_map(|(_, sees)| sees.limits()).map(|(id, _)| id).collect();
    let mut text = "\n## Limits\n".to_owned();
    if ids.is_empty() {
        text += "\nNone is named anywhere.\n";
    }
    for id in ids {
        text += &format!("\n### {id}\n\n");
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (head, sees) in columns {
            for (_, reason) in sees.limits().filter(|(own, _)| *own == id) {
                reasons.entry(reason).or_default().push(*head);
            }
        }
        for (reason, heads) in reasons {
            text += &format!("- {}: {reason}\n", among(&heads, columns));
        }
        let tried = |sees: &Sees| sees.sentences().any(|sentence| sentence.outcome == Outcome::Limit(id.to_owned()));
        if !columns.iter().any(|(_, sees)| tried(sees)) {
            text += "\nNo row above ends in it.\n";
        }
    }
    text
}

/// What is attached in which column, and what each kernel refuses.
fn programs(columns: &[Column<'_>]) -> String {
    let mut text = "\n## Programs\n\n".to_owned();
    for (head, sees) in columns {
        let hooks: Vec<_> = sees.hooks.iter().map(|hook| format!("`{hook}`")).collect();
        text += &format!("- {head}: {}.", hooks.join(", "));
        for (backend, reason) in &sees.refused {
            text += &format!(" Refused: `{backend}`, {reason}.");
        }
        text += "\n";
    }
    text
}

fn among(heads: &[&str], columns: &[Column<'_>]) -> String {
    if heads.len() == columns.len() { "everywhere".to_owned() } else { heads.join(", ") }
}

/// Writes the page where every run of the kernel sentences came to its end in this invocation, and says what it did.
/// `wanted` are the names of the checks and the heads of their columns.
///
/// # Errors
/// The page cannot be written.
pub(super) fn write(wanted: &[(String, String)], seen: &BTreeMap<String, Sees>) -> Result<String> {
    let place = PathBuf::from("docs/coverage.md");
    let missing: Vec<_> = wanted.iter().filter(|(name, _)| !seen.contains_key(name)).map(|(name, _)| &**name).collect();
    let slow = slowest(seen);
    if !missing.is_empty() {
        return Ok(format!("{slow}{} left as it is: no complete run of {}", place.display(), missing.join(", ")));
    }
    let columns: Vec<Column<'_>> =
        wanted.iter().filter_map(|(name, head)| Some((head.as_str(), seen.get(name)?))).collect();
    let text = page(&columns)?;
    let path = workspace::root().join(&place);
    command::folder(&workspace::root().join("docs"))?;
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    let holes = ["**failed**", "**not run**"].map(|word| text.matches(&format!("| {word}")).count());
    let [failed, not_run] = holes;
    Ok(format!("{slow}{} written, {failed} cells failed, {not_run} not run", place.display()))
}

/// The sentences that take longest, for whoever waits for all of them on every kernel.
fn slowest(seen: &BTreeMap<String, Sees>) -> String {
    let mut times: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for (check, sees) in seen {
        for sentence in sees.sentences() {
            let longest = times.entry(&sentence.name).or_default();
            *longest = (*longest).max((sentence.milliseconds, check));
        }
    }
    let mut times: Vec<_> = times.into_iter().filter(|(_, (milliseconds, _))| *milliseconds >= SLOW).collect();
    times.sort_by_key(|(_, (milliseconds, _))| std::cmp::Reverse(*milliseconds));
    times
        .iter()
        .take(SHOWN)
        .map(|(name, (milliseconds, check))| format!("slow: {milliseconds:6} ms  {name}, in {check}\n"))
        .collect()
}

/// Milliseconds beyond which a sentence is worth naming: most take a third of a second in a guest.
const SLOW: u64 = 3_000;
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "\
running 3 tests
test a_hard_link_is_the_key ... ok
SEES {\"backend\":\"lsm\",\"blind_spots\":[\"inherited-descriptor: the later reader: not reported\"],\
\"hooks\":[\"lsm/file_open\",\"lsm/inode_rename\"],\"kernel\":\"6.1.0-56-cloud-amd64\",\"refused\":{},\
\"groups\":[{\"title\":\"Names\",\"held\":\"seen\",\"sentences\":[\
{\"name\":\"a_hard_link_is_the_key\",\"outcome\":\"held\",\"milliseconds\":310},\
{\"name\":\"data_is_read\",\"outcome\":{\"limit\":\"inherited-descriptor\"},\"milliseconds\":4000}]},\
{\"title\":\"Silence\",\"held\":\"silent\",\"sentences\":[\
{\"name\":\"statmount\",\"outcome\":{\"absent\":\"no statmount(2)\"},\"milliseconds\":1}]}]}\r
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
Linux 6.1.0-56-cloud-amd64, 20.0 s
";
    const HERE: &str = "\
SEES {\"backend\":\"tracepoint\",\"blind_spots\":[],\"hooks\":[\"sys_exit_openat\"],\"kernel\":\"6.18.5\",\
\"refused\":{\"fentry\":\"no trampoline\",\"lsm\":\"no BPF LSM\"},\
\"groups\":[{\"title\":\"Names\",\"held\":\"seen\",\"sentences\":[\
{\"name\":\"a_hard_link_is_the_key\",\"outcome\":\"failed\",\"milliseconds\":12},\
{\"name\":\"data_is_read\",\"outcome\":\"held\",\"milliseconds\":9}]}]}
";

    #[test]
    fn the_page_is_made_of_the_logs() {
        let (guest, here) = (Sees::read(GUEST).expect("a guest's log"), Sees::read(HERE).expect("this machine's log"));
        let page = page(&[("6.1 lsm", &guest), ("here", &here)]).expect("two columns");
        let (head, rest) = page.split_at(HEAD.len());
        assert_eq!(head, HEAD);
        assert_eq!(
            rest,
            "
| | kernel | held | named limits | – | failed | not run |
|---|---|---:|---:|---:|---:|---:|
| 6.1 lsm | 6.1.0-56-cloud-amd64 | 1 | 1 | 1 | 0 | 0 |
| here | 6.18.5 | 1 | 0 | 0 | 1 | 1 |

## Names

| | 6.1 lsm | here |
|---|---|---|
| a hard link is the key | seen | **failed** |
| data is read | [`inherited-descriptor`](#inherited-descriptor) | seen |

## Silence

| | 6.1 lsm | here |
|---|---|---|
| statmount | –[^1] | **not run** |

## Limits

### inherited-descriptor

- 6.1 lsm: the later reader: not reported

## Programs

- 6.1 lsm: `lsm/file_open`, `lsm/inode_rename`.
- here: `sys_exit_openat`. Refused: `fentry`, no trampoline. Refused: `lsm`, no BPF LSM.

[^1]: no statmount(2)
"
        );
    }

    #[test]
    fn a_limit_that_no_row_ends_in_is_told() {
        let mut sees = Sees::read(HERE).expect("this machine's log");
        sees.blind_spots.push("raw-device: not asked".to_owned());
        let page = page(&[("here", &sees)]).expect("a column");
        assert!(page.contains("### raw-device\n\n- everywhere: not asked\n\nNo row above ends in it.\n"), "{page}");
    }

    #[test]
    fn without_a_run_there_is_no_page() {
        assert!(page(&[]).is_err());
    }

    #[test]
    fn a_run_that_broke_off_says_nothing() {
        assert_eq!(Sees::read("test a_hard_link_is_the_key ... ok\nKilled\n"), None);
        assert_eq!(Sees::read("SEES {\"backend\":\"lsm\"}\n"), None);
    }

    #[test]
    fn the_page_stays_while_a_run_is_missing_and_slow_sentences_are_named() {
        let path = workspace::root().join("docs/coverage.md");
        let before = fs::read(&path).ok();
        let seen = BTreeMap::from([("kernel-6.1-lsm".to_owned(), Sees::read(GUEST).expect("a guest's log"))]);
        let wanted = ["kernel-here-tracepoint", "kernel-6.1-lsm"].map(|name| (name.to_owned(), name.to_owned()));
        let said = write(&wanted, &seen).expect("nothing is written");
        assert_eq!(
            said,
            "slow:   4000 ms  data_is_read, in kernel-6.1-lsm\n\
             docs/coverage.md left as it is: no complete run of kernel-here-tracepoint"
        );
        assert_eq!(fs::read(&path).ok(), before);
    }
}
