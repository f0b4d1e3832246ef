//! The files in the layers below of a file on an overlay (overlayfs): by them it can be reached around the overlay.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};

use dkimwatch_common::{
    identity::FileId,
    watch::{FileWatch, Tag, file_watch},
};

use super::{
    look::{Look, file_system},
    mountinfo::unescaped,
    refresh::BATCH,
};
use crate::{
    kernel::{Handle, KernelError, Session},
    refused::{Place, Places},
};

/// Layers of one overlay that are looked through: the kernel has no more (`OVL_MAX_STACK`).
const LAYERS: usize = 500;

/// A file in a layer.
pub(super) struct Layered {
    /// The layer's folder.
    layer: PathBuf,
    /// Its path from there.
    inside: PathBuf,
    /// It can be written to through the overlay.
    is_upper: bool,
}

/// The mounted overlays, looked up once.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    /// By the ids of their mounts; not read yet where there was no need.
    mounts: Option<BTreeMap<u64, Overlay>>,
}

impl Overlays {
    /// The files in the layers below that have, or had, a file's place: that which has its data, and older ones further down.
    /// None where it lies on no overlay, or the layers are not to be found from here.
    pub(super) fn below(&mut self, file: &Handle, found: Option<&Look>, system: Option<u64>) -> Vec<Layered> {
        /// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
        const OVERLAY: u64 = 0x794c_7630;
        let found = found.filter(|_| system == Some(OVERLAY));
        found.and_then(|found| self.found(file, found.mount)).unwrap_or_default()
    }

    /// Whether a file on an overlay is as one of its lower layers has it: in a container, as the image does.
    pub(super) fn shows_lower(&mut self, file: &Handle) -> bool {
        self.below(file, Look::at(file).ok().as_ref(), file_system(file)).first().is_some_and(|first| !first.is_upper)
    }

    fn found(&mut self, file: &Handle, mount: u64) -> Option<Vec<Layered>> {
        let mounts = self.mounts.get_or_insert_with(|| {
            let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
            table.split(|byte| *byte == b'\n').filter_map(Overlay::line).collect()
        });
        let overlay = mounts.get(&mount)?;
        let inside = overlay.inside(&file.path()?)?;
        let all = overlay.layers.iter().take(LAYERS);
        let all = all.enumerate().map(|(index, layer)| Layered {
            layer: layer.clone(),
            inside: inside.clone(),
            is_upper: overlay.has_upper && index == 0,
        });
        let mut there = all.filter_map(|layered| Some((layered.open()?, layered)));
        // The paths are those of the namespace that it was mounted in, and of that time.
        let (handle, first) = there.next()?;
        let is_it = is_same(&fstat(handle).ok()?, &fstat(file).ok()?);
        is_it.then(|| std::iter::once(first).chain(there.map(|(_, layered)| layered)).collect())
    }
}

impl Layered {
    /// By no link on the way; nothing where it is not there, or is no file.
    pub(super) fn open(&self) -> Option<Handle> {
        const S_IFMT: u32 = 0o17_0000;
        const S_IFREG: u32 = 0o10_0000;
        let layer = openat(CWD, &self.layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(layer, &self.inside, flags, Mode::empty(), resolve).ok()?;
        (fstat(&file).ok()?.st_mode & S_IFMT == S_IFREG).then(|| Handle::from_fd(file))
    }
}

/// Has the files watched that keys on overlays have in the layers below, but those that are watched by their own paths.
pub(super) fn arm(
    session: &mut Session,
    places: &mut Places,
    armed: &BTreeSet<FileId>,
    below: &[(Layered, FileId, Tag)],
) -> Result<(), KernelError> {
    for batch in below.chunks(BATCH) {
        let opened = batch.iter().filter_map(|(layered, user, tag)| Some((layered.open()?, (*user, *tag))));
        let (handles, whose): (Vec<_>, Vec<_>) = opened.unzip();
        for ((handle, (user, tag)), identified) in handles.iter().zip(whose).zip(session.identify(&handles)?) {
            let Some(identified) = identified.filter(|identified| !armed.contains(&identified.file)) else { continue };
            let watch = FileWatch { tag, kind: file_watch::LAYER, generation: identified.generation, pad: 0 };
            session.watch_set.arm_layer(identified.file, watch, user)?;
            if let Ok(stat) = rustix::fs::fstat(handle) {
                places.add_member(Place::from(&stat), tag);
            }
        }
    }
    Ok(())
}

/// As far as an overlay shows of the file that it shows.
const fn is_same(one: &Stat, other: &Stat) -> bool {
    one.st_size == other.st_size && one.st_mtime == other.st_mtime && one.st_mtime_nsec == other.st_mtime_nsec
}

/// A mount of an overlay.
#[derive(Debug, PartialEq, Eq)]
struct Overlay {
    /// The folder in it that is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
    /// Its layers, the uppermost first.
    layers: Vec<PathBuf>,
    /// The first of them is the one that is written to (`upperdir=`).
    has_upper: bool,
}

impl Overlay {
    /// A line of proc_pid_mountinfo(5), where it is an overlay's: the mount's id, and it.
    fn line(line: &[u8]) -> Option<(u64, Self)> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [id, _, _, root, at, ..] = words.as_slice() else { return None };
        let mount = str::from_utf8(id).ok()?.parse().ok()?;
        let behind = words.get(words.iter().position(|word| *word == b"-")? + 1..)?;
        let [kind, _, options, ..] = behind else { return None };
        let path = |bytes| PathBuf::from(OsString::from_vec(unescaped(bytes)));
        let has_upper = options.split(|byte| *byte == b',').any(|option| option.starts_with(b"upperdir="));
        let at = path(at);
        // Engines shorten a long list by mounting from the folder that holds them all: ENGINE/ID/merged, ENGINE/l/SHORT.
        let engines = at.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
        let layers = layers(options).into_iter().map(|layer| engines.join(layer)).collect();
        let overlay = || Self { root: path(root), at, layers, has_upper };
        (*kind == b"overlay").then(|| (mount, overlay()))
    }

