//! The search of one store or archive: every layer once for keys, then the later layers of those that have some for what
//! became of them.

use std::{
    collections::{BTreeSet, HashMap},
    io::Read,
};

use super::{
    examine::is_well_known,
    fate::{self, Fate, Fates},
    fault::Fault,
    finding::{Occurrence, Published, State},
    layer::{self, Content, Sighting},
    limits::{MOST_KEYS, MOST_ROUNDS},
    names,
    place::{At, Image, Place},
    progress::Progress,
    tarball,
    unpacked::unpacked,
};

/// What was found in a place: what its layers hold, and what they do to each other's files.
pub(super) struct Searched {
    pub(super) place: Place,
    /// By the layer's number.
    contents: Vec<Content>,
    /// By the layer's number: `None` where it could not be read to its end.
    fates: Vec<Option<Fates>>,
}

/// A key in a place, before it is known what for.
pub(super) struct Sighted<'a> {
    pub(super) sighting: &'a Sighting,
    pub(super) layer: usize,
    pub(super) images: Vec<Occurrence>,
}

/// Searches a place.
pub(super) fn search(mut place: Place, limit: u64, progress: &dyn Progress) -> Searched {
    progress.at(&place.name);
    progress.expect(place.layers.iter().filter_map(|layer| layer.size).sum());
    let everything: Vec<usize> = (0..place.layers.len()).collect();
    let mut contents: Vec<Content> = place.layers.iter().map(|_| Content::default()).collect();
    for (number, content) in look(&place, &everything, progress, &mut |number, from| match from {
        Bytes::Blob(from) => {
            let diff_id = place.layers.get(number).and_then(|layer| layer.diff_id.as_deref());
            layer::of_archive(from, limit, diff_id)
        }
        Bytes::Folder(folder) => layer::of_folder(folder, progress),
        Bytes::Nowhere(fault) => Content::of_fault(fault),
    }) {
        if let Some(place) = contents.get_mut(number) {
            *place = content;
        }
    }
    let mut room = MOST_KEYS;
    for (number, content) in contents.iter_mut().enumerate() {
        if content.sightings.len() > room {
            content.sightings.truncate(room);
            content.faults.push(Fault::TooMany { what: "private keys together with others", most: MOST_KEYS });
        }
        room -= content.sightings.len();
        for fault in std::mem::take(&mut content.faults) {
            let label = place.label(number);
            place.trouble(Some(label), fault);
        }
    }
    let mut searched = Searched { fates: contents.iter().map(|_| None).collect(), place, contents };
    searched.follow(limit, progress);
    searched
}

