//! The Debian archive that this host's own apt uses; no address is written down here.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::command::run;

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// The release that this host runs, for instance `bookworm`.
    pub(crate) release: String,
    /// Address of the archive that holds the release itself.
    pub(crate) mirror: String,
    /// Components, comma-separated, as debootstrap takes them.
    pub(crate) components: String,
    /// The lines of a `sources.list`: the release, its updates and its security fixes (sources.list(5)).
    pub(crate) sources: String,
    /// apt's HTTP proxy, where it has one.
    pub(crate) proxy: Option<String>,
}

impl Archive {
    /// Asks apt.
    ///
    /// # Errors
    /// No apt here, or its sources do not hold the release that this host runs.
    pub(crate) fn of_this_host() -> Result<Self> {
        let os = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let release = os
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .map(|name| name.trim_matches('"').to_owned())
            .context("no VERSION_CODENAME in /etc/os-release: the mail tests need a Debian host")?;
        let targets = run(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ]))?;
        let proxy = run(Command::new("apt-config").args(["shell", "proxy", "Acquire::http::Proxy"]))?;
        let proxy = proxy.trim().strip_prefix("proxy=").map(|quoted| quoted.trim_matches('\'').to_owned());
        Self::from_targets(&release, &targets, proxy)
    }

    /// From apt's index targets, one `ADDRESS RELEASE COMPONENT` a line; other vendors' repositories are left out.
    fn from_targets(release: &str, targets: &str, proxy: Option<String>) -> Result<Self> {
        let ours = [release.to_owned(), format!("{release}-updates"), format!("{release}-security")];
        let mut sources = BTreeSet::new();
        let mut components = BTreeSet::new();
        let mut mirror = None;
        for line in targets.lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(suite), Some(component)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if !ours.iter().any(|one| one == suite) || !matches!(component, "main" | "universe") {
                continue;
            }
            sources.insert(format!("deb {address} {suite} {component}\n"));
            if suite == release {
                mirror.get_or_insert_with(|| address.to_owned());
                components.insert(component);
            }
        }
        let Some(mirror) = mirror else {
            bail!("apt's sources hold no {release}/main: the mail tests install their servers from it");
        };
        Ok(Self {
            release: release.to_owned(),
            mirror,
            components: components.into_iter().collect::<Vec<_>>().join(","),
            sources: sources.into_iter().collect(),
            proxy,
        })
    }

    /// `command`, with apt's proxy as programs other than apt expect it.
    pub(crate) fn through_proxy<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(proxy) = &self.proxy {
            command.env("http_proxy", proxy);
        }
        command
    }
}

#[test]
fn other_vendors_repositories_are_left_out() {
    let targets = "http://a.example/debian/ bookworm main\nhttp://a.example/debian/ bookworm-updates main\n\
                   http://b.example/sec/ bookworm-security main\nhttp://c.example/ bookworm stable\n\
                   http://d.example/ nodistro main\nhttp://a.example/debian/ bookworm main\n";
    let archive = Archive::from_targets("bookworm", targets, None).unwrap();
    assert_eq!(archive.mirror, "http://a.example/debian/");
    assert_eq!(archive.components, "main");
    assert_eq!(
        archive.sources,
        "deb http://a.example/debian/ bookworm main\ndeb http://a.example/debian/ bookworm-updates main\n\
         deb http://b.example/sec/ bookworm-security main\n"
    );
    assert!(Archive::from_targets("trixie", targets, None).is_err());
}