    /// A path on it, from the layers' roots.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        Some(self.root.strip_prefix("/").ok()?.join(path.strip_prefix(&self.at).ok()?))
    }
}

/// An overlay's layers by its mount options as mountinfo has them (`Documentation/filesystems/overlayfs.rst`), the uppermost
/// first.
pub(super) fn layers(options: &[u8]) -> Vec<PathBuf> {
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    for option in options.split(|byte| *byte == b',') {
        let value = |name: &[u8]| option.strip_prefix(name).map(unescaped);
        if let Some(layer) = value(b"upperdir=") {
            upper.push(layer);
        } else if let Some(list) = value(b"lowerdir=") {
            lower.extend(listed(&list));
        } else if let Some(layer) = value(b"lowerdir+=").or_else(|| value(b"datadir+=")) {
            lower.push(layer);
        }
    }
    upper.into_iter().chain(lower).map(|layer| PathBuf::from(OsStr::from_bytes(&layer))).collect()
}

/// The paths of a list with colons between them, in which a colon and a backslash of a path have a backslash before them. Two
/// colons: below are layers of data only.
fn listed(list: &[u8]) -> Vec<Vec<u8>> {
    let mut paths = vec![Vec::new()];
    let mut bytes = list.iter().copied();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b':' => {
                paths.push(Vec::new());
                continue;
            }
            b'\\' => bytes.next().unwrap_or(byte),
            byte => byte,
        };
        if let Some(path) = paths.last_mut() {
            path.push(literal);
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(of: &[&str]) -> Vec<PathBuf> {
        of.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_layers_are_those_of_the_options_from_above() {
        assert_eq!(layers(b"rw,lowerdir=/a:/b,upperdir=/c,workdir=/w"), paths(&["/c", "/a", "/b"]));
        assert_eq!(layers(b"ro,lowerdir=/a\\040b:/c\\134:d::/data"), paths(&["/a b", "/c:d", "/data"]));
        assert_eq!(layers(b"ro,lowerdir+=/a,lowerdir+=/b\\054c,datadir+=/d"), paths(&["/a", "/b,c", "/d"]));
        assert_eq!(layers(b"rw"), paths(&[]));
    }

    #[test]
    fn a_path_on_a_part_of_an_overlay_is_found_in_its_layers() {
        let line =
            b"36 35 0:52 /var/mail /mnt/here rw shared:7 - overlay overlay rw,lowerdir=/a,upperdir=/d,workdir=/e";
        let (mount, overlay) = Overlay::line(line).expect("an overlay");
        assert_eq!(mount, 36);
        assert_eq!(overlay.inside(Path::new("/mnt/here/keys/key")), Some("var/mail/keys/key".into()));
        assert_eq!(overlay.inside(Path::new("/mnt/elsewhere/key")), None);
        assert_eq!(Overlay::line(b"36 35 0:54 / /tmp rw - tmpfs tmpfs rw"), None);
        assert_eq!(Overlay::line(b"36 nonsense"), None);
    }

    #[test]
    fn a_link_in_a_layer_leads_nowhere() {
        let layer = tempfile::tempdir().expect("a folder");
        fs::create_dir(layer.path().join("keys")).expect("a folder");
        fs::write(layer.path().join("keys/key"), "").expect("a file");
        std::os::unix::fs::symlink("key", layer.path().join("keys/link")).expect("a link");
        std::os::unix::fs::symlink("keys", layer.path().join("other")).expect("a link");
        let at = |inside: &str| Layered { layer: layer.path().to_owned(), inside: inside.into(), is_upper: false };
        let found = |inside| at(inside).open().is_some();
        assert!(found("keys/key"));
        for inside in ["keys/link", "other/key", "keys", "../keys/key", "absent"] {
            assert!(!found(inside), "{inside}");
        }
    }
}
