//! What a watch that is no more knew: which keys its records are about, and which programs its signers had. A list is made anew at each
//! start, but a key that was rotated away meanwhile was read before that, and an old program may still run.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::Tag;

use super::WatchList;
use crate::{
    away::{Entry, ImageMemo, ReaderMemo, Tags},
    decode::Access,
    judge::{ExpectedImage, JudgedKey, Provenance, Watched},
    kernel::Session,
};

/// Keys that nobody knows any more, at most: beyond them they are told as one.
const UNKNOWN: usize = 1_024;

impl WatchList {
    /// What the next watch must know of this one, but for what it lost.
    #[must_use]
    pub fn bequest(&self) -> (Vec<Entry>, Vec<ReaderMemo>) {
        let watched = (0..).zip(&self.policy.watched).map(|(tag, entry)| match entry {
            Watched::Key(JudgedKey { path, domain, selector, signer }) => Entry::Key {
                path: path.clone(),
                domain: domain.clone(),
                selector: selector.clone(),
                signer: signer.clone(),
                contained: self.contained.has(tag),
            },
            Watched::Folder { path, signer } => Entry::Folder { path: path.clone(), signer: signer.clone() },
        });
        let readers = self.policy.readers.iter().map(|reader| ReaderMemo {
            name: reader.name.clone(),
            executable: reader.executable.clone(),
            images: reader
                .images
                .iter()
                .filter(|image| image.provenance == Provenance::Accepted)
                .map(|image| ImageMemo::of(image.id, image.uid, image.ctime, image.mode))
                .collect(),
        });
        (watched.collect(), readers.collect())
    }

    /// Takes over what another watch knew. What is not in this list is added to it: it was watched, and its bytes may still sign.
    /// Nothing is armed until the next refresh.
    pub fn inherit(&mut self, watched: &[Entry], readers: &[ReaderMemo]) -> Tags {
        for old in readers {
            let reader =
                self.policy.readers.iter_mut().find(|new| new.name == old.name && new.executable == old.executable);
            let Some(reader) = reader else { continue };
            for image in &old.images {
                let (id, uid, ctime, mode) = (image.file(), image.uid, image.ctime, image.mode);
                let image = ExpectedImage { id, uid, ctime, mode, provenance: Provenance::Accepted };
                if !reader.images.iter().any(|known| known.is_same_file(&image)) {
                    // The newest is last.
                    reader.images.insert(0, image);
                }
            }
        }
        let tags = watched.iter().map(|entry| match entry {
            Entry::Key { path, domain, selector, signer, contained } => {
                let known = self.tag_where(|entry| matches!(entry, Watched::Key(key) if key.path == *path));
                known.unwrap_or_else(|| {
                    let (domain, selector, signer) = (domain.clone(), selector.clone(), signer.clone());
                    self.add_retired(JudgedKey { path: path.clone(), domain, selector, signer }, *contained)
                })
            }
            Entry::Folder { path, signer } => {
                let known = self.tag_where(|entry| matches!(entry, Watched::Folder { path: at, .. } if at == path));
                known.unwrap_or_else(|| {
                    self.policy.watched.push(Watched::Folder { path: path.clone(), signer: signer.clone() });
                    self.last_tag()
                })
            }
        });
        let tags = tags.collect();
        Tags::new(tags)
    }

    /// The entry that an access of another watch is about, where nothing says what that watch called it.
    pub fn tag_of(&mut self, access: &Access, session: &Session) -> Tag {
        if let Some(tag) = session.watch_set.tag(access.file.id) {
            return tag;
        }
        let path = access.file.path.known().map(|path| PathBuf::from(OsStr::from_bytes(&path.bytes)));
        let unknown = PathBuf::from("/a key that is not known any more");
        let path = path.filter(|path| path.is_absolute()).unwrap_or_else(|| unknown.clone());
        let known = |list: &Self, path: &Path| {
            list.tag_where(|entry| matches!(entry, Watched::Key(key) if key.path == path)).or_else(|| {
                list.tag_where(|entry| matches!(entry, Watched::Folder { path: at, .. } if path.starts_with(at)))
            })
        };
        if let Some(tag) = known(self, &path) {
            return tag;
        }
        let retired = |path: &Path| JudgedKey { path: path.to_owned(), domain: None, selector: None, signer: None };
        if self.retired < UNKNOWN {
            self.retired += 1;
            return self.add_retired(retired(&path), true);
        }
        known(self, &unknown).unwrap_or_else(|| self.add_retired(retired(&unknown), true))
    }

    fn tag_where(&self, is: impl Fn(&Watched) -> bool) -> Option<Tag> {
        (0..).zip(&self.policy.watched).find(|(_, entry)| is(entry)).map(|(tag, _)| tag)
    }

    /// A key that is in no configuration any more. What others than root say of where it lies is followed by no link.
    fn add_retired(&mut self, key: JudgedKey, contained: bool) -> Tag {
        self.policy.watched.push(Watched::Key(key));
        let tag = self.last_tag();
        if contained {
            self.contained.add(tag);
        }
        tag
    }

    fn last_tag(&self) -> Tag {
        Tag::try_from(self.policy.watched.len().saturating_sub(1)).unwrap_or(Tag::MAX)
    }
}
