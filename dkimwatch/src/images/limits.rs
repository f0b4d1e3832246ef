//! How much is read and kept, and why so much. Whoever makes an image chooses its sizes; none of them is a promise.

/// Bytes of a file in which a key's beginning is looked for, from its start.
///
/// A key file has some kilobytes (RSA 16384 as PEM: 13 KiB), a certificate's chain before a key, or a configuration around
/// one, seldom more than ten. What is longer is a program or data: those hold the words `BEGIN PRIVATE KEY`, but no key. In
/// a store, where a file can be read in part, this is what a search costs for each file.
pub(super) const HEAD: usize = 64 << 10;
/// Bytes after [`HEAD`] that are read as well, for the body of a key that begins just before.
pub(super) const BODY: usize = 16 << 10;
/// Longest JSON document: index, manifest and configuration have some kilobytes (registries refuse more than 4 MiB); the
/// list of a store's layers has about 1 KiB a layer.
pub(super) const LONGEST_DOCUMENT: u64 = 32 << 20;
/// What the documents of a compressed archive may take in memory together: it cannot be read at will, so they are kept.
pub(super) const KEPT_DOCUMENTS: u64 = 64 << 20;
/// Longest record of a PAX header, and longest GNU name. A path has 4 KiB; PAX records hold extended attributes as well.
pub(super) const LONGEST_EXTENSION: u64 = 1 << 20;
/// Most files of an archive of images, each layer being one or three.
pub(super) const MOST_MEMBERS: usize = 65_536;
/// Most names of a store's own folders (images, blobs) that are taken into memory.
pub(super) const MOST_NAMES: usize = 1 << 20;
/// Most keys, public records and key table rows that are kept of a layer, of each kind.
pub(super) const MOST_KEPT: usize = 10_000;
/// Most keys that are kept of all layers of a store or archive together; each takes some hundred bytes.
pub(super) const MOST_KEYS: usize = 100_000;
/// Most times that a key in an image is told: an archive can have as many images with one layer as its index has lines.
pub(super) const MOST_TOLD: usize = 100_000;
/// Most keys that are told of one file.
pub(super) const MOST_IN_FILE: usize = 16;
/// Most faults that are told of one layer one by one.
pub(super) const MOST_FAULTS: usize = 8;
/// How deep a store's folders are followed. Each level holds a descriptor, of which a process has 1,024.
pub(super) const DEEPEST: usize = 256;
/// Most images of a store or archive, and most layers of an image (Docker itself stops at 127).
pub(super) const MOST_IMAGES: usize = 65_536;
/// See [`MOST_IMAGES`].
pub(super) const MOST_LAYERS: usize = 1_024;
/// How deep indexes of images may be nested: one for platforms, and some to spare.
pub(super) const DEEPEST_INDEX: usize = 4;
/// How often later layers are looked at anew for keys that hard links have brought up.
pub(super) const MOST_ROUNDS: usize = 4;
/// To how many bytes a layer may expand before the search of it ends, in GiB, where nothing else is said. The largest images
/// seen (CUDA and its libraries) have layers of 10 GiB; a gzip bomb of 64 MiB makes 64 GiB, which take some minutes.
pub const LAYER_LIMIT_GIB: u64 = 64;
