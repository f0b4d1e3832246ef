//! Which block devices hold a key: that of its file system, what lies below it (its disk, the parts of a mapping, the file
//! behind a loop device and that file's own disk), and what rests on it.
//!
//! Asked anew whenever a device is opened that is not known: a mapping is made in no time.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ffi::OsString,
    fs,
    os::unix::{
        ffi::OsStringExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use dkimwatch_common::watch::Tag;
use rustix::fs::{major, minor};

use super::{layers, mountinfo::unescaped};

/// How deep file systems and devices may lie in each other: a ring of them is somebody's joke.
const DEPTH: usize = 16;

/// A device, as the kernel writes it (`include/linux/kdev_t.h`).
type Device = u32;

/// The devices that hold a key, with the watch list's entry of one such key.
#[derive(Debug)]
pub(super) struct Devices {
    /// Where `/sys`, `/proc` and `/dev` are.
    root: PathBuf,
    /// File systems with keys, by their `s_dev`.
    systems: BTreeMap<Device, Tag>,
    found: Found,
    /// Devices that were there when the watch began and share a part with a key's device, as logical volumes do: nobody made
    /// them to get at the key. Each with what tells it from a later one of the same number.
    neighbours: Option<BTreeSet<(Device, Vec<u8>)>>,
}

/// What holds a key.
#[derive(Debug, Default)]
struct Found {
    devices: BTreeMap<Device, Tag>,
    /// Files behind loop devices.
    files: BTreeMap<PathBuf, Tag>,
}

impl Devices {
    /// Those of a host; nothing is looked at yet.
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), systems: BTreeMap::new(), found: Found::default(), neighbours: None }
    }

    /// These file systems hold keys.
    pub(super) fn look_again(&mut self, systems: BTreeMap<Device, Tag>) {
        self.systems = systems;
        self.found = self.search();
    }

    /// The files behind loop devices.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, Tag)> {
        self.found.files.iter().map(|(path, tag)| (path.as_path(), *tag))
    }

    /// The watch list's entry of a key that can be read through the device.
    pub(super) fn tag(&mut self, device: Device) -> Option<Tag> {
        if !self.found.devices.contains_key(&device) {
            self.found = self.search();
        }
        self.found.devices.get(&device).copied()
    }

    fn search(&mut self) -> Found {
        let sources = Sources::read(&self.root);
        let mut search = Search { root: &self.root, sources, sure: BTreeMap::new(), below: Found::default() };
        for (device, tag) in &self.systems {
            search.file_system(*device, *tag, true, DEPTH);
        }
        let near = search.above();
        let name = |device: &Device| (*device, search.incarnation(*device));
        let neighbours = self.neighbours.get_or_insert_with(|| near.keys().map(name).collect());
        let news = near.iter().filter(|(device, _)| !neighbours.contains(&name(device)));
        let mut devices: BTreeMap<Device, Tag> = news.map(|(device, tag)| (*device, *tag)).collect();
        devices.extend(&search.below.devices);
        devices.extend(&search.sure);
        Found { devices, files: search.below.files }
    }
}

struct Search<'r> {
    root: &'r Path,
    sources: Sources,
    /// The file systems' own devices, and what rests on them.
    sure: BTreeMap<Device, Tag>,
    /// What they rest on.
    below: Found,
}

