//! How many places the tables have that forget what was used least recently (`BPF_MAP_TYPE_LRU_HASH`): more on a host of many
//! processors.

use dkimwatch_common::{limits, names::maps};

/// Places that a CPU takes for itself when it has none (`LOCAL_FREE_TARGET`, `kernel/bpf/bpf_lru_list.c`). Once all are taken, on kernels
/// before 6.17 a CPU that comes late has one, and forgets what it kept with the next that it keeps.
const OF_A_CPU: u32 = 128;

/// The tables, and what each is to hold at least.
const TABLES: [(&str, u32); 7] = [
    (maps::SEEN, limits::SEEN),
    (maps::OPENERS, limits::OPENERS),
    (maps::ELSEWHERE, limits::ELSEWHERE),
    (maps::RECENT, limits::RECENT),
    (maps::ATTRIBUTES, limits::ATTRIBUTES),
    (maps::HOLDERS, limits::HOLDERS),
    (maps::OWN, limits::OWN),
];

/// Each table with its places, where the kernel can have `cpus` processors.
pub(super) fn tables(cpus: usize) -> impl Iterator<Item = (&'static str, u32)> {
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    // As much again for what the CPUs do not hold for themselves.
    let shared = OF_A_CPU.saturating_mul(2).saturating_mul(cpus);
    TABLES.into_iter().map(move |(name, least)| (name, least.max(shared)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    use super::*;
    use crate::kernel::object::KERNEL_OBJECT;

    /// The maps of the object of which the least recently used entry makes room. A map's definition begins with its type
    /// (`struct bpf_map_def`).
    fn forgetting() -> BTreeSet<String> {
        /// `BPF_MAP_TYPE_LRU_HASH` (`include/uapi/linux/bpf.h`).
        const LRU_HASH: [u8; 4] = 9_u32.to_ne_bytes();
        let object = object::File::parse(KERNEL_OBJECT).expect("the embedded object is ELF");
        let section = object.section_by_name("maps").expect("the object has maps");
        let data = section.data().expect("the section's bytes");
        let of_maps = object.symbols().filter(|symbol| symbol.section_index() == Some(section.index()));
        let begins = |at: u64| data.get(usize::try_from(at).expect("an offset")..).expect("in the section");
        let lru = of_maps.filter(|symbol| begins(symbol.address()).starts_with(&LRU_HASH));
        lru.map(|symbol| symbol.name().expect("a name").to_owned()).collect()
    }

    #[test]
    fn every_table_that_forgets_is_sized_and_what_is_being_done_is_in_none() {
        let sized: BTreeSet<String> = TABLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(forgetting(), sized);
        for kept in [maps::PENDING, maps::CHANGES] {
            assert!(!sized.contains(kept), "{kept}: what is lost there is told by nobody");
        }
    }

    #[test]
    fn each_cpu_has_places_of_its_own() {
        assert!(tables(2).eq(TABLES), "few CPUs need no more");
        for (name, places) in tables(512) {
            assert!(places >= 512 * 2 * OF_A_CPU, "{name}: {places}");
        }
        assert!(tables(usize::MAX).all(|(_, places)| places == u32::MAX));
    }
}
