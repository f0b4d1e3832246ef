//! Expected signers that need no configuration, as Debian 12 packages them.
//!
//! Who opens the key, and as whom, was observed on real messages: opendkim with `KeyFile`, and dkimpy-milter, open it as
//! root before they drop privileges; exim opens it in a delivery child that descends from whoever submitted the message,
//! so no unit can be asked of it.

use std::path::{Path, PathBuf};

use super::Signer;
use crate::{
    containers::Keyed,
    host::{Host, path_of},
};

/// The built-in signers, for `host`: an interpreted one runs whatever its script's first line names there.
#[must_use]
pub fn profiles(host: &Host) -> Vec<Signer> {
    let milter = Path::new("/usr/bin/dkimpy-milter");
    vec![
        Signer {
            users: words(&["opendkim", "root"]),
            units: words(&["opendkim.service"]),
            ..built_in("opendkim", Path::new("/usr/sbin/opendkim"))
        },
        Signer {
            users: words(&["_rspamd"]),
            units: words(&["rspamd.service"]),
            ..built_in("rspamd", Path::new("/usr/bin/rspamd"))
        },
        Signer { users: words(&["Debian-exim"]), ..built_in("exim", Path::new("/usr/sbin/exim4")) },
        Signer {
            users: words(&["_dkimsign"]),
            units: words(&["opensmtpd.service"]),
            ..built_in("opensmtpd-filter-dkimsign", Path::new("/usr/libexec/opensmtpd/filter-dkimsign"))
        },
        Signer {
            script: Some(milter.to_path_buf()),
            users: words(&["dkimpy-milter", "root"]),
            units: words(&["dkimpy-milter.service"]),
            ..built_in("dkimpy-milter", &interpreter(host, milter))
        },
    ]
}

/// The built-in signers as they are expected in a container that was there as the watch began: in it and in what takes its
/// place, of the same image and name, its program the image's own, and for its own keys.
#[must_use]
pub fn in_container(keyed: &Keyed, signers: &[Signer]) -> Vec<Signer> {
    // What an ordinary user runs, and what has no name of its own to be known by again (every pod of a set is called alike), is
    // left to the configuration.
    let (None, Some(name), None) = (keyed.owner, &keyed.details.name, &keyed.details.pod) else { return Vec::new() };
    let Some(image) = keyed.details.image.as_ref().and_then(|image| image.id.clone().or_else(|| image.name.clone()))
    else {
        return Vec::new();
    };
    // A key in the root has another path in the next container; in a volume or folder the next key lies beside it.
    let keys: Vec<PathBuf> = match keyed.keys.iter().any(|key| key.root.is_some()) {
        true => Vec::new(),
        false => keyed.keys.iter().filter_map(|key| key.path.parent()).map(Path::to_owned).collect(),
    };
    let of_it = |signer: &&Signer| signer.built_in && signer.script.is_none();
    let expected = |signer: &Signer| Signer {
        name: format!("{} in {}", signer.name, keyed.called()),
        units: Vec::new(),
        containers: vec![name.clone()],
        images: vec![image.clone()],
        keys: keys.clone(),
        ..signer.clone()
    };
    signers.iter().filter(of_it).map(expected).collect()
}

fn built_in(name: &str, executable: &Path) -> Signer {
    Signer {
        name: name.to_owned(),
        executable: executable.to_path_buf(),
        script: None,
        users: Vec::new(),
        units: Vec::new(),
        containers: Vec::new(),
        images: Vec::new(),
        keys: Vec::new(),
        built_in: true,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The program that `execve` runs for `script`, links resolved; Debian's python where there is no such script.
fn interpreter(host: &Host, script: &Path) -> PathBuf {
    const PYTHON: &str = "/usr/bin/python3";
    // The kernel reads the first 256 bytes (BINPRM_BUF_SIZE).
    let head = host.head(script, 256).unwrap_or_default();
    let named = named_interpreter(&head).and_then(|words| match words {
        (program, Some(argument)) if program == Path::new("/usr/bin/env") => ["/usr/local/bin", "/usr/bin", "/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(&argument))
            .find(|program| host.resolved(program).is_some()),
        (program, _) => Some(program),
    });
    let program = named.unwrap_or_else(|| PathBuf::from(PYTHON));
    host.resolved(&program).unwrap_or(program)
}

/// Program and first argument of a `#!` line (execve(2)).
fn named_interpreter(head: &[u8]) -> Option<(PathBuf, Option<PathBuf>)> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(path_of);
    let program = words.next().filter(|program| program.is_absolute())?;
    Some((program, words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn the_milter_runs_what_its_first_line_names() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        let host = Host::at(root.path());
        let executable = || profiles(&host).pop().unwrap().executable;
        assert_eq!(executable(), Path::new("/usr/bin/python3"), "not installed");
        fs::write(bin.join("python3.11"), "").unwrap();
        symlink("python3.11", bin.join("python3")).unwrap();
        for first_line in ["#!/usr/bin/python3\n", "#! /usr/bin/python3 -Es\nimport", "#!/usr/bin/env python3\n"] {
            fs::write(bin.join("dkimpy-milter"), first_line).unwrap();
            assert_eq!(executable(), Path::new("/usr/bin/python3.11"), "{first_line}");
        }
        fs::write(bin.join("dkimpy-milter"), b"\x7fELF\xff").unwrap();
        assert_eq!(executable(), Path::new("/usr/bin/python3.11"));
    }

    #[test]
    fn only_exim_is_free_of_a_unit() {
        let host = Host::at("/nonexistent");
        for profile in profiles(&host) {
            assert_eq!(profile.units.is_empty(), profile.name == "exim", "{}", profile.name);
            assert!(profile.built_in && !profile.users.is_empty());
        }
    }
}
