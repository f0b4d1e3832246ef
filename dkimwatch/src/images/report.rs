//! From what was seen to findings: which keys are DKIM's, whose they are, and which images share them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    examine::{is_well_known, looks_like_dkim},
    fault::{Fault, Trouble},
    finding::{Class, Finding, Occurrence, Published, Report, Searched},
    key::{Algorithm, Key},
    limits::MOST_TOLD,
    record, search,
};
use crate::{
    escape,
    host::path_of,
    keys::{Identity, guess},
};

/// A report in the making.
#[derive(Default)]
pub(super) struct Draft {
    published: Published,
    places: Vec<search::Searched>,
    report: Report,
}

impl Draft {
    /// Takes in a file of records.
    pub(super) fn records(&mut self, path: &Path, text: &[u8]) {
        let records = record::records(text);
        let place = escape::path(path);
        if records.is_empty() {
            self.note(format!("{place}: no DKIM record with a key in it"));
        }
        for record in records {
            let known = self.published.entry(record.public).or_default();
            // What the operator says comes before what an image says.
            known.insert(0, (record.identity, format!("the record in {place}")));
        }
    }

    pub(super) fn trouble(&mut self, path: &Path, fault: Fault) {
        self.report.troubles.push(Trouble { place: escape::path(path), part: None, fault });
    }

    pub(super) fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    pub(super) fn searched(&mut self, searched: search::Searched) {
        self.places.push(searched);
    }

    /// The report, once everything is known.
    pub(super) fn finished(mut self, all: bool) -> Report {
        for place in &mut self.places {
            self.report.troubles.append(&mut place.place.troubles);
            self.report.notes.append(&mut place.place.notes);
            place.publish(&mut self.published);
        }
        let mut findings: BTreeMap<_, Finding> = BTreeMap::new();
        let (mut room, mut full) = (MOST_TOLD, BTreeSet::new());
        for place in &self.places {
            self.report.searched.push(Searched {
                place: place.place.name.clone(),
                kind: place.place.kind,
                images: place.place.images.len(),
                layers: place.place.layers.len(),
            });
            for sighted in place.sightings().filter(|sighted| !sighted.images.is_empty()) {
                let one = sighted.sighting;
                let layer = place.place.layers.get(sighted.layer).and_then(|layer| layer.diff_id.clone());
                // The same layer in two stores is one layer; one whose digest nobody knows is its own.
                let own = if layer.is_none() { Some((place.place.name.clone(), sighted.layer)) } else { None };
                let key = (Some(one.path.clone()), one.key.clone(), one.overwritten, layer.clone(), own);
                let finding = findings.entry(key).or_insert_with(|| {
                    let table = place.in_key_table(sighted.layer, &one.path);
                    let what = self.classified(&one.key, Some(&one.path), &one.identity, table);
                    Finding {
                        mode: one.attributes.mode,
                        uid: one.attributes.uid,
                        gid: one.attributes.gid,
                        diff_id: layer,
                        ..finding(Some(one.path.clone()), one.key.clone(), what)
                    }
                });
                if sighted.images.len() > room {
                    full.insert(place.place.name.clone());
                }
                let images = sighted.images.into_iter().take(room);
                room -= images.len();
                finding.images.extend(images);
            }
            for image in &place.place.images {
                for key in &image.keys {
                    let occurrence = place.occurrence(image);
                    let index = (None, key.clone(), false, None, Some((place.place.name.clone(), 0)));
                    let finding = findings.entry(index).or_insert_with(|| {
                        finding(None, key.clone(), self.classified(key, None, &Identity::default(), None))
                    });
                    finding.images.push(occurrence);
                }
            }
        }
        for place in full {
            let fault = Fault::TooMany { what: "keys in images", most: MOST_TOLD };
            self.report.troubles.push(Trouble { place, part: None, fault });
        }
        let mut findings: Vec<_> = findings.into_values().collect();
        if !all {
            let before = findings.len();
            findings.retain(|finding| finding.class != Class::WellKnown);
            self.report.well_known = before - findings.len();
        }
        // The same path in several layers: in their order.
        let layer = |finding: &Finding| finding.images.first().and_then(|image| image.layer);
        findings.sort_by(|a, b| (a.class, &a.path, layer(a), &a.key).cmp(&(b.class, &b.path, layer(b), &b.key)));
        self.report.findings = findings;
        self.report
    }

    /// What a key is for, whose it is, and what says so.
    fn classified(&self, key: &Key, path: Option<&[u8]>, own: &Identity, table: Option<&Identity>) -> Known {
        let signs = matches!(key.algorithm, Algorithm::Rsa(_) | Algorithm::Ed25519 | Algorithm::Unknown(_));
        let published = key.public.and_then(|public| self.published.get(&public)).and_then(|known| known.first());
        if let Some((identity, place)) = published {
            // opendkim-genkey's records may leave the domain to the zone: the path may still tell it.
            let hint = path.map(|path| guess(&path_of(&[b"/", path].concat()))).unwrap_or_default();
            let identity = Identity {
                domain: identity.domain.clone().or_else(|| own.domain.clone()).or(hint.domain),
                selector: identity.selector.clone().or_else(|| own.selector.clone()).or(hint.selector),
            };
            return (Class::Dkim, identity, Some(place.clone()));
        }
        if *own != Identity::default()
            || (path.is_some_and(|path| super::keytable::is_named_so(super::names::split(path).1)) && signs)
        {
            return (Class::Dkim, own.clone(), Some("the key table that it stands in".to_owned()));
        }
        if let Some(identity) = table {
            return (Class::Dkim, identity.clone(), Some("a key table in the image".to_owned()));
        }
        let Some(path) = path else { return (Class::Private, Identity::default(), None) };
        if is_well_known(path) {
            return (Class::WellKnown, Identity::default(), None);
        }
        if signs && looks_like_dkim(path) {
            let identity = guess(&path_of(&[b"/", path].concat()));
            return (Class::Dkim, identity, Some("its path".to_owned()));
        }
        (Class::Private, Identity::default(), None)
    }
}

type Known = (Class, Identity, Option<String>);

fn finding(path: Option<Vec<u8>>, key: Key, (class, identity, known_by): Known) -> Finding {
    Finding {
        class,
        path,
        mode: None,
        uid: None,
        gid: None,
        key,
        domain: identity.domain,
        selector: identity.selector,
        known_by,
        diff_id: None,
        images: Vec::<Occurrence>::new(),
    }
}