impl Search<'_> {
    /// A file system by its `s_dev`; `own` for one that is watched, else one that holds an image of it.
    fn file_system(&mut self, device: Device, tag: Tag, own: bool, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        if self.folder(device).exists() {
            if own {
                self.sure.entry(device).or_insert(tag);
            } else {
                self.below.devices.entry(device).or_insert(tag);
            }
            self.descend(device, tag, depth);
            return;
        }
        // A device of the kernel's own making: btrfs, overlayfs, tmpfs.
        for source in self.sources.of(device) {
            match source {
                Source::Device(path) => {
                    for device in self.with_its_pool(&path) {
                        self.file_system(device, tag, own, depth);
                    }
                }
                Source::Folder(path) => {
                    if let Ok(folder) = fs::metadata(self.root.join(path.strip_prefix("/").unwrap_or(&path))) {
                        self.file_system(encoded(folder.dev()), tag, own, depth);
                    }
                }
            }
        }
    }

    /// What a device rests on.
    fn descend(&mut self, device: Device, tag: Tag, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        for below in self.supports(device).into_iter().chain(self.disk(device)) {
            if let Entry::Vacant(place) = self.below.devices.entry(below) {
                place.insert(tag);
                self.descend(below, tag, depth);
            }
        }
        if let Some(file) = self.backing(device).filter(|file| block_device(file).is_none()) {
            if let Ok(metadata) = fs::metadata(&file) {
                self.file_system(encoded(metadata.dev()), tag, false, depth);
            }
            self.below.files.insert(file, tag);
        }
    }

    /// Finds what rests on what was found so far, and returns what only shares a part with it.
    fn above(&mut self) -> BTreeMap<Device, Tag> {
        let all: Vec<Device> = listed(&self.root.join("sys/dev/block")).filter_map(|name| parsed(&name)).collect();
        let mut near = BTreeMap::new();
        let mut made = BTreeSet::new();
        loop {
            let mut grown = false;
            for device in &all {
                if self.sure.contains_key(device) || self.below.devices.contains_key(device) {
                    continue;
                }
                let supports = self.supports(*device);
                let disk = self.disk(*device).filter(|disk| made.contains(disk));
                let on = supports.iter().chain(&disk).find_map(|one| self.sure.get(one)).copied();
                if let Some(tag) = on {
                    near.remove(device);
                    self.sure.insert(*device, tag);
                    grown = made.insert(*device);
                } else if !near.contains_key(device)
                    && let Some(tag) = supports.iter().find_map(|one| self.below.devices.get(one).or(near.get(one)))
                {
                    near.insert(*device, *tag);
                    grown = true;
                }
            }
            if !grown {
                return near;
            }
        }
    }

    /// What a device is made of.
    fn supports(&self, device: Device) -> Vec<Device> {
        let slaves = self.folder(device).join("slaves");
        let made_of = listed(&slaves).filter_map(|name| parsed(&text(&slaves.join(name).join("dev"))?));
        made_of.chain(self.backing(device).and_then(|file| block_device(&file))).collect()
    }

    /// The disk of a partition.
    fn disk(&self, device: Device) -> Option<Device> {
        let folder = self.folder(device);
        if !folder.join("partition").exists() {
            return None;
        }
        parsed(&text(&fs::canonicalize(folder).ok()?.parent()?.join("dev"))?)
    }

    /// The file or device behind a loop device.
    fn backing(&self, device: Device) -> Option<PathBuf> {
        let bytes = fs::read(self.folder(device).join("loop/backing_file")).ok()?;
        let path = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Some(PathBuf::from(OsString::from_vec(path.to_vec())))
    }

    /// A device by its node, and the others of its btrfs.
    fn with_its_pool(&self, node: &Path) -> Vec<Device> {
        let Some(device) = block_device(&self.root.join(node.strip_prefix("/").unwrap_or(node))) else {
            return Vec::new();
        };
        let mut devices = vec![device];
        for pool in listed(&self.root.join("sys/fs/btrfs")) {
            let folder = self.root.join("sys/fs/btrfs").join(pool).join("devices");
            let members: Vec<Device> =
                listed(&folder).filter_map(|name| parsed(&text(&folder.join(name).join("dev"))?)).collect();
            if members.contains(&device) {
                devices.extend(members);
            }
        }
        devices
    }

    /// What tells a device from a later one of the same number.
    fn incarnation(&self, device: Device) -> Vec<u8> {
        let folder = self.folder(device);
        ["diskseq", "dm/uuid", "dm/name"].iter().filter_map(|name| fs::read(folder.join(name)).ok()).flatten().collect()
    }

    fn folder(&self, device: Device) -> PathBuf {
        self.root.join("sys/dev/block").join(format!("{}:{}", device >> 20, device & 0xf_ffff))
    }
}

/// Where a file system of no device's number has its data.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Device(PathBuf),
    Folder(PathBuf),
}

/// The mounts of this process, by device.
#[derive(Debug, Default)]
struct Sources(BTreeMap<Device, Vec<Source>>);

impl Sources {
    fn read(root: &Path) -> Self {
        let table = fs::read(root.join("proc/self/mountinfo")).unwrap_or_default();
        let mut sources = BTreeMap::new();
        for line in table.split(|byte| *byte == b'\n') {
            if let Some((device, of)) = Self::line(line) {
                sources.insert(device, of);
            }
        }
        Self(sources)
    }

    /// proc_pid_mountinfo(5).
    fn line(line: &[u8]) -> Option<(Device, Vec<Source>)> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let device = parsed(str::from_utf8(words.get(2)?).ok()?)?;
        let rest = words.get(words.iter().position(|word| *word == b"-")? + 1..)?;
        let [kind, source, options, ..] = rest else { return None };
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(unescaped(bytes)));
        let sources = if *kind == b"overlay" {
            layers::layers(options).into_iter().map(Source::Folder).collect()
        } else if source.starts_with(b"/") {
            vec![Source::Device(path(source))]
        } else {
            Vec::new()
        };
        Some((device, sources))
    }

    fn of(&self, device: Device) -> Vec<Source> {
        self.0.get(&device).cloned().unwrap_or_default()
    }
}

