//! Paths with holes, as signers' configurations write them: `/keys/$domain.$selector.key`, `/keys/%/mail.private`.
//!
//! A hole that the configuration fills becomes text; the others match whatever name is there, and what they matched
//! tells domain and selector.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    findings::{Identity, dns_name},
    pattern::{Part, expand},
};
use crate::host::{Host, Presence, named_like_key, path_of};

/// More holes than this in one name, and what they match is no longer told apart (which keeps matching linear).
const MOST_HOLES: usize = 2;

/// What stands in a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// The signing domain.
    Domain,
    /// The selector; without a dot, so that `$domain.$selector` has one reading.
    Selector,
    /// Something else.
    Other,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes as they are; `/` separates components.
    Text(Vec<u8>),
    /// A hole; never matches a `/`.
    Hole(Hole),
}

/// A path with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

/// An existing path that fits a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

impl Template {
    /// From text in which each of `holes` is a hole.
    pub(super) fn new(mut text: &[u8], holes: &[(&[u8], Hole)]) -> Self {
        let mut template = Self::default();
        while let Some(&first) = text.first() {
            match holes.iter().find(|(mark, _)| text.starts_with(mark)) {
                Some(&(mark, hole)) => {
                    template.push_hole(hole);
                    text = text.get(mark.len()..).unwrap_or_default();
                }
                None => {
                    template.push(first);
                    text = text.get(1..).unwrap_or_default();
                }
            }
        }
        template
    }

    /// Adds a byte of text.
    pub(super) fn push(&mut self, byte: u8) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(byte),
            _ => self.pieces.push(Piece::Text(vec![byte])),
        }
    }

    /// Adds a hole; two beside each other are one that is neither.
    pub(super) fn push_hole(&mut self, hole: Hole) {
        match self.pieces.last_mut() {
            Some(Piece::Hole(last)) => *last = Hole::Other,
            _ => self.pieces.push(Piece::Hole(hole)),
        }
    }

    /// The same with one kind of hole filled.
    pub(super) fn filled(&self, hole: Hole, with: &[u8]) -> Self {
        let mut filled = Self::default();
        for piece in &self.pieces {
            match piece {
                Piece::Hole(this) if *this == hole => with.iter().for_each(|&byte| filled.push(byte)),
                Piece::Hole(this) => filled.push_hole(*this),
                Piece::Text(text) => text.iter().for_each(|&byte| filled.push(byte)),
            }
        }
        filled
    }

    /// True if there is such a hole.
    pub(super) fn has(&self, hole: Hole) -> bool {
        self.pieces.contains(&Piece::Hole(hole))
    }

    /// The path, if no hole is left.
    pub(super) fn literal(&self) -> Option<PathBuf> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(path_of(text)),
            _ => None,
        }
    }

    /// The existing paths that fit, and whether there was more than is looked at.
    pub(super) fn expand(&self, host: &Host) -> (Vec<Fit>, bool) {
        let components = self.components();
        let parts: Vec<Part> = components.iter().map(|pieces| part(pieces)).collect();
        let expansion = expand(host, &parts);
        // `/etc/$domain` fits every file of /etc; only what can be a domain's counts.
        let named_by_other = matches!(components.last().map(Vec::as_slice), Some([Piece::Hole(Hole::Other)]));
        let fits = expansion.paths.into_iter().filter_map(|path| {
            let identity = identity(&components, &path)?;
            let is_domain = !self.has(Hole::Domain) || identity.domain.as_ref().is_some_and(|name| name.contains('.'));
            let is_key = !named_by_other || named_like_key(&path);
            (is_domain && is_key && host.presence(&path) == Presence::File).then_some(Fit { path, identity })
        });
        (fits.collect(), expansion.cut)
    }

    /// True if everything below the root's own folders could fit, for instance `/$x/key`: too much to be meant.
    pub(super) fn is_unbounded(&self) -> bool {
        !matches!(self.components().first().map(Vec::as_slice), Some([Piece::Text(_)]))
    }

    /// The folder that holds the keys, if only the last name has holes and every file in it fits or is a public record:
    /// then whatever is born there is a key.
    pub(super) fn nursery(&self, host: &Host) -> Option<PathBuf> {
        let components = self.components();
        let (last, folders) = components.split_last()?;
        let mut folder = PathBuf::from("/");
        for pieces in folders {
            match pieces.as_slice() {
                [Piece::Text(text)] => folder.push(path_of(text)),
                _ => return None,
            }
        }
        // A name that is all hole tells no key from any other file, and `/etc` is no folder of keys whatever it holds.
        let all_hole = last.iter().all(|piece| matches!(piece, Piece::Hole(_)));
        if all_hole || folders.len() < 2 || host.presence(&folder) != Presence::Folder {
            return None;
        }
        let a_key_or_its_record = |name: &std::ffi::OsString| {
            let name = name.as_bytes();
            [&b".txt"[..], b".pub", b".dns"].iter().any(|end| name.ends_with(end))
                || name.starts_with(b"README")
                || fits(last, name).is_some()
                || host.presence(&folder.join(path_of(name))) != Presence::File
        };
        host.names(&folder).iter().all(a_key_or_its_record).then_some(folder)
    }

    fn components(&self) -> Vec<Vec<Piece>> {
        let mut components: Vec<Vec<Piece>> = vec![Vec::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    for (index, part) in text.split(|&byte| byte == b'/').enumerate() {
                        if index > 0 {
                            components.push(Vec::new());
                        }
                        if let (false, Some(last)) = (part.is_empty(), components.last_mut()) {
                            last.push(Piece::Text(part.to_vec()));
                        }
                    }
                }
                hole @ Piece::Hole(_) => {
                    if let Some(last) = components.last_mut() {
                        last.push(hole.clone());
                    }
                }
            }
        }
        components.retain(|pieces| !pieces.is_empty() && *pieces != [Piece::Text(b".".to_vec())]);
        components
    }
}

