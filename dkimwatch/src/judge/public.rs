//! Names of files beside the keys that anyone may read: `keys.public`, compiled once.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use globset::{Glob, GlobSet};

use crate::host::named_like_key;

/// The names that anyone may read.
#[derive(Clone, Debug, Default)]
pub struct PublicNames(GlobSet);

impl PublicNames {
    /// From glob patterns for a file's own name. What is no pattern makes nothing public; the configuration, which
    /// compiles them with the same library, refuses it before.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        let globs = patterns.iter().filter_map(|pattern| Glob::new(pattern).ok());
        Self(GlobSet::new(globs).unwrap_or_default())
    }

    /// Whether a file of this name may be read by anyone. Never one whose name says "private key", whatever the patterns
    /// say: docker-mailserver calls its keys `rsa-2048-SELECTOR-DOMAIN.private.txt`.
    ///
    /// A package manager at work gives a file's name an ending for a while: Debian's opendkim puts its
    /// `README.PrivateKeys.dpkg-new` among the keys whenever it is installed.
    pub(super) fn hold(&self, name: &[u8]) -> bool {
        let bare = ENDINGS.iter().find_map(|ending| name.strip_suffix(*ending)).unwrap_or(name);
        let names = [name, bare].map(|name| Path::new(OsStr::from_bytes(name)));
        names.iter().any(|name| self.0.is_match(name)) && !names.iter().any(|name| named_like_key(name))
    }
}

/// What dpkg(1) and rpm(8) put behind the name of a file that they bring, or that was there before.
const ENDINGS: [&[u8]; 7] =
    [b".dpkg-new", b".dpkg-tmp", b".dpkg-old", b".dpkg-dist", b".rpmnew", b".rpmsave", b".rpmorig"];

#[cfg(test)]
mod tests {
    use super::PublicNames;

    fn hold(pattern: &str, name: &[u8]) -> bool {
        PublicNames::new(&[pattern.to_owned()]).hold(name)
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.txt", "sel1.txt", true),
            ("*.txt", ".txt", true),
            ("*.txt", "sel1.txt.bak", false),
            ("*.txt", "sel1.TXT", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("sel[0-9].pub", "sel7.pub", true),
            ("sel[!0-9].pub", "sel7.pub", false),
            ("*.{txt,pub}", "sel1.pub", true),
            ("[a", "[a", false),
        ] {
            assert_eq!(hold(pattern, name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(hold("*.txt", b"\xff\n.txt"));
        assert!(!PublicNames::default().hold(b"a.txt"));
    }

    #[test]
    fn a_file_that_a_package_manager_is_about_to_put_in_place_is_what_it_will_be() {
        for (name, expected) in [
            ("README.PrivateKeys.dpkg-new", true),
            ("README.PrivateKeys.rpmsave", true),
            ("README.PrivateKeys.dpkg-new.dpkg-new", false),
            ("README.PrivateKeys.new", false),
            ("mail.dpkg-new", false),
        ] {
            assert_eq!(hold("README.PrivateKeys", name.as_bytes()), expected, "{name}");
        }
        assert!(!hold("*", b"mail.private.dpkg-new"));
    }

    #[test]
    fn a_name_that_says_private_key_is_never_public() {
        for name in ["rsa-2048-sel-dom.private.txt", "mail.private", "MAIL.KEY"] {
            assert!(!hold("*", name.as_bytes()), "{name}");
        }
        assert!(hold("*", b"rsa-2048-sel-dom.public.txt"));
    }
}
