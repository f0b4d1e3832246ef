//! `audit images` on stores as the engines wrote them: what Podman 4.3.1 and Docker 20.10.24 (both Debian 12's) keep of an
//! image with five layers, of which the second brings a key, the third deletes it, the fourth brings another one and the
//! fifth changes its mode.
//!
//! Recorded are the lists and configurations (`podman build` and `docker build` of the same file). The layers' folders are
//! made here, as git keeps no whiteouts, and as no private key is kept in the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch::{
    host::Host,
    images::{Class, Question, Report, Silent, State, search, shown_path},
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

/// An Ed25519 key as Rspamd has it: any 32 bytes are one.
const KEY: [u8; 44] = {
    let mut key = [b'A'; 44];
    key[43] = b'=';
    key
};

/// A path that says DKIM, so that the bare form counts.
const PATH: &str = "etc/opendkim/keys/example.org/mail.private";

/// A store of an engine, with its layers' folders, the lowest first.
struct Store {
    root: tempfile::TempDir,
    layers: Vec<PathBuf>,
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

impl Store {
    fn of(engine: &str) -> Result<Self> {
        let root = tempfile::tempdir()?;
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(engine), root.path())?;
        let layers = if engine.starts_with("podman") {
            let list = fs::read(root.path().join("overlay-layers/layers.json"))?;
            let list: Vec<serde_json::Value> = serde_json::from_slice(&list)?;
            let id = |layer: &serde_json::Value| Some(layer.get("id")?.as_str()?.to_owned());
            let ids: Option<Vec<_>> = list.iter().map(id).collect();
            ids.context("layers with ids")?.iter().map(|id| root.path().join("overlay").join(id).join("diff")).collect()
        } else {
            docker_layers(root.path())?
        };
        ensure!(layers.len() == 5, "{layers:?}");
        for layer in &layers {
            fs::create_dir_all(layer)?;
        }
        Ok(Self { root, layers })
    }

    fn layer(&self, number: usize) -> Result<&Path> {
        self.layers.get(number - 1).map(PathBuf::as_path).context("a layer")
    }

    fn write(&self, layer: usize, path: &str, content: &[u8]) -> Result<()> {
        let file = self.layer(layer)?.join(path);
        fs::create_dir_all(file.parent().context("a folder")?)?;
        Ok(fs::write(file, content)?)
    }

    fn search(&self) -> Report {
        let stores = vec![self.root.path().to_owned()];
        search(&Question { stores, limit: 1 << 40, ..Question::default() }, &Host::at("/nowhere"), &Silent)
    }

    /// The state of the key at [`PATH`] in the image `mail:1`, and the number of its layer.
    fn state(&self) -> Result<(Option<usize>, State)> {
        let report = self.search();
        ensure!(report.troubles.is_empty(), "{:?}", report.troubles);
        let [finding] = report.findings.as_slice() else { anyhow::bail!("{report:?}") };
        ensure!(finding.class == Class::Dkim && finding.path.as_deref() == Some(PATH.as_bytes()), "{finding:?}");
        let named = |image: &&dkimwatch::images::Occurrence| image.names.iter().any(|name| name.ends_with("mail:1"));
        let image = finding.images.iter().find(named).with_context(|| format!("{finding:?}"))?;
        ensure!(image.layers == 5, "{image:?}");
        Ok((image.layer, image.state))
    }
}

/// The layers of Docker's store, by the number of layers below each.
fn docker_layers(root: &Path) -> Result<Vec<PathBuf>> {
    let chains = root.join("image/overlay2/layerdb/sha256");
    let depth = |chain: &Path| -> Result<usize> {
        let (mut depth, mut chain) = (0, chain.to_owned());
        while let Ok(parent) = fs::read_to_string(chain.join("parent")) {
            chain = chains.join(parent.trim_start_matches("sha256:"));
            depth += 1;
        }
        Ok(depth)
    };
    let mut layers = Vec::new();
    for entry in fs::read_dir(&chains)? {
        let chain = entry?.path();
        let cache = fs::read_to_string(chain.join("cache-id"))?;
        layers.push((depth(&chain)?, root.join("overlay2").join(cache).join("diff")));
    }
    layers.sort();
    Ok(layers.into_iter().map(|(_, layer)| layer).collect())
}

