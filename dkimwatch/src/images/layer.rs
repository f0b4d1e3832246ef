//! What a layer holds: keys, public records, rows of key tables. One pass, and one file's beginning in memory at a time.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    examine::examine,
    fault::Fault,
    key::Key,
    keytable::Row,
    limits::{BODY, HEAD, MOST_FAULTS, MOST_KEPT},
    names,
    progress::Progress,
    record::Record,
    rooted::Folder,
    tarball::{self, Kind},
    tree,
    unpacked::unpacked,
};
use crate::keys::Identity;

/// A private key in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// In its normal spelling.
    pub(super) path: Vec<u8>,
    pub(super) attributes: Attributes,
    pub(super) key: Key,
    /// Whose it is, where its own file says so.
    pub(super) identity: Identity,
    /// The layer itself has another file of the same name later: nobody sees this one, and everybody has it.
    pub(super) overwritten: bool,
}

/// A file's owner and permissions, as the layer has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
}

/// What a layer holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) sightings: Vec<Sighting>,
    /// With the path of the file.
    pub(super) records: Vec<(Vec<u8>, Record)>,
    pub(super) rows: Vec<Row>,
    pub(super) faults: Vec<Fault>,
    further: usize,
    is_full: bool,
    by_path: HashMap<Vec<u8>, Vec<usize>>,
}

impl Content {
    /// Of a layer that cannot be looked at.
    pub(super) fn of_fault(fault: Fault) -> Self {
        Self { faults: vec![fault], ..Self::default() }
    }

    /// The first faults one by one, the others counted: a store that nobody may read has one a file.
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        } else {
            self.further += 1;
        }
    }

    fn file(&mut self, path: &[u8], attributes: Attributes, head: &[u8], size: u64) {
        let found = examine(path, head, size);
        for (key, identity) in found.keys {
            self.sighting(Sighting { path: path.to_vec(), attributes, key, identity, overwritten: false });
        }
        let (records, rows) = (MOST_KEPT - self.records.len(), MOST_KEPT - self.rows.len());
        self.is_full |= found.records.len() > records || found.rows.len() > rows;
        self.records.extend(found.records.into_iter().take(records).map(|record| (path.to_vec(), record)));
        self.rows.extend(found.rows.into_iter().take(rows));
    }

    fn sighting(&mut self, sighting: Sighting) {
        if self.sightings.len() == MOST_KEPT {
            self.is_full = true;
            return;
        }
        self.by_path.entry(sighting.path.clone()).or_default().push(self.sightings.len());
        self.sightings.push(sighting);
    }

    /// A further name of an earlier member.
    fn link(&mut self, path: &[u8], target: &[u8]) {
        if path == target {
            return;
        }
        let linked: Vec<_> = self.by_path.get(target).into_iter().flatten().copied().collect();
        for at in linked {
            if let Some(one) = self.sightings.get(at).filter(|one| !one.overwritten).cloned() {
                self.sighting(Sighting { path: path.to_vec(), ..one });
            }
        }
    }

    fn overwrite(&mut self, path: &[u8]) {
        for at in self.by_path.get(path).into_iter().flatten() {
            if let Some(one) = self.sightings.get_mut(*at) {
                one.overwritten = true;
            }
        }
    }

    fn finished(mut self) -> Self {
        if self.further > 0 {
            self.faults.push(Fault::Further(self.further));
        }
        if self.is_full {
            self.faults.push(Fault::TooMany { what: "private keys, records or rows of key tables", most: MOST_KEPT });
        }
        self.by_path = HashMap::new();
        self
    }
}

/// A buffer for files' beginnings. Of this size from the start: a larger one would leave a copy of the key behind.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(HEAD + BODY + 64))
}

/// Overwrites what the last file left, and no more: most files are small, and there are many.
fn clear(head: &mut Vec<u8>) {
    head.as_mut_slice().zeroize();
    head.clear();
}

/// Searches a layer in its archived form; `diff_id` is the digest that its expanded bytes should have.
pub(super) fn of_archive(from: impl Read, limit: u64, diff_id: Option<&str>) -> Content {
    let mut content = Content::default();
    if let Err(fault) = archive(from, limit, diff_id, &mut content) {
        content.fault(fault);
    }
    content.finished()
}

fn archive(from: impl Read, limit: u64, diff_id: Option<&str>, content: &mut Content) -> Result<(), Fault> {
    let mut hashed = Hashed { from: unpacked(from)?, hash: Sha256::new() };
    let mut archive = tarball::layer(&mut hashed, limit);
    let mut head = buffer();
    while let Some(member) = archive.next()? {
        let path = names::normal(&member.name);
        let attributes = Attributes { mode: member.mode, uid: member.uid, gid: member.gid };
        match &member.kind {
            Kind::File(size) => {
                content.overwrite(&path);
                clear(&mut head);
                // What is left of a cut file is looked at as well.
                let outcome = archive.head(&mut head, HEAD + BODY);
                content.file(&path, attributes, &head, *size);
                outcome?;
            }
            Kind::HardLink(target) => {
                let target = names::normal(target);
                if path != target {
                    content.overwrite(&path);
                    content.link(&path, &target);
                }
            }
            Kind::Symlink(_) | Kind::Other => content.overwrite(&path),
            Kind::Folder => {}
        }
    }
    let mut rest = archive.into_rest();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| tarball::told(error, 0, "what is behind its end mark"))?;
    match diff_id {
        Some(expected) if expected.starts_with("sha256:") => {
            let found = digest(hashed.hash);
            if found == expected {
                Ok(())
            } else {
                Err(Fault::Digest { expected: crate::escape::text(expected.as_bytes()), found })
            }
        }
        _ => Ok(()),
    }
}

/// Searches a layer that lies unpacked.
pub(super) fn of_folder(layer: &Folder, progress: &dyn Progress) -> Content {
    let mut content = Content::default();
    let mut faults = Vec::new();
    let mut further = 0;
    let mut head = buffer();
    let mut with = |entry: &tree::Entry<'_>| {
        let size = u64::try_from(entry.stat.st_size).unwrap_or_default();
        let read = entry.open().and_then(|file| {
            clear(&mut head);
            Ok(file.take((HEAD + BODY) as u64).read_to_end(&mut head).map(drop)?)
        });
        progress.advance(size);
        read?;
        let attributes = Attributes {
            mode: Some(entry.stat.st_mode & 0o7777),
            uid: Some(entry.stat.st_uid.into()),
            gid: Some(entry.stat.st_gid.into()),
        };
        content.file(entry.path, attributes, &head, size);
        Ok(())
    };
    let mut fault = |path: &[u8], fault: Fault| {
        if faults.len() < MOST_FAULTS {
            faults.push(fault.of(path));
        } else {
            further += 1;
        }
    };
    tree::walk(layer, &mut with, &mut fault);
    for fault in faults {
        content.fault(fault);
    }
    content.further += further;
    content.finished()
}

/// A reader that sums up what it gives.
struct Hashed<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn digest(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The digest of a document, as its name has it.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    digest(Sha256::new_with_prefix(bytes))
}