/// The names in a folder; none where there is no folder.
fn listed(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `major:minor`.
fn parsed(text: &str) -> Option<Device> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

/// The device that a node is of; `None` for any other file.
fn block_device(node: &Path) -> Option<Device> {
    let metadata = fs::metadata(node).ok()?;
    metadata.file_type().is_block_device().then(|| encoded(metadata.rdev()))
}

/// stat(2)'s encoding, in the kernel's.
fn encoded(device: u64) -> Device {
    major(device) << 20 | minor(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host of paper: disks 8:0 and 8:16, partitions, mappings.
    struct Paper(tempfile::TempDir);

    impl Paper {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
            fs::create_dir_all(root.path().join("proc/self")).unwrap();
            Self(root)
        }

        fn device(&self, number: &str, name: &str, slaves: &[&str]) {
            let folder = self.0.path().join("sys/devices").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            if name.contains('/') {
                fs::write(folder.join("partition"), "1\n").unwrap();
            }
            for slave in slaves {
                let at = folder.join("slaves").join(slave.replace(':', "-"));
                fs::create_dir_all(&at).unwrap();
                fs::write(at.join("dev"), format!("{slave}\n")).unwrap();
            }
            std::os::unix::fs::symlink(&folder, self.0.path().join("sys/dev/block").join(number)).unwrap();
        }

        fn devices(&self, key: &str) -> Devices {
            let mut devices = Devices::of(self.0.path());
            devices.look_again(BTreeMap::from([(parsed(key).unwrap(), 7)]));
            devices
        }
    }

    fn tagged(devices: &mut Devices, number: &str) -> Option<Tag> {
        devices.tag(parsed(number).unwrap())
    }

    #[test]
    fn a_partition_is_its_disk_and_no_other_partition() {
        let paper = Paper::new();
        paper.device("8:0", "sda", &[]);
        paper.device("8:1", "sda/sda1", &[]);
        paper.device("8:2", "sda/sda2", &[]);
        paper.device("8:16", "sdb", &[]);
        let mut devices = paper.devices("8:1");
        for (number, wanted) in [("8:1", Some(7)), ("8:0", Some(7)), ("8:2", None), ("8:16", None), ("9:9", None)] {
            assert_eq!(tagged(&mut devices, number), wanted, "{number}");
        }
    }

    #[test]
    fn a_logical_volume_is_what_it_lies_on_and_no_neighbour_of_before() {
        let paper = Paper::new();
        paper.device("8:0", "sda", &[]);
        paper.device("8:3", "sda/sda3", &[]);
        paper.device("253:0", "dm-0", &["8:3"]);
        paper.device("253:1", "dm-1", &["8:3"]);
        let mut devices = paper.devices("253:0");
        assert_eq!(tagged(&mut devices, "253:0"), Some(7));
        assert_eq!(tagged(&mut devices, "8:3"), Some(7));
        assert_eq!(tagged(&mut devices, "8:0"), Some(7));
        assert_eq!(tagged(&mut devices, "253:1"), None, "another volume of the group");

        // Whoever makes a mapping of the same disk now, or of the volume, may be after the key.
        paper.device("253:2", "dm-2", &["8:3"]);
        paper.device("253:3", "dm-3", &["253:0"]);
        paper.device("253:4", "dm-4", &["253:3"]);
        for number in ["253:2", "253:3", "253:4"] {
            assert_eq!(tagged(&mut devices, number), Some(7), "{number}");
        }
    }

    #[test]
    fn mountinfo_tells_the_layers_of_an_overlay_and_the_device_of_a_btrfs() {
        let overlay = b"36 35 0:52 / /merged rw - overlay overlay rw,lowerdir=/a\\040b:/c,upperdir=/d,workdir=/e";
        let folders = ["/d", "/a b", "/c"].map(|path| Source::Folder(path.into()));
        assert_eq!(Sources::line(overlay), Some((52, folders.to_vec())));
        let btrfs = b"36 35 0:53 /sub /mnt rw shared:1 - btrfs /dev/vdb rw,subvol=/sub";
        assert_eq!(Sources::line(btrfs), Some((53, vec![Source::Device("/dev/vdb".into())])));
        assert_eq!(Sources::line(b"36 35 0:54 / /tmp rw - tmpfs tmpfs rw"), Some((54, Vec::new())));
        assert_eq!(Sources::line(b"nonsense"), None);
    }
}
