//! `dkimwatch keys`: the keys of this host, and how each was found.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    cli::selection::{Selection, add_users, discover_all},
    escape,
    exit::Outcome,
    host::Host,
    keys::{Inventory, Note},
};

/// Lists the DKIM keys of this host.
///
/// No key is opened. Exit code 0, also where there is no key; 2 if the configuration is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which keys.
    #[command(flatten)]
    pub selection: Selection,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    run_on(args, &Host::here(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn run_on(args: &Args, host: &Host, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut loaded = match args.selection.load(host) {
        Ok(loaded) => loaded,
        Err(error) => {
            writeln!(err, "dkimwatch: {error}")?;
            return Ok(Outcome::Usage);
        }
    };
    let mut inventory = discover_all(&mut loaded.settings, host);
    add_users(&mut inventory, &loaded.settings, host);
    let found = std::mem::replace(&mut inventory.notes, loaded.notes);
    for note in found {
        if !inventory.notes.contains(&note) {
            inventory.notes.push(note);
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &Document::of(&inventory))?;
        writeln!(out)?;
    } else {
        table(&inventory, out)?;
        for Note { place, text } in &inventory.notes {
            writeln!(err, "note: {place}: {text}")?;
        }
    }
    Ok(Outcome::Quiet)
}

/// Columns as wide as their widest cell; the last one is free.
fn table(inventory: &Inventory, out: &mut impl Write) -> io::Result<()> {
    if inventory.keys.is_empty() && inventory.folders.is_empty() {
        return writeln!(out, "no DKIM key found on this host; name its keys in keys.paths, or with --key");
    }
    let dash =
        |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), |text| escape::text(text.as_bytes()));
    let mut rows = vec![["KEY", "DOMAIN", "SELECTOR", "SIGNER", "FOUND IN"].map(str::to_owned)];
    rows.extend(inventory.keys.iter().map(|key| {
        [escape::path(&key.path), dash(&key.domain), dash(&key.selector), dash(&key.signer), key.found_in.clone()]
    }));
    rows.extend(inventory.folders.iter().map(|folder| {
        let path = format!("{}/ (whole folder)", escape::path(&folder.path));
        [path, "-".to_owned(), "-".to_owned(), dash(&folder.signer), folder.found_in.clone()]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for [path, domain, selector, signer, found_in] in &rows {
        let [paths, domains, selectors, signers, _] = widths;
        writeln!(out, "{path:paths$}  {domain:domains$}  {selector:selectors$}  {signer:signers$}  {found_in}")?;
    }
    Ok(())
}

/// The inventory as JSON. Paths are escaped as everywhere in the output: `\xNN` for a byte that is not text, `\\` for `\`.
#[derive(Serialize)]
struct Document<'a> {
    keys: Vec<JsonKey<'a>>,
    folders: Vec<JsonFolder<'a>>,
    notes: Vec<JsonNote<'a>>,
}

#[derive(Serialize)]
struct JsonKey<'a> {
    path: String,
    domain: Option<&'a str>,
    selector: Option<&'a str>,
    signer: Option<&'a str>,
    found_in: &'a str,
}

#[derive(Serialize)]
struct JsonFolder<'a> {
    path: String,
    signer: Option<&'a str>,
    found_in: &'a str,
}

#[derive(Serialize)]
struct JsonNote<'a> {
    place: &'a str,
    text: &'a str,
}

impl<'a> Document<'a> {
    fn of(inventory: &'a Inventory) -> Self {
        let key = |key: &'a crate::keys::Key| JsonKey {
            path: escape::path(&key.path),
            domain: key.domain.as_deref(),
            selector: key.selector.as_deref(),
            signer: key.signer.as_deref(),
            found_in: &key.found_in,
        };
        let folder = |folder: &'a crate::keys::Folder| JsonFolder {
            path: escape::path(&folder.path),
            signer: folder.signer.as_deref(),
            found_in: &folder.found_in,
        };
        Self {
            keys: inventory.keys.iter().map(key).collect(),
            folders: inventory.folders.iter().map(folder).collect(),
            notes: inventory.notes.iter().map(|note| JsonNote { place: &note.place, text: &note.text }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn run_in(root: &Path, args: &Args) -> (Outcome, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let outcome = run_on(args, &Host::at(root), &mut out, &mut err).unwrap();
        (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_table_for_people_and_a_document_for_programs() {
        use std::os::unix::ffi::OsStrExt as _;
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("etc/opendkim/keys/example.org");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join(std::ffi::OsStr::from_bytes(b"s\n\xff.private")), "").unwrap();
        fs::write(keys.join("s1.private"), "").unwrap();
        let mut args =
            Args { selection: Selection { config: None, key: vec!["/srv/new.private".into()] }, json: false };
        let (outcome, out, err) = run_in(root.path(), &args);
        assert_eq!(outcome, Outcome::Quiet);
        let table = [
            r"KEY                                               DOMAIN       SELECTOR  SIGNER    FOUND IN",
            r"/etc/opendkim/keys/example.org/s\x0a\xff.private  example.org  -         opendkim  /etc/opendkim/keys",
            r"/etc/opendkim/keys/example.org/s1.private         example.org  s1        opendkim  /etc/opendkim/keys",
            "/srv/new.private                                  -            new       -         keys.paths \"/srv/new.private\"",
            r"/etc/opendkim/keys/ (whole folder)                -            -         opendkim  /etc/opendkim/keys",
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), table);
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(
            err.starts_with(
                "note: keys.paths \"/srv/new.private\": the key /srv/new.private does not exist; nor does its folder"
            ),
            "{err}"
        );

        args.json = true;
        let (_, out, err) = run_in(root.path(), &args);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["keys"][1]["selector"], "s1");
        assert_eq!(document["keys"][2]["domain"], serde_json::Value::Null);
        assert_eq!(document["folders"][0]["path"], "/etc/opendkim/keys");
        assert_eq!((document["notes"].as_array().unwrap().len(), err.as_str()), (1, ""));
    }

    #[test]
    fn a_wrong_configuration_is_a_usage_error() {
        let root = tempfile::tempdir().unwrap();
        let args =
            Args { selection: Selection { config: Some(root.path().join("none.toml")), key: Vec::new() }, json: true };
        let (outcome, out, err) = run_in(root.path(), &args);
        assert_eq!((outcome, out.as_str()), (Outcome::Usage, ""));
        assert!(err.contains("none.toml: there is no such file"), "{err}");
    }
}