/// Where a layer's bytes are.
enum Bytes<'a> {
    Blob(&'a mut dyn Read),
    Folder(&'a super::rooted::Folder),
    Nowhere(Fault),
}

/// Looks at these layers, in the order that costs least.
fn look<T>(
    place: &Place,
    wanted: &[usize],
    progress: &dyn Progress,
    with: &mut dyn FnMut(usize, Bytes<'_>) -> T,
) -> Vec<(usize, T)> {
    let mut found = Vec::new();
    let mut blobs = HashMap::new();
    for &number in wanted {
        progress.at(&place.label(number));
        match place.layers.get(number).map(|layer| &layer.at) {
            Some(At::Blob(name)) => {
                blobs.insert(name.clone(), number);
            }
            Some(At::Folder(path)) => {
                let outcome = match place.holder().folder(path) {
                    Ok(folder) => with(number, Bytes::Folder(&folder)),
                    Err(fault) => with(number, Bytes::Nowhere(fault)),
                };
                found.push((number, outcome));
            }
            None => {}
        }
    }
    let names: Vec<String> = blobs.keys().cloned().collect();
    place.holder().visit(&names, progress, &mut |name, from| {
        if let Some(number) = blobs.remove(name) {
            progress.at(&place.label(number));
            let from = match from {
                Ok(from) => Bytes::Blob(from),
                Err(fault) => Bytes::Nowhere(fault),
            };
            found.push((number, with(number, from)));
        }
    });
    // A packed archive that ends early shows no more.
    for number in blobs.into_values() {
        found.push((number, with(number, Bytes::Nowhere(Fault::Missing))));
    }
    found
}

impl Searched {
    /// Asks the later layers what they do to the keys of earlier ones; anew, where hard links gave one a further name.
    fn follow(&mut self, limit: u64, progress: &dyn Progress) {
        let mut asked: HashMap<usize, BTreeSet<Vec<u8>>> = HashMap::new();
        for _ in 0..MOST_ROUNDS {
            let wanted = self.questions();
            let new: Vec<usize> = wanted
                .iter()
                .filter(|(layer, paths)| asked.get(layer) != Some(paths))
                .map(|(layer, _)| *layer)
                .collect();
            if new.is_empty() {
                return;
            }
            let size = |layer: &usize| self.place.layers.get(*layer).filter(|layer| matches!(layer.at, At::Blob(_)));
            progress.expect(new.iter().filter_map(|layer| size(layer)?.size).sum());
            let none = BTreeSet::new();
            // That an archive cannot be read was told when it was searched; a folder is asked otherwise now.
            let mut faults = Vec::new();
            let answers = look(&self.place, &new, progress, &mut |layer, from| {
                let paths = wanted.get(&layer).unwrap_or(&none);
                match from {
                    Bytes::Blob(from) => {
                        unpacked(from).and_then(|from| fate::in_archive(&mut tarball::layer(from, limit), paths)).ok()
                    }
                    Bytes::Folder(folder) => match fate::in_folder(folder, paths) {
                        Ok(fates) => Some(fates),
                        Err(fault) => {
                            faults.push((layer, fault));
                            None
                        }
                    },
                    Bytes::Nowhere(_) => None,
                }
            });
            for (layer, fault) in faults {
                let label = self.place.label(layer);
                self.place.trouble(Some(label), fault);
            }
            for (layer, fates) in answers {
                self.link(layer, fates.as_ref());
                if let Some(place) = self.fates.get_mut(layer) {
                    *place = fates;
                }
            }
            asked = wanted;
        }
    }

    /// For each layer, the paths of keys below it, in any image.
    fn questions(&self) -> HashMap<usize, BTreeSet<Vec<u8>>> {
        let mut questions: HashMap<usize, BTreeSet<Vec<u8>>> = HashMap::new();
        for image in &self.place.images {
            let mut below: BTreeSet<&[u8]> = BTreeSet::new();
            for placed in &image.layers {
                if !below.is_empty() {
                    questions.entry(placed.layer).or_default().extend(below.iter().map(|path| path.to_vec()));
                }
                let content = self.contents.get(placed.layer);
                below.extend(content.into_iter().flat_map(|content| &content.sightings).map(|one| one.path.as_slice()));
            }
        }
        questions
    }

    /// Adds what hard links make of a lower layer's key to the layer that has the link.
    fn link(&mut self, layer: usize, fates: Option<&Fates>) {
        let links = fates.map(|fates| fates.links.as_slice()).unwrap_or_default();
        for (path, target) in links {
            let Some(one) = self.below(layer, target).cloned() else { continue };
            if let Some(content) = self.contents.get_mut(layer)
                && !content.sightings.iter().any(|known| known.path == *path)
            {
                content.sightings.push(Sighting { path: path.clone(), ..one });
            }
        }
    }

    /// The key at a path that is next below a layer, in the first image that has one.
    fn below(&self, layer: usize, path: &[u8]) -> Option<&Sighting> {
        self.place.images.iter().find_map(|image| {
            let at = image.layers.iter().position(|placed| placed.layer == layer)?;
            let lower = image.layers.iter().take(at).rev().filter_map(|placed| self.contents.get(placed.layer));
            lower.flat_map(|content| &content.sightings).find(|one| one.path == path && !one.overwritten)
        })
    }

    /// Every key in a layer, with the images that have the layer. A layer of no image is none of anybody's concern.
    pub(super) fn sightings(&self) -> impl Iterator<Item = Sighted<'_>> {
        self.contents.iter().enumerate().flat_map(move |(layer, content)| {
            content.sightings.iter().map(move |sighting| Sighted {
                sighting,
                layer,
                images: self.place.images.iter().flat_map(|image| self.occurrences(image, layer, sighting)).collect(),
            })
        })
    }

    fn occurrences(&self, image: &Image, layer: usize, sighting: &Sighting) -> Vec<Occurrence> {
        let here = image.layers.iter().enumerate().filter(|(_, placed)| placed.layer == layer);
        here.map(|(at, placed)| Occurrence {
            layer: Some(at + 1),
            created_by: placed.created_by.clone(),
            state: self.state(image, at, sighting),
            ..self.occurrence(image)
        })
        .collect()
    }

    /// An image, as where something was found in its configuration.
    pub(super) fn occurrence(&self, image: &Image) -> Occurrence {
        Occurrence {
            place: self.place.name.clone(),
            kind: self.place.kind,
            names: image.names.clone(),
            digest: image.digest.clone(),
            id: image.id.clone(),
            layer: None,
            layers: image.layers.len(),
            created_by: None,
            state: State::Present,
        }
    }

    fn state(&self, image: &Image, at: usize, sighting: &Sighting) -> State {
        if sighting.overwritten {
            return State::Replaced(at + 1);
        }
        for (later, placed) in image.layers.iter().enumerate().skip(at + 1) {
            match self.fates.get(placed.layer).and_then(Option::as_ref) {
                None => return State::Undecided(later + 1),
                Some(fates) => match fates.of.get(&sighting.path) {
                    Some(Fate::Deleted) => return State::Deleted(later + 1),
                    Some(Fate::Replaced) => return State::Replaced(later + 1),
                    None => {}
                },
            }
        }
        State::Present
    }

    /// Adds the public records of the layers, with where they lie. Those of test suites prove nothing.
    pub(super) fn publish(&self, published: &mut Published) {
        for (path, record) in self.contents.iter().flat_map(|content| &content.records) {
            if !is_well_known(path) {
                let place = format!("the record in {}", names::shown(path));
                published.entry(record.public).or_default().push((record.identity.clone(), place));
            }
        }
    }

    /// What key tables of the images that have this layer say of a path.
    pub(super) fn in_key_table(&self, layer: usize, path: &[u8]) -> Option<&crate::keys::Identity> {
        let images = self.place.images.iter().filter(|image| image.layers.iter().any(|placed| placed.layer == layer));
        let contents = images.flat_map(|image| &image.layers).filter_map(|placed| self.contents.get(placed.layer));
        contents.flat_map(|content| &content.rows).find(|row| row.path == path).map(|row| &row.identity)
    }
}

impl Place {
    /// A layer in words: its digest, else where it lies.
    fn label(&self, number: usize) -> String {
        let Some(layer) = self.layers.get(number) else { return "a layer".to_owned() };
        let place = match &layer.at {
            At::Folder(path) => crate::escape::path(path),
            At::Blob(name) => crate::escape::word(name.as_bytes()),
        };
        let images = self.images.iter().filter_map(|image| {
            let at = image.layers.iter().position(|placed| placed.layer == number)?;
            Some(format!(", layer {} of {} of {}", at + 1, image.layers.len(), image.label()))
        });
        let image = images.into_iter().next().unwrap_or_default();
        match &layer.diff_id {
            Some(diff_id) => format!("the layer {} in {place}{image},", crate::escape::text(diff_id.as_bytes())),
            None => format!("the layer in {place}{image},"),
        }
    }
}
