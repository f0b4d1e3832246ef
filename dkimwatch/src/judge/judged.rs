//! The noun of the third stage: an access with its verdict.

use super::{Action, Part};
use crate::attribute::AttributedAccess;

/// Was it the expected signer?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A signer that the policy expects at this key.
    Expected,
    /// A declared backup, integrity checker or rotation tool.
    Maintenance,
    /// Anybody else.
    Unexpected,
}

impl Verdict {
    /// The word in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Maintenance => "maintenance",
            Self::Unexpected => "unexpected",
        }
    }
}

/// An access, judged.
#[derive(Clone, Debug)]
pub struct JudgedAccess {
    /// The access.
    pub attributed: AttributedAccess,
    /// What was done.
    pub action: Action,
    /// The key, as the watch list knows it.
    pub key: JudgedKey,
    /// Which part of the watch itself it was done to, where it was.
    pub part: Option<Part>,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided (`rule.id`), for instance `signer/opendkim` or `stranger/executable`.
    pub rule: String,
    /// A sentence a person can act on (`event.reason`).
    pub reason: String,
    /// It would be expected, were it known that the executable's bytes are the reader's program: that is being found out.
    pub undecided: bool,
    /// 0 (nothing) to 100 (a stranger has the key) (`event.severity`).
    pub severity: u8,
}

/// A key as it was found is the key as it is judged.
impl From<crate::keys::Key> for JudgedKey {
    fn from(key: crate::keys::Key) -> Self {
        let crate::keys::Key { path, domain, selector, signer, .. } = key;
        Self { path, domain, selector, signer }
    }
}

/// The key that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedKey {
    /// Its path as watched; for a file born in a watched folder, the path it was opened by.
    pub path: std::path::PathBuf,
    /// Signing domain (RFC 6376 `d=`), where known.
    pub domain: Option<String>,
    /// Selector (RFC 6376 `s=`), where known.
    pub selector: Option<String>,
    /// The signer that is configured to use it, where known.
    pub signer: Option<String>,
}