const ENGINES: [&str; 2] = ["podman-4.3.1", "docker-20.10.24"];

#[test]
fn a_key_that_is_there() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(2, PATH, &KEY)?;
        assert_eq!(store.state()?, (Some(2), State::Present), "{engine}");
        let report = store.search();
        let image = report.findings.first().and_then(|finding| finding.images.first()).context("an image")?;
        assert!(image.created_by.as_deref().is_some_and(|command| command.contains("COPY file:")), "{image:?}");
        assert!(image.id.as_deref().is_some_and(|id| id.starts_with("sha256:")), "{image:?}");
    }
    Ok(())
}

/// The whiteout of the kernel's overlay, which anybody may make since Linux 5.8.
#[test]
fn a_key_that_a_later_layer_deletes() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(2, PATH, &KEY)?;
        let whiteout = store.layer(3)?.join(PATH);
        fs::create_dir_all(whiteout.parent().context("a folder")?)?;
        mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0)?;
        assert_eq!(store.state()?, (Some(2), State::Deleted(3)), "{engine}");
    }
    Ok(())
}

#[test]
fn a_key_whose_folder_a_later_layer_hides() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(2, PATH, &KEY)?;
        store.write(4, "etc/opendkim/new", b"")?;
        setxattr(store.layer(4)?.join("etc/opendkim"), "user.overlay.opaque", b"y", XattrFlags::empty())
            .context("the folder for temporary files is on a file system without such attributes")?;
        assert_eq!(store.state()?, (Some(2), State::Deleted(4)), "{engine}");
    }
    Ok(())
}

#[test]
fn a_key_that_a_later_layer_replaces() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(2, PATH, &KEY)?;
        store.write(5, PATH, b"no key")?;
        assert_eq!(store.state()?, (Some(2), State::Replaced(5)), "{engine}");
    }
    Ok(())
}

/// The base image's own finding and that of the image upon it are one.
#[test]
fn a_key_in_the_base_names_both_images() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(1, PATH, &KEY)?;
        let report = store.search();
        let [finding] = report.findings.as_slice() else { anyhow::bail!("{report:?}") };
        let mut names: Vec<_> = finding.images.iter().flat_map(|image| image.names.clone()).collect();
        names.sort();
        let ends: Vec<_> = names.iter().map(|name| name.trim_start_matches("localhost/")).collect();
        assert_eq!(ends, ["base:1", "mail:1"], "{engine}");
    }
    Ok(())
}

#[test]
fn a_layer_that_is_missing_is_told() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        store.write(2, PATH, &KEY)?;
        fs::remove_dir(store.layer(4)?)?;
        let report = store.search();
        let told: Vec<_> = report.troubles.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|one| one.contains("layer 4 of 5 of") && one.contains("is missing")), "{told:?}");
        let paths: Vec<_> =
            report.findings.iter().filter_map(|finding| Some(shown_path(finding.path.as_ref()?))).collect();
        assert_eq!(paths, [format!("/{PATH}")], "{engine}");
    }
    Ok(())
}

/// A link out of the store is no way out of it.
#[test]
fn a_link_in_place_of_a_layer_is_not_followed() -> Result<()> {
    for engine in ENGINES {
        let store = Store::of(engine)?;
        let outside = tempfile::tempdir()?;
        fs::write(outside.path().join("dkim.private"), KEY)?;
        fs::remove_dir(store.layer(4)?)?;
        std::os::unix::fs::symlink(outside.path(), store.layer(4)?)?;
        let report = store.search();
        assert!(report.findings.is_empty() && !report.troubles.is_empty(), "{engine}: {report:?}");
    }
    Ok(())
}
