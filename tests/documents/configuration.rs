//! Every key of the configuration stands in the manual and in the shipped example.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, bail};
use dkimwatch::{
    config::{self, Fault},
    host::Host,
};

use crate::text;

/// The keys of a table, as the program itself lists them when it meets one that does not exist.
fn known(beginning: &str) -> Result<Vec<String>> {
    let root = tempfile::tempdir()?;
    let file = root.path().join("dkimwatch.toml");
    std::fs::write(&file, format!("{beginning}\nno-such-key = 1\n"))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    match config::load(Some(&file), &Host::at(root.path())) {
        Err(error) => match *error.fault {
            Fault::UnknownKey { known, .. } => Ok(known),
            other => bail!("{other}"),
        },
        Ok(_) => bail!("an unknown key was taken"),
    }
}

/// Every table and its keys.
fn tables() -> Result<Vec<(String, Vec<String>)>> {
    let top = known("")?;
    assert_eq!(
        top,
        ["keys", "containers", "journal", "signer", "maintenance"],
        "a new table needs a place in this test"
    );
    Ok(vec![
        ("[keys]".to_owned(), known("[keys]")?),
        ("[containers]".to_owned(), known("[containers]")?),
        ("[journal]".to_owned(), known("[journal]")?),
        ("[containers.sockets]".to_owned(), known("[containers.sockets]")?),
        ("[[signer]]".to_owned(), known("[[signer]]")?),
        ("[[maintenance]]".to_owned(), known("[[maintenance]]")?),
    ])
}

#[test]
fn the_manual_has_every_key() -> Result<()> {
    let manual = text("docs/man/dkimwatch.toml.5")?;
    for (table, keys) in tables()? {
        let heading = match table.as_str() {
            "[keys]" => ".SH THE TABLE [keys]",
            "[containers]" => ".SH THE TABLE [containers]",
            "[journal]" => ".SH THE TABLE [journal]",
            "[containers.sockets]" => ".SH THE TABLE [containers.sockets]",
            _ => ".SH THE TABLES [[signer]] AND [[maintenance]]",
        };
        assert!(heading.contains(&table), "{table}");
        let (_, rest) = manual.split_once(&format!("{heading}\n")).with_context(|| heading.to_owned())?;
        let section = rest.split("\n.SH ").next().unwrap_or_default();
        assert!(keys.len() >= 2, "{keys:?}");
        for key in keys {
            let entry = format!(".TP\n.BR {key} \" (");
            assert!(section.contains(&entry), "{key} of {table} has no entry in the manual: {entry:?}");
        }
    }
    Ok(())
}

#[test]
fn the_manual_has_no_other_key() -> Result<()> {
    let known: Vec<String> = tables()?.into_iter().flat_map(|(_, keys)| keys).collect();
    let manual = text("docs/man/dkimwatch.toml.5")?;
    let entries: Vec<_> = manual.lines().filter_map(|line| line.strip_prefix(".BR ")?.split_once(" \" (")).collect();
    assert!(entries.len() >= 11, "{entries:?}");
    for (key, _) in entries {
        assert!(known.iter().any(|one| one == key), "the manual explains {key}, which is no key");
    }
    Ok(())
}

#[test]
fn the_example_has_every_key() -> Result<()> {
    let example = text("packaging/dkimwatch.toml")?;
    for (table, keys) in tables()? {
        for key in keys {
            let said = example.lines().any(|line| {
                let line = line.trim_start_matches(['#', '|', ' ']);
                line.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with([' ', '=']))
                    || line == format!("{}.{key}]", table.trim_end_matches(']'))
            });
            assert!(said, "{key} of {table} does not stand in packaging/dkimwatch.toml");
        }
    }
    Ok(())
}
