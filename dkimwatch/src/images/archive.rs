//! An archive of images: its members are found once, and read where they lie. One that is packed as a whole can be read
//! from its start only, and is read anew for each look.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    fault::Fault,
    limits::{KEPT_DOCUMENTS, LONGEST_DOCUMENT, MOST_MEMBERS},
    names,
    progress::{Metered, Progress},
    rooted,
    tarball::{Kind, Skip, Stream, Tarball, told},
    unpacked::{Bounded, Packing, packing, unpacked, whole},
};

/// How many links are followed from a name in the archive to a file in it (`docker save` and `podman save` write one).
const MOST_LINKS: usize = 8;

/// Is called with a blob's name and its bytes, or why there are none.
pub(super) type Visitor<'a> = dyn FnMut(&str, Result<&mut dyn Read, Fault>) + 'a;

/// An archive of images.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    /// Packed as a whole.
    is_packed: bool,
    /// Where the regular files lie.
    members: BTreeMap<String, Spot>,
    /// Symbolic and hard links, and what they lead to.
    links: BTreeMap<String, String>,
    /// The documents of a packed archive.
    kept: BTreeMap<String, Vec<u8>>,
    /// To how many bytes a packed one may expand.
    limit: u64,
    /// Why its end was not reached; what lies before is there.
    pub(super) fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
struct Spot {
    at: u64,
    size: u64,
}

impl Archive {
    /// Opens an archive and finds its members.
    ///
    /// # Errors
    /// It cannot be read, or its packing is not read. That it is cut or corrupt is kept in `fault`.
    pub(super) fn open(path: &Path, limit: u64, progress: &dyn Progress) -> Result<Self, Fault> {
        let file = rooted::named(path)?;
        let mut first = Vec::new();
        file.try_clone()?.take(6).read_to_end(&mut first)?;
        let is_packed = packing(&first)? != Packing::None;
        let mut archive = Self {
            file,
            is_packed,
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            kept: BTreeMap::new(),
            limit,
            fault: None,
        };
        let outcome = if is_packed {
            progress.expect(archive.file.metadata()?.len());
            let members = Tarball::new(archive.expanded(progress)?);
            archive.find(members)
        } else {
            let mut file = archive.file.try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            archive.find(Tarball::new(file))
        };
        archive.fault = outcome.err();
        Ok(archive)
    }

    fn find<R: Skip>(&mut self, mut from: Tarball<R>) -> Result<(), Fault> {
        let mut kept = 0;
        while let Some(member) = from.next()? {
            if self.members.len() + self.links.len() == MOST_MEMBERS {
                return Err(Fault::TooMany { what: "members", most: MOST_MEMBERS });
            }
            // A name that is no text is in no JSON document, and so of no image.
            let Ok(name) = String::from_utf8(names::normal(&member.name)) else { continue };
            let link = |target: Vec<u8>| String::from_utf8(names::normal(&target));
            let target = match member.kind {
                Kind::File(size) => {
                    self.members.insert(name.clone(), Spot { at: member.at, size });
                    if self.is_packed && size <= LONGEST_DOCUMENT && kept + size <= KEPT_DOCUMENTS {
                        let mut bytes = Vec::new();
                        from.head(&mut bytes, 1)?;
                        if matches!(bytes.first(), Some(b'{' | b'[')) {
                            from.head(&mut bytes, usize::MAX)?;
                            kept += size;
                            self.kept.insert(name, bytes);
                        }
                    }
                    continue;
                }
                Kind::HardLink(target) => link(target),
                Kind::Symlink(target) if target.starts_with(b"/") => link(target),
                Kind::Symlink(target) => link([names::split(name.as_bytes()).0, b"/", &target].concat()),
                Kind::Folder | Kind::Other => continue,
            };
            self.links.extend(target.ok().map(|target| (name, target)));
        }
        if self.is_packed {
            // To the check sum at its end.
            io::copy(&mut from.into_rest(), &mut io::sink())
                .map_err(|error| told(error, 0, "what is behind its end mark"))?;
        }
        Ok(())
    }

    /// The name of the regular file that a name leads to.
    fn resolved(&self, name: &str) -> Option<&str> {
        let name = String::from_utf8(names::normal(name.as_bytes())).ok()?;
        let mut name = name.as_str();
        for _ in 0..MOST_LINKS {
            if let Some((name, _)) = self.members.get_key_value(name) {
                return Some(name);
            }
            name = self.links.get(name)?;
        }
        None
    }

    /// The size of a blob, as it lies there.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.resolved(name).and_then(|name| self.members.get(name)).map(|spot| spot.size)
    }

    /// A document.
    ///
    /// # Errors
    /// It is missing, too long, or cannot be read.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let name = self.resolved(name).ok_or(Fault::Missing)?;
        if let Some(bytes) = self.kept.get(name) {
            return Ok(bytes.clone());
        }
        let spot = self.members.get(name).ok_or(Fault::Missing)?;
        if self.is_packed {
            return Err(Fault::TooLong(LONGEST_DOCUMENT));
        }
        whole(Section { file: &self.file, at: spot.at, left: spot.size }, LONGEST_DOCUMENT)
    }

    /// Shows the blobs, each once, in the order in which they lie. They are asked for by their [own
    /// names](Self::own_name).
    pub(super) fn visit(&self, wanted: &[String], progress: &dyn Progress, with: &mut Visitor<'_>) {
        let mut spots = Vec::new();
        for name in wanted {
            match self.resolved(name).and_then(|name| self.members.get(name)) {
                Some(spot) => spots.push((*spot, name)),
                None => with(name, Err(Fault::Missing)),
            }
        }
        spots.sort_by_key(|(spot, _)| spot.at);
        if self.is_packed {
            return self.stream(&spots, progress, with);
        }
        for (spot, name) in spots {
            let section = Section { file: &self.file, at: spot.at, left: spot.size };
            with(name, Ok(&mut Metered::new(section, progress)));
        }
    }

    fn stream(&self, spots: &[(Spot, &String)], progress: &dyn Progress, with: &mut Visitor<'_>) {
        if let Ok(metadata) = self.file.metadata() {
            progress.expect(metadata.len());
        }
        let mut left = spots.iter().peekable();
        let mut members = match self.expanded(progress) {
            Ok(from) => Tarball::new(from),
            Err(fault) => return with("", Err(fault)),
        };
        while let Some((spot, name)) = left.peek() {
            match members.next() {
                Ok(Some(member)) if member.at == spot.at => {
                    with(name, Ok(&mut members.data()));
                    left.next();
                }
                Ok(Some(_)) => {}
                Ok(None) => return with(name, Err(Fault::Missing)),
                // Already told when the members were found.
                Err(fault) => return with(name, Err(fault)),
            }
        }
    }

    fn expanded<'a>(&self, progress: &'a dyn Progress) -> Result<Stream<Box<dyn Read + 'a>>, Fault> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let from = unpacked(Metered::new(file, progress)).map_err(|fault| match fault {
            Fault::Io(error) => told(error, 0, "its first bytes"),
            other => other,
        })?;
        Ok(Stream(Box::new(Bounded::new(from, self.limit))))
    }

    /// The name of the file that a name leads to, so that two names of one layer are searched once.
    pub(super) fn own_name(&self, name: &str) -> String {
        self.resolved(name).unwrap_or(name).to_owned()
    }
}

/// A part of a file, read where it lies.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
