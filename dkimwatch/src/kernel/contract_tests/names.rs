//! Names: what the object holds, what the contract lists, and what this side uses.

use std::collections::{BTreeMap, BTreeSet};

use dkimwatch_common::names::{globals, maps, programs};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

use super::object;
use crate::kernel::{Backend, backend, session};

/// aya-log's own ring, which aya-log finds by itself.
const LOG_RING: &str = "AYA_LOGS";

/// The object's named symbols of a kind, by section.
fn symbols(kind: SymbolKind) -> BTreeMap<String, BTreeSet<String>> {
    let object = object();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for symbol in object.symbols().filter(|symbol| symbol.kind() == kind) {
        let Some(section) = symbol.section_index() else { continue };
        let section = object.section_by_index(section).expect("a symbol's section");
        let section_name = section.name().expect("a section's name").to_owned();
        found.entry(section_name).or_default().insert(symbol.name().expect("a symbol's name").to_owned());
    }
    found
}

fn set(names: &[&str]) -> BTreeSet<String> {
    let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(set.len(), names.len(), "a name stands twice in {names:?}");
    set
}

#[test]
fn the_maps_are_those_of_the_contract() {
    let mut found = symbols(SymbolKind::Data).remove("maps").expect("the object has maps");
    assert!(found.remove(LOG_RING), "the log's ring");
    assert_eq!(found, set(maps::ALL), "left: the object, right: `names::maps::ALL`");
}

#[test]
fn the_programs_are_those_of_the_contract() {
    let object = object();
    let code: BTreeSet<String> = object
        .sections()
        .filter(|section| section.kind() == SectionKind::Text && section.size() > 0)
        .map(|section| section.name().expect("a section's name").to_owned())
        // Subprograms: called by the programs, attached nowhere.
        .filter(|name| name != ".text")
        .collect();
    let symbols = symbols(SymbolKind::Text);
    let found: BTreeSet<String> =
        code.iter().flat_map(|section| symbols.get(section).into_iter().flatten().cloned()).collect();
    assert_eq!(found, set(programs::ALL), "left: the object, right: `names::programs::ALL`");
}

#[test]
fn the_globals_that_the_loader_sets_are_there() {
    let found = symbols(SymbolKind::Data).remove(".rodata").expect("the object has read-only data");
    for name in [globals::OFFSETS, globals::IDMAP, globals::IO_URING_CQE, globals::CONTROLLERS, globals::LOG_LEVEL] {
        assert!(found.contains(name), "{name} is not among {found:?}");
    }
}

#[test]
fn every_program_is_used() {
    // Backends share programs; nobody else does.
    let backends: BTreeSet<_> = Backend::ALL.iter().flat_map(|backend| backend::program_names(*backend)).collect();
    let iterators = session::ITERATORS.iter().map(|(name, _)| *name);
    let used: Vec<&str> =
        backends.into_iter().chain(iterators).chain(session::PROCESS_TABLE.map(|(name, _)| name)).collect();
    assert_eq!(set(&used), set(programs::ALL), "left: backends, benchmark, iterators and process table");
}
