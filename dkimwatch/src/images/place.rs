//! A store or an archive: its images, and their layers, each once.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    path::PathBuf,
};

use super::{
    archive::{Archive, Visitor},
    fault::{Fault, Trouble},
    history,
    key::Key,
    layer::digest_of,
    limits::{LONGEST_DOCUMENT, MOST_IMAGES},
    manifest::{self, Config, Descriptor},
    pem,
    progress::{Metered, Progress},
    rooted::Folder,
};
use crate::host::path_of;

/// A store or an archive.
#[derive(Debug)]
pub(super) struct Place {
    /// Its path, escaped.
    pub(super) name: String,
    /// What it is, in words.
    pub(super) kind: &'static str,
    holder: Holder,
    pub(super) layers: Vec<Layer>,
    index: HashMap<At, usize>,
    pub(super) images: Vec<Image>,
    pub(super) troubles: Vec<Trouble>,
    /// What is worth knowing and keeps no question open.
    pub(super) notes: Vec<String>,
}

/// Where bytes come from.
#[derive(Debug)]
pub(super) enum Holder {
    Folder(Folder),
    Archive(Box<Archive>),
}

/// A layer, once for all images that have it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) at: At,
    /// The digest of its archived, expanded form, by which images name it.
    pub(super) diff_id: Option<String>,
    /// Bytes that a search of it goes through, where known.
    pub(super) size: Option<u64>,
}

/// Where a layer lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Unpacked in this folder.
    Folder(PathBuf),
    /// Archived in this blob.
    Blob(String),
}

/// An image.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Its names with their tags; none for one that lost them.
    pub(super) names: Vec<String>,
    /// The digest of its configuration, which engines call the image's id.
    pub(super) id: Option<String>,
    /// The digest of its manifest, by which registries name it.
    pub(super) digest: Option<String>,
    /// The lowest first.
    pub(super) layers: Vec<Placed>,
    /// Keys in the configuration itself: in a variable, a label or a command.
    pub(super) keys: Vec<Key>,
}

/// A layer in an image.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Its place in [`Place::layers`].
    pub(super) layer: usize,
    /// The command that made it, as the image says, fit to be shown: the rest of it is dropped.
    pub(super) created_by: Option<String>,
}

