//! Debian's package client with a configuration of our own: its lists and its cache lie in our folder, the system's
//! stay as they are, and no right of root's is needed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::sources::{self, Archive, Debian};
use crate::command::{self, capture};

/// A package of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// What it depends on, as written.
    pub(super) depends: String,
}

/// Some suites of the archive, with lists and cache of their own.
pub(super) struct Client {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Client {
    /// A client for `suites` of this system's archives; a suite of security updates is left out where the system has no
    /// such archive.
    pub(super) fn new(folder: &Path, suites: &[&str], architecture: &str) -> Result<Self> {
        let debian = sources::debian()?;
        for name in ["lists/partial", "cache/archives/partial"] {
            command::folder(&folder.join(name))?;
        }
        write(&folder.join("private.sources"), &stanzas(&debian, suites))?;
        let configuration = folder.join("apt.conf");
        write(&configuration, &apt_conf(folder, architecture))?;
        Ok(Self { folder: folder.to_owned(), configuration })
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", &self.configuration).current_dir(&self.folder).stdin(Stdio::null());
        apt
    }

    /// Fetches the lists anew.
    pub(super) fn update(&self) -> Result<()> {
        capture(self.apt("apt-get").args(["-q", "update"])).context("cannot fetch the archive's lists of packages")?;
        Ok(())
    }

