//! A container that no cgroup tells of, by its monitor's command line: Podman without root has no cgroup to give where
//! systemd delegates none. Anybody can start a program with such arguments: good to show, no identity.

use std::path::PathBuf;

use super::Container;
use crate::host::path_of;

/// The monitor's name (`comm`) of Podman and CRI-O.
pub(super) const CONMON: &[u8] = b"conmon";

/// Where it is installed.
pub(super) const PROGRAMS: [&str; 5] = [
    "/usr/bin/conmon",
    "/usr/local/bin/conmon",
    "/usr/libexec/podman/conmon",
    "/usr/lib/podman/conmon",
    "/usr/libexec/crio/conmon",
];

/// The container that conmon(8) was asked to watch: `-c ID -b BUNDLE`.
pub(super) fn container(args: &[Vec<u8>]) -> Option<Container> {
    let value = |short: &[u8], long: &[u8]| {
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if word == short || word == long {
                return words.next();
            }
        }
        None
    };
    let id = value(b"-c", b"--cid")?;
    let is_id = id.len() == 64 && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = String::from_utf8(id.clone()).ok().filter(|_| is_id)?;
    Some(Container { bundle: bundle(args), ..Container::forgeable(id, "podman") })
}

/// Where the container's configuration lies.
pub(super) fn bundle(args: &[Vec<u8>]) -> Option<PathBuf> {
    let at = args.iter().position(|word| word == b"-b" || word == b"--bundle")?;
    args.get(at + 1).map(|path| path_of(path)).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::container;

    const ID: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.replace("ID", ID).split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn conmons_arguments_name_its_container() {
        let args = words(
            "/usr/bin/conmon --api-version 1 -c ID -u ID -r /usr/bin/runc -b /srv/u/s/vfs-containers/ID/userdata -n x",
        );
        let found = container(&args).expect("a container");
        assert_eq!((found.id.as_str(), found.runtime, found.forgeable), (ID, "podman", true));
        let bundle = format!("/srv/u/s/vfs-containers/{ID}/userdata");
        assert_eq!(found.bundle.as_deref(), Some(Path::new(&bundle)));
    }

    #[test]
    fn other_arguments_name_none() {
        for line in ["conmon", "conmon -c", "conmon -c 3f5a -b /x", "conmon -b /x -c", "conmon --cid=ID"] {
            assert_eq!(container(&words(line)), None, "{line}");
        }
        assert_eq!(container(&words("conmon -c ID -b x")).expect("a container").bundle, None);
    }
}
