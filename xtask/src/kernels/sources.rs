//! Where this system's packages come from: its own `sources.list(5)`, in both forms.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// An archive as this system's own sources name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// Its address.
    pub(crate) uri: String,
    /// The suites that are taken from it here.
    pub(crate) suites: Vec<String>,
    /// The parts of each, `main` among others.
    pub(crate) components: Vec<String>,
    /// What its signatures are checked with, as written: a keyring's path, or the key itself. Without it, apt's trusted keys.
    pub(crate) signed_by: Option<String>,
}

/// Debian's releases and their aliases that a system's sources may name. A third party's archive uses other suites
/// (`stable` alone is common among them, hence the components are looked at as well).
const SUITES: [&str; 9] =
    ["bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"];

/// Debian's main archive, and the one of its security updates, where there is one.
#[derive(Debug)]
pub(crate) struct Debian {
    /// The main archive: releases, backports, sid.
    pub(crate) main: Archive,
    /// Security updates.
    pub(crate) security: Option<Archive>,
}

/// Reads this system's sources.
pub(crate) fn debian() -> Result<Debian> {
    let mut archives = Vec::new();
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|name| name.to_str()) {
            Some("sources") => archives.extend(deb822(&text)),
            Some("list") => archives.extend(one_line(&text)),
            _ => {}
        }
    }
    pick(&archives).context(
        "no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d: stock kernels come from the archive that \
         this system itself uses",
    )
}

fn pick(archives: &[Archive]) -> Option<Debian> {
    let of = |suffix: &str| {
        archives
            .iter()
            .find(|archive| {
                let ours = |suite: &String| suite.strip_suffix(suffix).is_some_and(|name| SUITES.contains(&name));
                archive.suites.iter().any(ours) && archive.components.iter().any(|part| part == "main")
            })
            .cloned()
    };
    Some(Debian { main: of("")?, security: of("-security") })
}

/// The form of one line each: `deb [signed-by=…] ADDRESS SUITE COMPONENT…`.
fn one_line(text: &str) -> Vec<Archive> {
    text.lines()
        .filter_map(|line| {
            let rest = line.split('#').next()?.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(bracket) => bracket.split_once(']')?,
                None => ("", rest),
            };
            let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
            let mut words = rest.split_whitespace().map(str::to_owned);
            Some(Archive {
                uri: words.next()?,
                suites: vec![words.next()?],
                components: words.collect(),
                signed_by: signed_by.map(str::to_owned),
            })
        })
        .collect()
}

/// The form of paragraphs (deb822): `Types:`, `URIs:`, `Suites:`, `Components:`, `Signed-By:`.
fn deb822(text: &str) -> Vec<Archive> {
    paragraphs(text)
        .filter_map(|paragraph| {
            let field = |name| field(paragraph, name);
            let words = |name| field(name).map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            let off = field("Enabled").is_some_and(|value| value.trim() == "no");
            if off || !words("Types")?.iter().any(|kind| kind == "deb") {
                return None;
            }
            Some(Archive {
                uri: words("URIs")?.into_iter().next()?,
                suites: words("Suites")?,
                components: words("Components").unwrap_or_default(),
                signed_by: field("Signed-By"),
            })
        })
        .collect()
}

/// The paragraphs of a deb822 file, parted by empty lines.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty())
}

/// A field's value with the lines that continue it, comments left out.
pub(crate) fn field(paragraph: &str, name: &str) -> Option<String> {
    let mut lines = paragraph.lines().filter(|line| !line.starts_with('#'));
    let first = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })?;
    let mut value = first.to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push('\n');
        value.push_str(line);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAGRAPHS: &str = "\
Types: deb
# an older snapshot
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/debian.gpg

Types: deb-src
URIs: http://mirror.test/sources
Suites: bookworm

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
";

    #[test]
    fn paragraphs_name_both_archives() {
        let debian = pick(&deb822(PARAGRAPHS)).expect("there is a Debian archive");
        assert_eq!(debian.main.uri, "http://mirror.test/debian");
        assert_eq!(debian.main.signed_by.as_deref(), Some("/keys/debian.gpg"));
        let security = debian.security.expect("there is one for security");
        assert_eq!(security.uri, "http://mirror.test/security");
        assert_eq!(security.signed_by.as_deref(), Some("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"));
    }

    #[test]
    fn lines_name_both_archives_and_a_third_party_is_neither() {
        let text = "\
# deb http://mirror.test/old bookworm main
deb http://other.test/apt cloud-bookworm main
deb http://other.test/chat stable nonfree
deb [arch=amd64 signed-by=/keys/d.gpg] http://mirror.test/debian trixie main contrib # ours
deb-src http://mirror.test/src trixie main
deb http://mirror.test/security trixie-security main
";
        let debian = pick(&one_line(text)).expect("there is a Debian archive");
        assert_eq!(debian.main.uri, "http://mirror.test/debian");
        assert_eq!(debian.main.components, ["main", "contrib"]);
        assert_eq!(debian.main.signed_by.as_deref(), Some("/keys/d.gpg"));
        assert_eq!(debian.security.expect("there is one for security").uri, "http://mirror.test/security");
    }

    #[test]
    fn a_paragraph_that_is_switched_off_does_not_count() {
        assert_eq!(deb822("Types: deb\nURIs: http://a.test\nSuites: sid\nComponents: main\nEnabled: no\n"), []);
    }
}
