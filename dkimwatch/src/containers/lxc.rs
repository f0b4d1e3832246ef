//! LXC: `PATH/NAME/config`, and what it includes (lxc.container.conf(5), lxc.system.conf(5)).

use std::path::{Path, PathBuf};

use super::{
    Details, MOST, Mount, NotFound,
    json::{absolute, cut},
};
use crate::{
    decode::{IdMap, IdRange},
    host::{Host, LONGEST_CONF, ReadError, path_of},
};

/// Where LXC keeps its containers unless `lxc.lxcpath` says otherwise.
const PATH: &str = "/var/lib/lxc";

/// Files that one configuration may include, with theirs: distributions have two or three.
const INCLUDES: usize = 32;

/// Looks for a container in LXC's own folder, and in `stores`.
pub(super) fn find(host: &Host, stores: &[PathBuf], name: &str) -> Result<Option<Details>, NotFound> {
    // One name, no way out of the folder.
    if name.contains('/') || name == "." || name == ".." {
        return Ok(None);
    }
    for path in paths(host, stores) {
        if let Some(found) = at(host, &path, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Every container. One that cannot be read is passed over.
pub(super) fn all(host: &Host, stores: &[PathBuf]) -> Vec<(String, Details)> {
    let mut all = Vec::new();
    for path in paths(host, stores) {
        let names = host.names(&path).into_iter().take(MOST).filter_map(|name| name.into_string().ok());
        all.extend(names.filter_map(|name| Some((name.clone(), at(host, &path, &name).ok()??))));
    }
    all
}

/// The folders in which something happens when a container comes.
pub(super) fn folders(host: &Host) -> Vec<PathBuf> {
    paths(host, &[]).into_iter().filter(|path| host.is_own_folder(path)).collect()
}

/// Folders of LXC, each once.
fn paths(host: &Host, stores: &[PathBuf]) -> Vec<PathBuf> {
    let conf = host.read(Path::new("/etc/lxc/lxc.conf"), LONGEST_CONF).unwrap_or_default();
    let configured = entries(&conf).filter(|(key, _)| *key == b"lxc.lxcpath").map(|(_, value)| path_of(value));
    let mut paths: Vec<PathBuf> = stores.iter().cloned().chain(configured).chain([PathBuf::from(PATH)]).collect();
    paths.retain(|path| path.is_absolute());
    paths.sort();
    paths.dedup();
    paths
}

fn at(host: &Host, path: &Path, name: &str) -> Result<Option<Details>, NotFound> {
    let config = path.join(name).join("config");
    let text = match host.read(&config, LONGEST_CONF) {
        Ok(text) => text,
        Err(ReadError::Missing) => return Ok(None),
        Err(error) => return Err(NotFound::Unreadable { path: config, why: error.to_string() }),
    };
    let mut said = Said { read: vec![config], ..Said::default() };
    said.take(host, &text);
    Ok(said.is_one.then(|| said.details(name)))
}

/// What a configuration says, as it is read.
#[derive(Default)]
struct Said {
    /// It has one of LXC's keys: any other folder may hold a file of this name.
    is_one: bool,
    /// The files that it was read from, each once.
    read: Vec<PathBuf>,
    root: Option<PathBuf>,
    layers: Vec<PathBuf>,
    entries: Vec<Vec<u8>>,
    ranges: Vec<IdRange>,
}

impl Said {
    fn take(&mut self, host: &Host, text: &[u8]) {
        for (key, value) in entries(text) {
            self.is_one |= key.starts_with(b"lxc.");
            match key {
                b"lxc.rootfs.path" => self.rootfs(value),
                b"lxc.mount.entry" if self.entries.len() < MOST => self.entries.push(value.to_owned()),
                b"lxc.mount.fstab" => {
                    let lines = host.read(&path_of(value), LONGEST_CONF).unwrap_or_default();
                    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().starts_with(b"#"));
                    self.entries.extend(lines.take(MOST).map(<[u8]>::to_vec));
                }
                b"lxc.idmap" => self.ranges.extend(range(value).filter(|_| self.ranges.len() < MOST)),
                b"lxc.include" => {
                    for file in included(host, &path_of(value)) {
                        if self.read.len() < INCLUDES && !self.read.contains(&file) {
                            let text = host.read(&file, LONGEST_CONF).unwrap_or_default();
                            self.read.push(file);
                            self.take(host, &text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// `dir:/path`, `/path`, `btrfs:/path`, or `overlay:/lower:/upper`. What lies on a device of its own is at no path of the host.
    fn rootfs(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        let (kind, rest) = match value.split_once(':') {
            Some((kind, rest)) if !value.starts_with('/') => (kind, rest),
            _ => ("dir", value.as_ref()),
        };
        (self.root, self.layers) = match kind {
            "dir" | "btrfs" => (absolute(rest), Vec::new()),
            "overlay" | "overlayfs" => (None, rest.rsplit(':').filter_map(absolute).take(MOST).collect()),
            _ => (None, Vec::new()),
        };
    }

    fn details(self, name: &str) -> Details {
        let mounts = self.entries.iter().filter_map(|entry| mount(entry, self.root.as_deref())).take(MOST).collect();
        Details {
            name: Some(cut(name)),
            mounts,
            root: self.root,
            layers: self.layers,
            uid_map: (!self.ranges.is_empty()).then_some(IdMap(self.ranges)),
            ..Details::default()
        }
    }
}

/// What an include stands for: a file, or all files in a folder.
fn included(host: &Host, place: &Path) -> Vec<PathBuf> {
    let within = host.names(place).into_iter().map(|name| place.join(name));
    let mut files: Vec<PathBuf> = within.filter(|path| path.extension().is_some_and(|end| end == "conf")).collect();
    files.sort();
    files.push(place.to_owned());
    files
}

/// The entries of a configuration: key and value. A later one of the same key adds to it, or replaces it.
fn entries(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.starts_with(b"#"));
    lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        Some((line.get(..at)?.trim_ascii(), line.get(at + 1..)?.trim_ascii()))
    })
}

/// A bind mount of the host's, as in fstab(5): `SOURCE DESTINATION TYPE OPTIONS`, the destination below the root.
fn mount(entry: &[u8], root: Option<&Path>) -> Option<Mount> {
    let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (source, destination, _, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut options = options.split(|byte| *byte == b',');
    if !options.any(|option| matches!(option, b"bind" | b"rbind")) {
        return None;
    }
    let (source, destination) = (path_of(&unescaped(source)), path_of(&unescaped(destination)));
    let below = match root {
        Some(root) => destination.strip_prefix(root).unwrap_or(&destination),
        None => &destination,
    };
    let below = below.strip_prefix("/").unwrap_or(below);
    source.is_absolute().then(|| Mount {
        source: source.clone(),
        destination: Path::new("/").join(below),
        volume: None,
    })
}

/// A word of fstab(5): blanks are `\040`, and so on.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

/// `u 0 100000 65536`: user ids from 0 within are those from 100000 on the host.
fn range(value: &[u8]) -> Option<IdRange> {
    let mut words = str::from_utf8(value).ok()?.split_ascii_whitespace();
    let kind = words.next()?;
    let mut number = || words.next()?.parse().ok();
    matches!(kind, "u" | "b").then(|| Some(IdRange { inner: number()?, host: number()?, count: number()? }))?
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn lab(files: &[(&str, &str)]) -> tempfile::TempDir {
        let lab = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = lab.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        lab
    }

    #[test]
    fn a_container_is_what_its_configuration_and_its_includes_say() {
        let lab = lab(&[
            (
                "var/lib/lxc/mail/config",
                "# made by hand\nlxc.include = /etc/lxc/keys.d\nlxc.include = /var/lib/lxc/mail/config\n\
                 lxc.rootfs.path = dir:/srv/mail/rootfs\nlxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 200000 65536\n\
                 lxc.mount.entry = /srv/my\\040keys etc/dkimkeys none rbind,ro,create=dir 0 0\n\
                 lxc.mount.entry = proc proc proc nodev 0 0\n",
            ),
            ("etc/lxc/keys.d/one.conf", "lxc.mount.entry = /srv/two /srv/mail/rootfs/two none bind\n"),
            ("etc/lxc/keys.d/one.dpkg-old", "lxc.mount.entry = /srv/three three none bind\n"),
        ]);
        let found = find(&Host::at(lab.path()), &[], "mail").expect("read").expect("there");
        assert_eq!(found.name.as_deref(), Some("mail"));
        assert_eq!(found.root.as_deref(), Some(Path::new("/srv/mail/rootfs")));
        assert_eq!(found.uid_map, Some(IdMap(vec![IdRange { inner: 0, host: 100_000, count: 65_536 }])));
        let on_host = |path: &str| found.exposing(Path::new(path)).map(|mount| mount.on_host(Path::new(path)));
        assert_eq!(on_host("/etc/dkimkeys/a.private"), Some("/srv/my keys/a.private".into()));
        assert_eq!(on_host("/two"), Some("/srv/two".into()));
        assert_eq!((on_host("/three"), on_host("/proc/1")), (None, None));
    }

    #[test]
    fn a_root_is_where_the_host_has_it() {
        for (value, root, layers) in [
            ("/srv/a", Some("/srv/a"), &[][..]),
            ("btrfs:/srv/a", Some("/srv/a"), &[]),
            ("overlay:/srv/lower:/srv/upper", None, &["/srv/upper", "/srv/lower"]),
            ("zfs:tank/mail", None, &[]),
            ("dir:relative", None, &[]),
        ] {
            let mut said = Said::default();
            said.rootfs(value.as_bytes());
            let found = said.details("mail");
            assert_eq!(found.root.as_deref(), root.map(Path::new), "{value}");
            assert_eq!(found.layers, layers.iter().map(PathBuf::from).collect::<Vec<_>>(), "{value}");
        }
    }

    #[test]
    fn any_other_folder_is_none_of_its() {
        let lab = lab(&[
            ("srv/store/x/config", "[core]\nbare = false\n"),
            ("etc/lxc/lxc.conf", "lxc.lxcpath = /srv/store\n"),
        ]);
        let host = Host::at(lab.path());
        assert_eq!(find(&host, &[], "x"), Ok(None));
        assert_eq!(find(&host, &[], "../store/x"), Ok(None));
        assert_eq!(all(&host, &[]), []);
    }
}
