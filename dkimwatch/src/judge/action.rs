//! What was done, as events name it.

use dkimwatch_common::{deed::Deed, record::Kind};

use crate::decode::Access;

/// What was done (`event.action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variant is the event's name")]
pub enum Action {
    KeyOpened,
    KeyRead,
    KeyOpenDenied,
    KeyModified,
    KeyCreated,
    KeyDeleted,
    KeyRenamed,
    KeyReplaced,
    KeyLinked,
    KeyPermissionsChanged,
    KeyAttributesChanged,
    KeyMountedOver,
    DeviceOpened,
    SignerMemoryAccessed,
    MonitorTampered,
}

impl Action {
    /// All of them, in their order.
    pub const ALL: [Self; 15] = [
        Self::KeyOpened,
        Self::KeyRead,
        Self::KeyOpenDenied,
        Self::KeyModified,
        Self::KeyCreated,
        Self::KeyDeleted,
        Self::KeyRenamed,
        Self::KeyReplaced,
        Self::KeyLinked,
        Self::KeyPermissionsChanged,
        Self::KeyAttributesChanged,
        Self::KeyMountedOver,
        Self::DeviceOpened,
        Self::SignerMemoryAccessed,
        Self::MonitorTampered,
    ];

    /// The one that events call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// The word in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyOpened => "key-opened",
            Self::KeyRead => "key-read",
            Self::KeyOpenDenied => "key-open-denied",
            Self::KeyModified => "key-modified",
            Self::KeyCreated => "key-created",
            Self::KeyDeleted => "key-deleted",
            Self::KeyRenamed => "key-renamed",
            Self::KeyReplaced => "key-replaced",
            Self::KeyLinked => "key-linked",
            Self::KeyPermissionsChanged => "key-permissions-changed",
            Self::KeyAttributesChanged => "key-attributes-changed",
            Self::KeyMountedOver => "key-mounted-over",
            Self::DeviceOpened => "device-opened",
            Self::SignerMemoryAccessed => "signer-memory-accessed",
            Self::MonitorTampered => "monitor-tampered",
        }
    }

    /// Whether its doer may have the key's bytes now.
    #[must_use]
    pub const fn exposes(self) -> bool {
        matches!(
            self,
            Self::KeyOpened | Self::KeyRead | Self::KeyLinked | Self::DeviceOpened | Self::SignerMemoryAccessed
        )
    }

    /// Whether other bytes may be at the key's path now.
    #[must_use]
    pub const fn replaces(self) -> bool {
        matches!(self, Self::KeyModified | Self::KeyCreated | Self::KeyReplaced | Self::KeyMountedOver)
    }

    /// What an access was; `None` for a fact that is no event of its own. An open that may write counts as a change, as the
    /// kernel reports the open and not each write.
    pub(super) fn of(access: &Access) -> Option<Self> {
        let refused = access.outcome.known().is_some_and(|outcome| outcome.is_err());
        Some(match access.kind {
            Kind::Open if refused => Self::KeyOpenDenied,
            Kind::Open => match access.file.open.known() {
                Some(open) if open.created() => Self::KeyCreated,
                Some(open) if open.writes() || open.truncated() => Self::KeyModified,
                _ => Self::KeyOpened,
            },
            Kind::Refused => Self::KeyOpenDenied,
            Kind::Data if access.deed == Deed::Write => Self::KeyModified,
            Kind::Data => Self::KeyRead,
            Kind::Tamper => match access.deed {
                Deed::Unlink => Self::KeyDeleted,
                Deed::Rename => Self::KeyRenamed,
                Deed::Replace | Deed::Exchange => Self::KeyReplaced,
                Deed::Link => Self::KeyLinked,
                Deed::Place => Self::KeyCreated,
                Deed::Mode | Deed::Owner | Deed::Acl => Self::KeyPermissionsChanged,
                Deed::Size | Deed::Write => Self::KeyModified,
                Deed::Mount | Deed::Unmount => Self::KeyMountedOver,
                _ => Self::KeyAttributesChanged,
            },
            Kind::Device => Self::DeviceOpened,
            Kind::Memory => Self::SignerMemoryAccessed,
            Kind::Itself => Self::MonitorTampered,
            Kind::Library => return None,
        })
    }
}
