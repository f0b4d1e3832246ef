//! The README's examples are real, and its table of what is not seen is the program's own.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use dkimwatch::{config, host::Host, print::check_schema};

use crate::{block, files, first_cells, literals, text};

#[test]
fn the_configuration_is_right() -> Result<()> {
    let readme = text("README.md")?;
    let example = block(&readme, "toml").context("a configuration")?;
    let root = tempfile::tempdir()?;
    for folder in ["etc", "srv/mail/keys"] {
        fs::create_dir_all(root.path().join(folder))?;
    }
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nopendkim:x:103:103::/:/bin/false\n")?;
    let file = root.path().join("dkimwatch.toml");
    fs::write(&file, example)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let loaded = config::load(Some(&file), &Host::at(root.path()))?;
    assert!(loaded.settings.signers.iter().any(|signer| signer.name == "opendkim" && !signer.built_in));
    assert_eq!(loaded.settings.maintenance.len(), 1);

    let (_, containers) = readme.split_once("\n## Containers\n").context("the section on containers")?;
    let sockets = block(containers, "toml").context("sockets")?;
    fs::write(&file, sockets)?;
    let named = config::load(Some(&file), &Host::at(root.path()))?.settings.containers.sockets;
    assert!(named.docker.is_some() && named.containerd.is_some());
    let (_, containers) = containers.split_once(sockets).context("what follows")?;
    fs::write(&file, block(containers, "toml").context("a signer in a container")?)?;
    let loaded = config::load(Some(&file), &Host::at(root.path()))?;
    assert!(loaded.settings.signers.iter().any(|signer| !signer.images.is_empty() && !signer.containers.is_empty()));
    Ok(())
}

#[test]
fn the_event_is_one_that_the_program_prints() -> Result<()> {
    let readme = text("README.md")?;
    let event: serde_json::Value = serde_json::from_str(block(&readme, "json").context("an event")?)?;
    check_schema(&event).map_err(anyhow::Error::msg)?;
    assert_eq!(event.pointer("/event/kind").and_then(|kind| kind.as_str()), Some("alert"));
    Ok(())
}

#[test]
fn what_is_not_seen_is_all_there() -> Result<()> {
    let readme = text("README.md")?;
    let (_, rest) = readme.split_once("\n## What it does not see yet\n").context("the section")?;
    let documented: BTreeSet<_> = first_cells(rest.split("\n## ").next().unwrap_or_default()).into_iter().collect();
    // Their short names are the literals that are words with hyphens and nothing else.
    let of_a_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let word = |text: &String| text.contains('-') && text.bytes().all(of_a_word);
    let mut real = BTreeSet::new();
    for file in files("dkimwatch/src/kernel/parts")? {
        real.extend(literals(&file)?.into_iter().filter(word));
    }
    assert!(real.len() >= 6, "{real:?}");
    assert_eq!(documented, real);
    Ok(())
}
