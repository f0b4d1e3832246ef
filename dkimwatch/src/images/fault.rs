//! What kept something from being searched.

use std::{fmt, io};

use crate::escape;

/// Why a store, an archive, a layer or a file could not be searched, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused; without root, often a right.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It does not exist, though something names it.
    #[error("is missing")]
    Missing,
    /// Something else than a file or folder stands there, or a symbolic link, which is never followed.
    #[error("is {0}")]
    Kind(&'static str),
    /// It ends too early. What was before the place was searched.
    #[error("is cut: it ends at byte {at}, in {within}")]
    Cut {
        /// The byte where there should be more, from 0; of a packed layer, in its expanded form.
        at: u64,
        /// What is cut.
        within: &'static str,
    },
    /// Its bytes are not of the form they should have. What was before the place was searched.
    #[error("is corrupt at byte {at}: {what}")]
    Corrupt {
        /// The byte, from 0; of a packed layer, in its expanded form.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// It expands to more than the limit, in bytes, and was searched that far.
    #[error("expands to more than {0} bytes and was searched that far only; --layer-limit allows more")]
    Expands(u64),
    /// It is packed in a way that is not read.
    #[error("is packed with {0}, which is not read here; unpack it first")]
    Packing(&'static str),
    /// Its bytes are others than its name says: it was damaged, or made to deceive. It was searched all the same.
    #[error("has the digest {found}, not {expected}: it is damaged or forged (and was searched all the same)")]
    Digest {
        /// What its name or the image's configuration says.
        expected: String,
        /// What its bytes are.
        found: String,
    },
    /// A document is not the JSON it should be.
    #[error("is not understood: {0}")]
    Document(String),
    /// A document is longer than the limit, in bytes.
    #[error("is longer than {0} bytes")]
    TooLong(u64),
    /// More of something than is kept; what is beyond was not searched.
    #[error("has more than {most} {what}; those beyond were not searched")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many are kept.
        most: usize,
    },
    /// Further faults of the same layer that are only counted.
    #[error("has {0} further faults of this kind")]
    Further(usize),
    /// A file of a layer could not be read.
    #[error("its file {path} {fault}")]
    File {
        /// Its path in the layer, escaped.
        path: String,
        /// What happened.
        fault: Box<Fault>,
    },
    /// No known kind of store or archive.
    #[error("{0}")]
    Unknown(&'static str),
}

impl Fault {
    /// The same fault of a file in a layer or store.
    pub(super) fn of(self, path: &[u8]) -> Self {
        Self::File { path: escape::text(path), fault: Box::new(self) }
    }

    /// From an error of the system, with the words for links and for what is not there.
    pub(super) fn system(error: io::Error) -> Self {
        // openat2(2): a link where none is allowed.
        if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) {
            return Self::Kind("reached through a symbolic link, which is not followed");
        }
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        Self::system(error.into())
    }
}

/// A fault and its place: what of the question stays without an answer.
#[derive(Debug)]
pub struct Trouble {
    /// The store or archive, escaped.
    pub place: String,
    /// The image, layer or document in it, as text.
    pub part: Option<String>,
    /// What happened.
    pub fault: Fault,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Some(part) => write!(f, "{}: {part} {}", self.place, self.fault),
            None => write!(f, "{} {}", self.place, self.fault),
        }
    }
}
