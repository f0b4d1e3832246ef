//! What a search found.

use super::{
    fault::Trouble,
    key::{Fingerprint, Key},
};
use crate::judge::severity;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A DKIM key: its public half is published, a key table names it, or its path or shape says so.
    Dkim,
    /// Another private key, of TLS or SSH for instance.
    Private,
    /// A key that is everybody's: in the documentation or the test suite of a package.
    WellKnown,
}

impl Class {
    /// The name in the output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dkim => "dkim",
            Self::Private => "private-key",
            Self::WellKnown => "well-known",
        }
    }

    /// The step on the ladder of [`severity`].
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Self::Dkim => severity::HIGH,
            Self::Private => severity::LOW,
            Self::WellKnown => severity::NOTICE,
        }
    }
}

/// Whether whoever runs the image sees the file. Whoever has the image has the key, in any state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is there.
    Present,
    /// A later layer deletes it: this one, counted from 1.
    Deleted(usize),
    /// A later layer (or the same one) has something else at its path.
    Replaced(usize),
    /// This later layer could not be read.
    Undecided(usize),
}

/// A private key in a layer, and the images that have the layer.
///
/// One finding for all of them: it is one key to be withdrawn, and a layer that it is to be taken out of.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is for.
    pub class: Class,
    /// Its path in the image, in one spelling and without the leading slash; `None` in an image's configuration.
    pub path: Option<Vec<u8>>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner, as the layer has it.
    pub uid: Option<u64>,
    /// Group, as the layer has it.
    pub gid: Option<u64>,
    /// What may be known of it.
    pub key: Key,
    /// Signing domain, where known.
    pub domain: Option<String>,
    /// Selector, where known.
    pub selector: Option<String>,
    /// What says domain, selector or that it is a DKIM key, for people.
    pub known_by: Option<String>,
    /// The layer's digest (`diff_id`); `None` in a configuration, or where no configuration names it.
    pub diff_id: Option<String>,
    /// Where it is.
    pub images: Vec<Occurrence>,
}

/// An image that has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The store or archive, escaped.
    pub place: String,
    /// What that is.
    pub kind: &'static str,
    /// The image's names.
    pub names: Vec<String>,
    /// The digest of its manifest.
    pub digest: Option<String>,
    /// The digest of its configuration.
    pub id: Option<String>,
    /// The layer, from 1; `None` for the configuration.
    pub layer: Option<usize>,
    /// How many layers it has.
    pub layers: usize,
    /// The command that made the layer, fit to be shown.
    pub created_by: Option<String>,
    /// Whether it is still there.
    pub state: State,
}

/// A store or archive that was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Its path, escaped.
    pub place: String,
    /// What it is.
    pub kind: &'static str,
    /// How many images it has.
    pub images: usize,
    /// How many layers, each counted once.
    pub layers: usize,
}

/// All that a search found.
#[derive(Debug, Default)]
pub struct Report {
    /// Keys: those of DKIM first, then by path.
    pub findings: Vec<Finding>,
    /// Well-known keys that were left out.
    pub well_known: usize,
    /// What was searched.
    pub searched: Vec<Searched>,
    /// What could not be searched, or not to its end. Where this is not empty, the findings may not be all.
    pub troubles: Vec<Trouble>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// Where a record of a key was found: for people.
pub(super) type Published = std::collections::HashMap<Fingerprint, Vec<(crate::keys::Identity, String)>>;
