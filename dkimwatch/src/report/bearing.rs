//! What an access means for the key: does somebody have it now who should not?

use serde::Serialize;

use crate::judge::{Action, Verdict, severity};

/// What an access means for the key, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bearing {
    /// Somebody who was not expected may have the key's bytes.
    Exposed,
    /// Something was done to the key, its names or its folder by somebody who was not expected, and not so that he got its bytes.
    Changed,
    /// It was tried and refused.
    Attempted,
    /// Not expected, and the administrator's own: a check, a key tool, udev's look at a disk (severity *notice*).
    Noted,
    /// By an expected signer, or by declared maintenance.
    Expected,
}

impl Bearing {
    /// Those that nobody expected.
    pub const UNEXPECTED: [Self; 4] = [Self::Exposed, Self::Changed, Self::Attempted, Self::Noted];

    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::Changed => "changed",
            Self::Attempted => "attempted",
            Self::Noted => "noted",
            Self::Expected => "expected",
        }
    }

    /// Decides.
    ///
    /// - What was refused exposes nothing; somebody tried.
    /// - An open, a read, a further name, a device or a signer's memory ([`Action::exposes`]) by somebody unexpected exposes the key:
    ///   what he did with the bytes no one knows. A device counts, as whoever reads it raw reads the key; memory, as the key is in it.
    /// - What was done to the watch itself (`monitor-tampered`) is no access to a key, and is not asked about here.
    /// - An outcome that the hook could not know counts as success, and an action of a later version as an exposing one: rather a
    ///   rotation too many than a stolen key that signs.
    /// - A key that was opened for reading and writing at once is exposed, as its opener could read it. One that was made, replaced,
    ///   renamed or mounted over is changed: its maker knows the new bytes, whoever has the old ones was told of at their open.
    /// - Severity *notice* is what root's own tools do (`opendkim-testkey`, `opendkim-genkey`, `blkid` at boot). They are told apart
    ///   from strangers by what they executed, and would otherwise cry theft at every boot.
    #[must_use]
    pub fn of(verdict: Verdict, action: Option<Action>, refused: bool, may_read: bool, event_severity: u8) -> Self {
        if verdict != Verdict::Unexpected {
            return Self::Expected;
        }
        if refused || action == Some(Action::KeyOpenDenied) {
            return Self::Attempted;
        }
        if event_severity < severity::LOW {
            return Self::Noted;
        }
        match action {
            None => Self::Exposed,
            Some(action) if action.exposes() => Self::Exposed,
            Some(Action::KeyModified) if may_read => Self::Exposed,
            Some(_) => Self::Changed,
        }
    }
}

/// How many accesses, by what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// By expected signers.
    pub expected: u64,
    /// By declared maintenance.
    pub maintenance: u64,
    /// Of each bearing.
    pub exposed: u64,
    /// See [`Bearing`].
    pub changed: u64,
    /// See [`Bearing`].
    pub attempted: u64,
    /// See [`Bearing`].
    pub noted: u64,
}

impl Counts {
    /// Counts some.
    pub const fn add(&mut self, verdict: Verdict, bearing: Bearing, count: u64) {
        let counter = match (bearing, verdict) {
            (Bearing::Exposed, _) => &mut self.exposed,
            (Bearing::Changed, _) => &mut self.changed,
            (Bearing::Attempted, _) => &mut self.attempted,
            (Bearing::Noted, _) => &mut self.noted,
            (Bearing::Expected, Verdict::Maintenance) => &mut self.maintenance,
            (Bearing::Expected, _) => &mut self.expected,
        };
        *counter += count;
    }

    /// Adds others.
    pub const fn merge(&mut self, other: &Self) {
        self.expected += other.expected;
        self.maintenance += other.maintenance;
        self.exposed += other.exposed;
        self.changed += other.changed;
        self.attempted += other.attempted;
        self.noted += other.noted;
    }

    /// Those that were as they should be.
    #[must_use]
    pub const fn as_expected(&self) -> u64 {
        self.expected + self.maintenance
    }

    /// Those that nobody expected.
    #[must_use]
    pub const fn unexpected(&self) -> u64 {
        self.exposed + self.changed + self.attempted + self.noted
    }

    /// All.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.as_expected() + self.unexpected()
    }

    /// The gravest that there is.
    #[must_use]
    pub const fn gravest(&self) -> Bearing {
        if self.exposed > 0 {
            Bearing::Exposed
        } else if self.changed > 0 {
            Bearing::Changed
        } else if self.attempted > 0 {
            Bearing::Attempted
        } else if self.noted > 0 {
            Bearing::Noted
        } else {
            Bearing::Expected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exposes_a_key() {
        let of = |action, refused, severity| Bearing::of(Verdict::Unexpected, action, refused, false, severity);
        for action in Action::ALL {
            assert_eq!(of(Some(action), true, 80), Bearing::Attempted, "{action:?}");
            assert_eq!(Bearing::of(Verdict::Expected, Some(action), true, true, 20), Bearing::Expected, "{action:?}");
        }
        for action in [Action::KeyOpened, Action::KeyRead, Action::DeviceOpened, Action::SignerMemoryAccessed] {
            assert_eq!(of(Some(action), false, 40), Bearing::Exposed, "{action:?}");
            assert_eq!(of(Some(action), false, 20), Bearing::Noted, "{action:?}");
        }
        for action in [Action::KeyModified, Action::KeyDeleted, Action::KeyReplaced, Action::KeyMountedOver] {
            assert_eq!(of(Some(action), false, 60), Bearing::Changed, "{action:?}");
        }
        assert_eq!(of(None, false, 60), Bearing::Exposed, "a later version's action");
        let both = Bearing::of(Verdict::Unexpected, Some(Action::KeyModified), false, true, 80);
        assert_eq!(both, Bearing::Exposed, "opened for reading and writing");
    }
}