    /// The packages whose names `wanted` accepts.
    pub(super) fn packages(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Package>> {
        let mut targets = self.apt("apt-get");
        let files = capture(targets.args(["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]))?;
        let mut packages = Vec::new();
        for file in String::from_utf8_lossy(&files).lines() {
            // The lists are kept compressed, in whichever way apt chose; its helper knows them all.
            let text = capture(self.apt("/usr/lib/apt/apt-helper").args(["cat-file", file]))?;
            packages.extend(parse(&String::from_utf8_lossy(&text), &wanted));
        }
        Ok(packages)
    }

    /// Fetches packages and unpacks them into `into`; apt checks them against the signed lists.
    pub(super) fn unpack(&self, packages: &[&Package], into: &Path) -> Result<()> {
        let fetched = tempfile::tempdir_in(&self.folder).context("cannot make a folder for packages")?;
        let mut download = self.apt("apt-get");
        download.args(["-q", "download"]).current_dir(fetched.path());
        download.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        capture(&mut download).context("cannot fetch packages from the archive")?;
        unpack_all(fetched.path(), packages.len(), into)
    }
}

/// Fetches a package of the suite that this very system is of, by the system's own lists, with what it needs and this
/// system lacks, and unpacks all of it into `into`, without installing anything.
pub(crate) fn unpack_from_system(package: &str, into: &Path) -> Result<()> {
    let folder = into.parent().context("not the root folder")?;
    command::folder(folder)?;
    let fetched = tempfile::tempdir_in(folder).context("cannot make a folder for packages")?;
    let attempt = || {
        let mut simulated = Command::new("apt-get");
        simulated.args(["-q", "install", "--simulate", "--no-install-recommends", package]);
        let names = closure(package, &String::from_utf8_lossy(&capture(&mut simulated)?));
        let mut download = Command::new("apt-get");
        download.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(&names).current_dir(fetched.path());
        capture(&mut download)?;
        anyhow::Ok(names.len())
    };
    let count = attempt().or_else(|_| {
        // No lists yet, or a version that has been replaced since they were fetched.
        capture(Command::new("apt-get").args(["-q", "update"]))
            .context("cannot fetch this system's lists of packages")?;
        attempt().with_context(|| format!("cannot fetch {package} from this system's archive"))
    })?;
    unpack_all(fetched.path(), count, into)
}

/// The package and those that a simulated installation would install (`Inst NAME (VERSION …)`).
fn closure(package: &str, simulation: &str) -> Vec<String> {
    let mut names: Vec<_> = simulation
        .lines()
        .filter_map(|line| Some(line.strip_prefix("Inst ")?.split_whitespace().next()?.to_owned()))
        .collect();
    if !names.iter().any(|name| name == package) {
        names.push(package.to_owned());
    }
    names
}

fn unpack_all(folder: &Path, expected: usize, into: &Path) -> Result<()> {
    command::folder(into)?;
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        capture(Command::new("dpkg-deb").arg("--extract").arg(entry?.path()).arg(into))
            .context("cannot unpack a package")?;
        count += 1;
    }
    if count != expected {
        bail!("{expected} packages were asked for and {count} came");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn stanzas(debian: &Debian, suites: &[&str]) -> String {
    let of = |archive: &Archive, suite: &str| {
        let signed_by = archive.signed_by.as_ref().map(|keys| format!("Signed-By: {keys}\n")).unwrap_or_default();
        // Only the lists of packages: the archive's other data, on graphical programs, are a third of all there is.
        format!(
            "Types: deb\nTargets: Packages\nURIs: {}\nSuites: {suite}\nComponents: main\n{signed_by}\n",
            archive.uri
        )
    };
    suites
        .iter()
        .filter_map(|suite| match (suite.ends_with("-security"), &debian.security) {
            (false, _) => Some(of(&debian.main, suite)),
            (true, Some(security)) => Some(of(security, suite)),
            (true, None) => None,
        })
        .collect()
}

/// `apt.conf(5)`. Only the sources, the lists and the cache are ours; proxies and keys stay the system's.
fn apt_conf(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        "Dir::Etc::sourcelist \"{folder}/private.sources\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::State::lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\n"
    )
}

fn parse(index: &str, wanted: impl Fn(&str) -> bool) -> Vec<Package> {
    sources::paragraphs(index)
        .filter_map(|paragraph| {
            // The name is the first line of each paragraph; most are not asked for, and are left unread.
            let name = paragraph.trim_start().lines().next()?.strip_prefix("Package: ")?;
            if !wanted(name) {
                return None;
            }
            Some(Package {
                name: name.to_owned(),
                version: sources::field(paragraph, "Version")?,
                depends: sources::field(paragraph, "Depends").unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(uri: &str) -> Archive {
        Archive {
            uri: uri.to_owned(),
            suites: vec!["trixie".to_owned()],
            components: vec!["main".to_owned()],
            signed_by: Some("/keys/d.gpg".to_owned()),
        }
    }

    #[test]
    fn suites_of_security_updates_come_from_their_own_archive() {
        let both = Debian { main: archive("http://a.test"), security: Some(archive("http://s.test")) };
        let text = stanzas(&both, &["trixie", "trixie-security"]);
        assert!(text.contains("URIs: http://a.test\nSuites: trixie\n"), "{text}");
        assert!(text.contains("URIs: http://s.test\nSuites: trixie-security\n"), "{text}");
        assert_eq!(text.matches("Signed-By: /keys/d.gpg").count(), 2);

        let alone = Debian { main: archive("http://a.test"), security: None };
        assert!(!stanzas(&alone, &["trixie", "trixie-security"]).contains("security"));
    }

    #[test]
    fn a_package_brings_what_the_system_lacks() {
        let simulation = "Inst liba (1 Debian:12 [amd64])\nInst auditd (3 Debian:12 [amd64])\nConf liba (1)\n";
        assert_eq!(closure("auditd", simulation), ["liba", "auditd"]);
        assert_eq!(closure("auditd", "auditd is already the newest version\n"), ["auditd"]);
    }

    #[test]
    fn an_index_gives_the_packages_asked_for() {
        let index = "\
Package: linux-image-6.1.0-9-cloud-amd64
Version: 6.1.27-1
Description: a kernel
 Package: not this
Depends: kmod,
 linux-base

Package: other
Version: 1
";
        let found = parse(index, |name| name.starts_with("linux-"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version, "6.1.27-1");
        assert_eq!(found[0].depends, "kmod,\n linux-base");
    }
}
