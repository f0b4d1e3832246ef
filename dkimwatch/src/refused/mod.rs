//! A refused open → the key that it meant, if any. Promise: never opens a key, never blocks the pipeline, and a path that
//! cannot be followed in time is said to be so.
//!
//! Where an open was refused at the key itself, the hook knows the key and only its path is looked for here. Where a
//! folder on the way refused, nobody has got to the file: the path as asked is followed with the watcher's rights, in the
//! root and mount namespace of the process, and what it leads to is compared with what is watched. Somebody who changes
//! the way in between can hide what he was refused, not what he got.
//!
//! What was mounted is found in the same way: no hook of the backend that needs it has the place.
//!
//! Following a path can hang (a file system in user space, a dead file server). So a thread of its own follows it, has a
//! deadline, and is left behind when it does not come back.

mod follow;
mod mounted;
mod places;
mod resolver;

pub use follow::{Answer, Found};
pub use mounted::{mounted, mounted_as_asked, propagated};
pub use places::{Place, Places};
pub use resolver::Resolver;

use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    watch::{Tag, file_watch},
};

use crate::{
    decode::{Access, Fact, KernelPath},
    watchlist::Moved,
};

/// `st_mode`'s type bits.
const S_IFMT: u32 = 0o17_0000;
const S_IFREG: u32 = 0o10_0000;

/// The access with the key that it meant; `None` where it meant none.
#[must_use]
pub fn identified(mut access: Access, answer: &Answer, places: &Places) -> Option<Access> {
    // What the hook knew was only that something is mounted below the folder that refused: where the path leads says more.
    if access.file.id == FileId::default() && *answer != Answer::Undecided {
        access.file.tag = Tag::MAX;
    }
    let known = access.file.tag != Tag::MAX;
    match answer {
        Answer::There(found) if known => {
            // Another inode stands there by now, or an overlay shows another number: the path as asked says more then.
            let same = found.place.ino == access.file.id.ino;
            let path = if same { found.path.clone() } else { as_asked(&access) };
            access.file.path = Fact::Known(KernelPath { bytes: path, cut: false });
        }
        Answer::Nothing { .. } | Answer::Elsewhere | Answer::Undecided if known => {
            let path = as_asked(&access);
            access.file.path = Fact::Known(KernelPath { bytes: path, cut: false });
        }
        Answer::There(found) => {
            let file = places.file(found.place);
            let folder = || Some((found.folder.and_then(|folder| places.folder(folder))?, file_watch::BORN));
            let former = |(tag, _): &(Tag, u32)| found.nlink == 1 && !places.is_key_at(&found.path, *tag);
            let (tag, kind) = if access.deed == Deed::Place {
                // It can have the inode number of another key that is no more, and be nothing to us.
                let name = found.folder.and_then(|folder| places.name(folder, last_name(&found.path)));
                name.map(|tag| (tag, file_watch::ARMED)).or_else(folder).or_else(|| file.filter(|file| !former(file)))
            } else {
                // A file with one name, in a folder of keys and not at the key's path, can have a former key's inode number.
                folder().filter(|_| file.as_ref().is_some_and(former)).or(file).or_else(folder)
            }
            .or_else(|| Some((places.holder(&found.path)?, file_watch::BORN)))?;
            if found.mode & S_IFMT != S_IFREG {
                return None;
            }
            access.file.id = found.id();
            access.file.mode = found.mode;
            access.file.uid = found.uid;
            access.file.gid = found.gid;
            access.file.nlink = found.nlink;
            access.file.tag = tag;
            access.file.watch_kind = kind;
            access.file.path = Fact::Known(KernelPath { bytes: found.path.clone(), cut: false });
        }
        Answer::Nothing { folder, path } => {
            let (tag, kind) = match places.name(*folder, last_name(path)) {
                Some(tag) => (tag, file_watch::ARMED),
                None => (places.folder(*folder).or_else(|| places.holder(path))?, file_watch::BORN),
            };
            access.file.tag = tag;
            access.file.watch_kind = kind;
            access.file.id = FileId::default();
            access.file.path = Fact::Known(KernelPath { bytes: path.clone(), cut: false });
        }
        Answer::Elsewhere | Answer::Undecided => return None,
    }
    Some(access)
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Where the walk began, and the path as it was asked for.
fn as_asked(access: &Access) -> Vec<u8> {
    let base = access.file.path.known().map(|path| path.bytes.as_slice()).unwrap_or_default();
    follow::joined(base, access.second.known().map(|path| first_text(&path.bytes)).unwrap_or_default())
}

/// The first of two paths as they were asked for, or the only one. A path has no NUL.
fn first_text(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The second, which is at a place of its own; empty where there is none, as where the first takes its room.
fn second_text(text: &[u8]) -> &[u8] {
    let second = text.get(limits::SECOND_ASKED..).filter(|_| first_text(text).len() < limits::SECOND_ASKED);
    second.map(first_text).unwrap_or_default()
}

/// As [`identified`], of a change: a rename and a link keep the other path.
#[must_use]
pub fn changed(access: Access, answer: &Answer, places: &Places) -> Option<Access> {
    let other = access.second.known().map(|path| second_text(&path.bytes).to_vec()).unwrap_or_default();
    let mut access = identified(access, answer, places)?;
    access.second =
        if other.is_empty() { Fact::NotAsked } else { Fact::Known(KernelPath { bytes: other, cut: false }) };
    Some(access)
}

/// Two paths as they were asked for, each as what comes before its last name, and that name.
#[must_use]
pub fn named_in(asked: &[u8]) -> [(&[u8], &[u8]); 2] {
    [first_text(asked), second_text(asked)].map(|path| {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let path = path.get(..end).unwrap_or_default();
        let name = last_name(path);
        (path.strip_suffix(name).unwrap_or_default(), name)
    })
}

/// The access to what changed places with something else, of which the paths are known as they were asked for.
#[must_use]
pub fn exchanged(mut access: Access, moved: Moved) -> Access {
    let cut = access.second.known().is_some_and(|path| path.cut);
    let asked = access.second.known().map(|path| path.bytes.clone()).unwrap_or_default();
    let name = last_name(&moved.path).to_vec();
    // That of the two which is not its own.
    let other = if named_in(&asked)[0].1 == name { second_text(&asked) } else { first_text(&asked) }.to_vec();
    let (file, what) = (&mut access.file, moved.what);
    (file.id, file.tag, file.is_folder) = (what.file, moved.tag, moved.is_folder());
    (file.generation, file.watch_generation, file.watch_kind) = (what.generation, what.generation, file_watch::ARMED);
    (file.mode, file.uid, file.gid, file.nlink) = (what.mode, what.uid, what.gid, what.nlink);
    (file.path, file.path_in_fs) = (Fact::Known(KernelPath { bytes: moved.path, cut: false }), false);
    access.second = if other.is_empty() { Fact::NotAsked } else { Fact::Known(KernelPath { bytes: other, cut }) };
    access
}

#[cfg(test)]
mod tests;