fn part(pieces: &[Piece]) -> Part {
    match pieces {
        [Piece::Text(text)] => Part::Name(path_of(text).into_os_string()),
        _ => {
            let pieces = pieces.to_vec();
            Part::Fits(Box::new(move |name| fits(&pieces, name).is_some()))
        }
    }
}

/// Domain and selector that the holes matched; `None` if one hole matched two different things.
fn identity(components: &[Vec<Piece>], path: &Path) -> Option<Identity> {
    let mut identity = Identity::default();
    let names = path.iter().skip(1);
    for (pieces, name) in components.iter().zip(names) {
        for (hole, text) in fits(pieces, name.as_bytes())? {
            let slot = match hole {
                Hole::Domain => &mut identity.domain,
                Hole::Selector => &mut identity.selector,
                Hole::Other => continue,
            };
            let text = dns_name(text);
            if slot.is_some() && *slot != text {
                return None;
            }
            *slot = text;
        }
    }
    Some(identity)
}

/// What the holes of one component match in `name`; `None` if it does not fit. Holes match at least one byte.
fn fits<'n>(pieces: &[Piece], name: &'n [u8]) -> Option<Vec<(Hole, &'n [u8])>> {
    let holes = pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_))).count();
    if holes > MOST_HOLES { fits_loosely(pieces, name).then(Vec::new) } else { fits_exactly(pieces, name) }
}

/// Longest hole first; at most [`MOST_HOLES`] of them, so at most quadratic in a name of 255 bytes.
fn fits_exactly<'n>(pieces: &[Piece], name: &'n [u8]) -> Option<Vec<(Hole, &'n [u8])>> {
    match pieces.split_first() {
        None => name.is_empty().then(Vec::new),
        Some((Piece::Text(text), rest)) => fits_exactly(rest, name.strip_prefix(text.as_slice())?),
        Some((Piece::Hole(hole), rest)) => (1..=name.len()).rev().find_map(|length| {
            let (text, tail) = name.split_at_checked(length)?;
            if *hole == Hole::Selector && text.contains(&b'.') {
                return None;
            }
            let mut found = fits_exactly(rest, tail)?;
            found.insert(0, (*hole, text));
            Some(found)
        }),
    }
}

/// Do the texts occur in this order, the first and last at their ends?
fn fits_loosely(pieces: &[Piece], mut name: &[u8]) -> bool {
    let mut anchored = true;
    for (index, piece) in pieces.iter().enumerate() {
        let Piece::Text(text) = piece else {
            anchored = false;
            continue;
        };
        if index + 1 == pieces.len() && !anchored {
            return name.ends_with(text);
        }
        let at = if anchored {
            name.starts_with(text).then_some(0)
        } else {
            name.windows(text.len()).position(|window| window == text.as_slice())
        };
        let Some(rest) = at.and_then(|at| name.get(at + text.len()..)) else { return false };
        name = rest;
        anchored = true;
    }
    !anchored || name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rspamd(text: &str) -> Template {
        Template::new(text.as_bytes(), &[(b"$domain", Hole::Domain), (b"$selector", Hole::Selector)])
    }

    fn matched(template: &str, name: &str) -> Option<(Option<String>, Option<String>)> {
        let template = rspamd(template);
        let components = template.components();
        identity(&components, Path::new(name)).map(|identity| (identity.domain, identity.selector))
    }

    #[test]
    fn the_selector_is_what_follows_the_last_dot() {
        let some = |domain: &str, selector: &str| Some((Some(domain.to_owned()), Some(selector.to_owned())));
        assert_eq!(matched("/k/$domain.$selector.key", "/k/mail.example.org.s1.key"), some("mail.example.org", "s1"));
        assert_eq!(matched("/k/$selector/$domain.key", "/k/s1/example.org.key"), some("example.org", "s1"));
        assert_eq!(matched("/$domain/$domain.$selector", "/a.org/a.org.s"), some("a.org", "s"));
        assert_eq!(matched("/$domain/$domain.$selector", "/a.org/b.org.s"), None, "two domains");
        assert_eq!(matched("/k/$domain.$selector.key", "/k/.key"), None);
    }

    #[test]
    fn a_filled_template_is_a_path() {
        let template = rspamd("/k/$domain.$selector.key");
        assert_eq!(template.literal(), None);
        let filled = template.filled(Hole::Domain, b"a.org").filled(Hole::Selector, b"s");
        assert_eq!(filled.literal(), Some(PathBuf::from("/k/a.org.s.key")));
    }

    proptest! {
        /// Any template against any name ends, and quickly; what the holes and texts matched is the name again.
        #[test]
        fn matching_ends_and_adds_up(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'.')], 1..3).prop_map(Piece::Text),
                    Just(Piece::Hole(Hole::Domain)), Just(Piece::Hole(Hole::Selector)), Just(Piece::Hole(Hole::Other)),
                ],
                0..12,
            ),
            name in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'.')], 0..255),
        ) {
            let mut template = Template::default();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => text.iter().for_each(|&byte| template.push(byte)),
                    Piece::Hole(hole) => template.push_hole(hole),
                }
            }
            let exact = fits_exactly(&template.pieces[..template.pieces.len().min(3)], &name);
            if let Some(found) = exact {
                let mut found = found.into_iter();
                let again: Vec<u8> = template.pieces.iter().take(3).flat_map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Hole(_) => found.next().unwrap().1.to_vec(),
                }).collect();
                prop_assert_eq!(again, name.clone());
            }
            let _ = fits(&template.pieces, &name);
        }
    }
}
