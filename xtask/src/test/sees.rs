//! `docs/kernels.md`: what the watch sees, by kernel and backend, made of the lines that the kernel sentences print.

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
    /// The backend that was live.
    backend: String,
    /// The hooks that were attached.
    hooks: Vec<String>,
    /// What the watch named as unseen: an id, a colon, a sentence.
    blind_spots: Vec<String>,
    /// The backends that this kernel refused, each with its reason.
    refused: BTreeMap<String, String>,
    /// What became of each sentence.
    sentences: Vec<(String, Outcome)>,
}

/// What became of a sentence.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It is true.
    Holds,
    /// It is true in that the watch named the limit, by this id.
    Limit(String),
    /// It is not.
    Failed,
}

/// The word before the object.
const MARK: &str = "SEES ";

impl Sees {
    /// The line in a test program's output; `None`: it did not come to its end.
    pub(super) fn read(output: &str) -> Option<Self> {
        output.lines().rev().find_map(|line| serde_json::from_str(line.trim().strip_prefix(MARK)?).ok())
    }

    /// For the table's head: `6.1 lsm`.
    fn title(&self) -> String {
        let numbers: Vec<_> = self.kernel.split(['.', '-']).take(2).collect();
        format!("{} {}", numbers.join("."), self.backend)
    }

    /// For the table: what became of a sentence.
    fn cell(&self, name: &str) -> Option<String> {
        let (_, outcome) = self.sentences.iter().find(|(own, _)| own == name)?;
        Some(match outcome {
            Outcome::Holds => "yes".to_owned(),
            Outcome::Limit(id) => format!("not seen (`{id}`)"),
            Outcome::Failed => "**failed**".to_owned(),
        })
    }

    /// One section: what was attached, and what is not seen.
    fn section(&self) -> String {
        let mut text = format!("## Linux {}, {}\n\n", self.kernel, self.backend);
        let hooks: Vec<_> = self.hooks.iter().map(|hook| format!("`{hook}`")).collect();
        text += &format!("Attached: {}.\n", hooks.join(", "));
        if self.refuses_trampolines() {
            text += "\nThis kernel refuses the trampolines that the other backends stand on:\n\n";
        } else if !self.refused.is_empty() {
            text += "\nRefused:\n\n";
        }
        for (backend, reason) in &self.refused {
            text += &format!("- `{backend}`: {reason}\n");
        }
        text += if self.blind_spots.is_empty() { "\nNothing is named as unseen.\n" } else { "\nNot seen:\n\n" };
        for spot in &self.blind_spots {
            text += &match spot.split_once(": ") {
                Some((id, sentence)) => format!("- `{id}`: {sentence}\n"),
                None => format!("- {spot}\n"),
            };
        }
        text
    }

    /// Whether only the tracepoints are left.
    fn refuses_trampolines(&self) -> bool {
        ["lsm", "fentry"].iter().all(|backend| self.refused.contains_key(*backend))
    }
}

const HEAD: &str = "\
# What is seen on which kernel

`cargo xtask test` writes this page from what its kernel tests found; it is not edited by hand.

Each row is a sentence that the tests try against a running watch, each column a kernel and a way into it. *yes*: the
sentence holds. *not seen*: the kernel gives no way to see it; the watch names this limit, by its id, when it starts, and
the column's section below says what it means. **failed**: it should hold and did not.
";

/// The page, from one column for each run, in order.
///
/// # Errors
/// The runs did not try the same sentences, so one of them broke off.
pub(super) fn page(columns: &[&Sees]) -> Result<String> {
    let first = columns.first().context("no run, no page")?;
    let names = |sees: &Sees| sees.sentences.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    if let Some(other) = columns.iter().find(|other| names(other) != names(first)) {
        bail!("{} and {} did not try the same sentences", first.title(), other.title());
    }
    let titles: Vec<_> = columns.iter().map(|column| column.title()).collect();
    let mut text = format!("{HEAD}\n| | {} |\n|---|{}\n", titles.join(" | "), "---|".repeat(columns.len()));
    for (name, _) in &first.sentences {
        let cells: Vec<_> = columns.iter().filter_map(|column| column.cell(name)).collect();
        text += &format!("| {} | {} |\n", name.replace('_', " "), cells.join(" | "));
    }
    for column in columns {
        text += "\n";
        text += &column.section();
    }
    Ok(text)
}

