//! What user and group ids mean in the user namespace of a process (user_namespaces(7)).

use std::mem::offset_of;

use dkimwatch_common::{
    limits,
    record::{RawIdExtent, RawIdMap},
};

use super::fields::Fields;

/// Both maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    /// `/proc/PID/uid_map`.
    pub users: IdMap,
    /// `/proc/PID/gid_map`.
    pub groups: IdMap,
}

/// Ranges of ids. None: nobody has written the map yet, and every id is the overflow id there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(pub Vec<IdRange>);

/// Ids that follow each other in both namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first one, within.
    pub inner: u32,
    /// The first one, as the initial user namespace (the host) has it.
    pub host: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// A host's id as the namespace has it (`from_kuid()`); `None` where it has none for it.
    #[must_use]
    pub fn inner(&self, host: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let behind = host.checked_sub(range.host).filter(|behind| *behind < range.count)?;
            range.inner.checked_add(behind)
        })
    }

    /// Whether ids are the same within and without: the initial user namespace, and most containers of root.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        matches!(self.0.as_slice(), [IdRange { inner: 0, host: 0, count: u32::MAX }])
    }

    /// A map of a record; `None` where it has more ranges than a record holds.
    pub(super) fn read(raw: Fields<'_>, at: usize) -> Option<Self> {
        let count = usize::try_from(raw.u32(at + offset_of!(RawIdMap, count))).ok();
        let count = count.filter(|count| *count <= limits::ID_EXTENTS)?;
        let range = |index: usize| {
            let at = at + offset_of!(RawIdMap, extents) + index * size_of::<RawIdExtent>();
            IdRange {
                inner: raw.u32(at + offset_of!(RawIdExtent, first)),
                host: raw.u32(at + offset_of!(RawIdExtent, lower_first)),
                count: raw.u32(at + offset_of!(RawIdExtent, count)),
            }
        };
        Some(Self((0..count).map(range).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::{IdMap, IdRange};

    #[test]
    fn an_id_is_looked_up_in_its_range() {
        // Podman without root: the user is root within, and has 65,536 more.
        let map =
            IdMap(vec![IdRange { inner: 0, host: 1000, count: 1 }, IdRange { inner: 1, host: 100_000, count: 65_536 }]);
        assert_eq!(map.inner(1000), Some(0));
        assert_eq!(map.inner(100_000), Some(1));
        assert_eq!(map.inner(165_535), Some(65_536));
        assert_eq!(map.inner(165_536), None);
        assert_eq!(map.inner(0), None);
        assert!(!map.is_identity());
    }

    #[test]
    fn the_initial_namespace_changes_nothing_and_an_unwritten_map_knows_nobody() {
        let map = IdMap(vec![IdRange { inner: 0, host: 0, count: u32::MAX }]);
        assert!(map.is_identity());
        assert_eq!(map.inner(65_534), Some(65_534));
        assert_eq!(IdMap::default().inner(0), None);
        let hostile = IdMap(vec![IdRange { inner: u32::MAX, host: 5, count: 9 }]);
        assert_eq!(hostile.inner(7), None);
    }
}