impl Place {
    pub(super) fn new(name: String, kind: &'static str, holder: Holder) -> Self {
        Self {
            name,
            kind,
            holder,
            layers: Vec::new(),
            index: HashMap::new(),
            images: Vec::new(),
            troubles: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Keeps a fault, of the whole place where no part is named.
    pub(super) fn trouble(&mut self, part: Option<String>, fault: Fault) {
        self.troubles.push(Trouble { place: self.name.clone(), part, fault });
    }

    /// The number of a layer; the same for all images that have it.
    pub(super) fn layer(&mut self, at: At, diff_id: Option<String>, size: Option<u64>) -> usize {
        let at = match (at, &self.holder) {
            (At::Blob(name), Holder::Archive(archive)) => At::Blob(archive.own_name(&name)),
            (at, _) => at,
        };
        let size = size.or_else(|| match &at {
            At::Blob(name) => self.holder.size(name),
            At::Folder(_) => None,
        });
        if let Some(known) = self.index.get(&at) {
            return *known;
        }
        self.index.insert(at.clone(), self.layers.len());
        self.layers.push(Layer { at, diff_id, size });
        self.layers.len() - 1
    }

    /// Adds an image whose layers are known by where they lie; `config` is its configuration's bytes.
    pub(super) fn image(&mut self, mut image: Image, layers: Vec<At>, config: &[u8]) {
        if self.images.len() == MOST_IMAGES {
            return self.trouble(None, Fault::TooMany { what: "images", most: MOST_IMAGES });
        }
        let known: Config = match manifest::parsed(config) {
            Ok(known) => known,
            Err(fault) => {
                self.trouble(Some(format!("the configuration of {}", image.label())), fault);
                Config::default()
            }
        };
        let diff_ids = known.diff_ids();
        if !diff_ids.is_empty() && diff_ids.len() != layers.len() {
            let what = format!("it names {} layers, and there are {}", diff_ids.len(), layers.len());
            self.trouble(Some(format!("the configuration of {}", image.label())), Fault::Document(what));
        }
        let mut commands = known.commands();
        commands.resize(layers.len(), None);
        for ((number, at), created_by) in layers.into_iter().enumerate().zip(commands) {
            let layer = self.layer(at, diff_ids.get(number).cloned(), None);
            image.layers.push(Placed { layer, created_by: created_by.as_deref().map(history::shown) });
        }
        // All of it: a variable or a command can stand anywhere in it.
        image.keys = pem::blocks(config, usize::MAX).iter().map(Key::of_pem).collect();
        self.images.push(image);
    }

    /// Adds the image of a manifest (OCI or Docker) whose blobs lie here.
    pub(super) fn manifest(&mut self, bytes: &[u8], digest: &str, names: Vec<String>) -> Result<(), Fault> {
        let manifest: manifest::Manifest = manifest::parsed(bytes)?;
        let id = manifest.config.digest.clone();
        let (layers, others): (Vec<_>, Vec<_>) =
            manifest::bounded(&manifest.layers)?.iter().partition(|layer| layer.is_layer());
        let image = Image { names, id: Some(id), digest: Some(digest.to_owned()), ..Image::default() };
        if !others.is_empty() {
            let label = image.label();
            self.notes.push(format!(
                "{}: {} blobs of {label} are no layers of an image (an attestation or artifact) and were not searched",
                self.name,
                others.len()
            ));
        }
        if layers.is_empty() && !others.is_empty() {
            return Ok(());
        }
        let blobs: Result<Vec<_>, _> = layers.into_iter().map(Descriptor::blob).collect();
        let blobs = blobs?.into_iter().map(At::Blob).collect();
        let config = match self.blob(&manifest.config) {
            Ok(config) => config,
            Err(fault) => {
                self.trouble(Some(format!("the configuration of {}", image.label())), fault);
                b"{}".to_vec()
            }
        };
        self.image(image, blobs, &config);
        Ok(())
    }

    /// A document by its digest, which is compared.
    pub(super) fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Fault> {
        let bytes = self.holder.document(&descriptor.blob()?)?;
        let found = digest_of(&bytes);
        if descriptor.digest.starts_with("sha256:") && found != descriptor.digest {
            let expected = descriptor.digest.clone();
            self.trouble(Some("a document".to_owned()), Fault::Digest { expected, found });
        }
        Ok(bytes)
    }
}

impl Image {
    /// Its first name, else what else it is known by; escaped.
    pub(super) fn label(&self) -> String {
        let name = self.names.first().or(self.digest.as_ref()).or(self.id.as_ref());
        name.map_or_else(|| "an image without a name".to_owned(), |name| crate::escape::word(name.as_bytes()))
    }
}

impl Holder {
    /// A document by its name.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Folder(folder) => folder.read(&path_of(name.as_bytes()), LONGEST_DOCUMENT),
            Self::Archive(archive) => archive.document(name),
        }
    }

    /// True if there is a document or folder of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.has(name),
            Self::Archive(archive) => archive.size(name).is_some(),
        }
    }

    fn size(&self, name: &str) -> Option<u64> {
        match self {
            Self::Folder(folder) => u64::try_from(folder.stat(&path_of(name.as_bytes())).ok()?.st_size).ok(),
            Self::Archive(archive) => archive.size(name),
        }
    }

    /// Shows these blobs.
    pub(super) fn visit(&self, wanted: &[String], progress: &dyn Progress, with: &mut Visitor<'_>) {
        match self {
            Self::Archive(archive) => archive.visit(wanted, progress, with),
            Self::Folder(folder) => {
                for name in wanted {
                    match folder.file(&path_of(name.as_bytes())) {
                        Ok(file) => with(name, Ok(&mut Metered::<File>::new(file, progress) as &mut dyn Read)),
                        Err(fault) => with(name, Err(fault)),
                    }
                }
            }
        }
    }

    /// The folder of an unpacked layer.
    pub(super) fn folder(&self, path: &std::path::Path) -> Result<Folder, Fault> {
        match self {
            Self::Folder(folder) => folder.below(path).map_err(Fault::system),
            Self::Archive(_) => Err(Fault::Missing),
        }
    }
}

/// Names by digest: what indexes say.
pub(super) type Names = BTreeMap<String, Vec<String>>;