/// Writes the page where every run of the kernel sentences came to its end in this invocation, and says what it did.
pub(super) fn write(wanted: &[String], seen: &BTreeMap<String, Sees>) -> Result<String> {
    let missing: Vec<_> = wanted.iter().filter(|name| !seen.contains_key(*name)).map(String::as_str).collect();
    let place = PathBuf::from("docs/kernels.md");
    if !missing.is_empty() {
        return Ok(format!("{} left as it is: no complete run of {}", place.display(), missing.join(", ")));
    }
    let columns: Vec<_> = wanted.iter().filter_map(|name| seen.get(name)).collect();
    let text = page(&columns)?;
    let path = workspace::root().join(&place);
    command::folder(&workspace::root().join("docs"))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{} written", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "\
running 3 tests
test a_hard_link_is_the_key ... ok
SEES {\"backend\":\"lsm\",\"blind_spots\":[\"inherited-descriptor: the later reader: not reported\"],\
\"hooks\":[\"lsm/file_open\",\"lsm/inode_rename\"],\"kernel\":\"6.1.0-56-cloud-amd64\",\"refused\":{},\
\"sentences\":[[\"a_hard_link_is_the_key\",\"holds\"],[\"data_is_read\",{\"limit\":\"inherited-descriptor\"}]]}\r
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
Linux 6.1.0-56-cloud-amd64, 20.0 s
";
    const HERE: &str = "\
SEES {\"backend\":\"tracepoint\",\"blind_spots\":[],\"hooks\":[\"sys_exit_openat\"],\"kernel\":\"6.18.5\",\
\"refused\":{\"fentry\":\"no trampoline\",\"lsm\":\"no BPF LSM\"},\
\"sentences\":[[\"a_hard_link_is_the_key\",\"failed\"],[\"data_is_read\",\"holds\"]]}
";

    #[test]
    fn the_page_is_made_of_the_logs() {
        let (guest, here) = (Sees::read(GUEST).expect("a guest's log"), Sees::read(HERE).expect("this machine's log"));
        let page = page(&[&guest, &here]).expect("the same sentences");
        let (head, rest) = page.split_at(HEAD.len());
        assert_eq!(head, HEAD);
        assert_eq!(
            rest,
            "
| | 6.1 lsm | 6.18 tracepoint |
|---|---|---|
| a hard link is the key | yes | **failed** |
| data is read | not seen (`inherited-descriptor`) | yes |

## Linux 6.1.0-56-cloud-amd64, lsm

Attached: `lsm/file_open`, `lsm/inode_rename`.

Not seen:

- `inherited-descriptor`: the later reader: not reported

## Linux 6.18.5, tracepoint

Attached: `sys_exit_openat`.

This kernel refuses the trampolines that the other backends stand on:

- `fentry`: no trampoline
- `lsm`: no BPF LSM

Nothing is named as unseen.
"
        );
    }

    #[test]
    fn runs_of_other_sentences_make_no_page() {
        let guest = Sees::read(GUEST).expect("a guest's log");
        let mut broken = guest.clone();
        broken.sentences.pop();
        assert!(page(&[&guest, &broken]).is_err());
        assert!(page(&[]).is_err());
    }

    #[test]
    fn a_run_that_broke_off_says_nothing() {
        assert_eq!(Sees::read("test a_hard_link_is_the_key ... ok\nKilled\n"), None);
        assert_eq!(Sees::read("SEES {\"backend\":\"lsm\"}\n"), None);
    }

    #[test]
    fn the_page_stays_while_a_run_is_missing() {
        let path = workspace::root().join("docs/kernels.md");
        let before = fs::read(&path).ok();
        let seen = BTreeMap::from([("kernel-6.1-lsm".to_owned(), Sees::read(GUEST).expect("a guest's log"))]);
        let wanted = ["kernel-here-tracepoint".to_owned(), "kernel-6.1-lsm".to_owned()];
        let said = write(&wanted, &seen).expect("nothing is written");
        assert_eq!(said, "docs/kernels.md left as it is: no complete run of kernel-here-tracepoint");
        assert_eq!(fs::read(&path).ok(), before);
    }
}
