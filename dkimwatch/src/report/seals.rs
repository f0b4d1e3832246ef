//! Whether the journals themselves can be believed: what `verify` says of each.

use std::path::{Path, PathBuf};

use super::{merge::trouble, shown::Shown};
use crate::record::{Finding, Place, VerificationKey, Verified, verify};

/// Findings that are shown; the rest is counted.
const MOST: usize = 25;

/// What is to be thought of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Each entry carries its seal.
    Sealed,
    /// Whole, and the entries behind the seal's beginning carry it; those before it are chained only.
    PartlySealed,
    /// It is sealed, and no key was there to see.
    NotChecked,
    /// It is whole, and not sealed: whoever is root could have written it anew.
    Unsealed,
    /// It is not what was written.
    Broken,
    /// It could not be read.
    Unreadable,
}

impl Trust {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::PartlySealed => "partly-sealed",
            Self::NotChecked => "seal-not-checked",
            Self::Unsealed => "not-sealed",
            Self::Broken => "broken",
            Self::Unreadable => "unreadable",
        }
    }

    /// A sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Sealed => "Whole: every entry carries its seal.",
            Self::PartlySealed => {
                "Whole; the entries since sealing began carry their seal, those before it are only chained."
            }
            Self::NotChecked => {
                "Whole by its chain. It is sealed, and without the verification key nobody knows whether somebody wrote it anew: --verification-key-file."
            }
            Self::Unsealed => {
                "Whole by its chain. It is not sealed: whoever was root could have written it anew. `dkimwatch journal setup-sealing` seals what comes."
            }
            Self::Broken => {
                "Not what was written: something was altered, cut out or lost. What is missing can be what mattered."
            }
            Self::Unreadable => "It could not be read to its end.",
        }
    }
}

/// What `verify` says of a journal.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Its folder.
    pub folder: Shown,
    /// In a word.
    pub trust: Trust,
    /// Its entries.
    pub entries: u64,
    /// Accesses among them that nobody expected.
    pub alerts: u64,
    /// Entries that carry the seal.
    pub sealed: u64,
    /// The first entry and the last.
    pub span: Option<(Place, Place)>,
    /// What is wrong with it.
    pub findings: Vec<Shown>,
    /// How much more.
    pub more: u64,
}

/// Verifies each journal, with whichever key is its own.
pub(super) fn check(folders: &[PathBuf], keys: &[VerificationKey]) -> Vec<Seal> {
    folders.iter().map(|folder| one(folder, keys)).collect()
}

fn one(folder: &Path, keys: &[VerificationKey]) -> Seal {
    let is_own = |found: &Verified| !found.findings.contains(&Finding::OtherJournal);
    let mut best: Option<Verified> = None;
    let attempts = keys.iter().map(Some).chain(keys.is_empty().then_some(None));
    for key in attempts {
        let found = match verify(folder, key) {
            Ok(found) => found,
            Err(error) => return unreadable(folder, trouble(folder, &error)),
        };
        // A key that was renewed verifies what was sealed by it.
        let rank = |found: &Verified| (is_own(found), found.sealed, std::cmp::Reverse(found.findings.len()));
        if best.as_ref().is_none_or(|best| rank(best) < rank(&found)) {
            best = Some(found);
        }
    }
    let Some(found) = best else { return unreadable(folder, Shown::of("not verified")) };
    let trust = if !found.is_whole() {
        Trust::Broken
    } else if found.unchecked > 0 {
        Trust::NotChecked
    } else if found.sealed == 0 {
        Trust::Unsealed
    } else if found.sealed < found.entries {
        Trust::PartlySealed
    } else {
        Trust::Sealed
    };
    let shown = found.findings.iter().take(MOST).map(|finding| Shown::of(&finding.to_string())).collect::<Vec<_>>();
    let more = found.more + u64::try_from(found.findings.len() - shown.len()).unwrap_or(0);
    Seal {
        folder: Shown::of(&crate::escape::path(folder)),
        trust,
        entries: found.entries,
        alerts: found.alerts,
        sealed: found.sealed,
        span: found.span,
        findings: shown,
        more,
    }
}

fn unreadable(folder: &Path, why: Shown) -> Seal {
    Seal {
        folder: Shown::of(&crate::escape::path(folder)),
        trust: Trust::Unreadable,
        entries: 0,
        alerts: 0,
        sealed: 0,
        span: None,
        findings: vec![why],
        more: 0,
    }
}
