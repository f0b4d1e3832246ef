//! What rpm(8) says of a file: it compares the file with its own record of it.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// rpm reads every file of the package; nobody waits for it longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of rpm's answer that are read.
const LONGEST: u64 = 1 << 20;

/// What rpm says of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its bytes are the package's.
    Same(String),
    /// They are not.
    Other(String),
    /// No package owns it, or rpm gave no answer.
    Nothing,
}

/// The rpm program of this host, where there is one.
pub(super) fn program() -> Option<PathBuf> {
    ["/usr/bin/rpm", "/bin/rpm"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// Asks rpm about the file at a path, links resolved.
pub(super) fn verify(rpm: &Path, path: &Path) -> Said {
    let Some(owner) = ask(rpm, &["-qf", "--queryformat", "%{NAME}\\n"], path).filter(|answer| answer.done) else {
        return Said::Nothing;
    };
    let Some(package) = owner.text.lines().next().filter(|line| !line.is_empty()) else { return Said::Nothing };
    let package = crate::escape::text(package.as_bytes());
    // What is asked is the contents: no scripts of the package are run, no other package is looked at.
    let Some(answer) = ask(rpm, &["-Vf", "--nodeps", "--noscripts"], path) else { return Said::Nothing };
    // Nine marks, perhaps a letter for the kind of file, and the path; a file that is as it should be has no line.
    match answer.text.lines().find(|line| line.split_whitespace().next_back().map(Path::new) == Some(path)) {
        None => Said::Same(package),
        Some(line) => match line.as_bytes().get(2) {
            Some(b'.') => Said::Same(package),
            _ => Said::Other(package),
        },
    }
}

struct Answer {
    text: String,
    /// It ended with success.
    done: bool,
}

fn ask(rpm: &Path, arguments: &[&str], path: &Path) -> Option<Answer> {
    let mut child = Command::new(rpm)
        .args(arguments)
        // Absolute, so it is never taken for an option.
        .arg(path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut said = Vec::new();
    let out = child.stdout.take();
    // A child that fills the pipe would never end: read on a thread of its own, which ends with the child.
    let reader = std::thread::spawn(move || {
        let read = out.map(|out| out.take(LONGEST).read_to_end(&mut said));
        (said, matches!(read, Some(Ok(_))))
    });
    let ended = crate::attribute::ends_within(&child, PATIENCE);
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().ok()?;
    let (said, whole) = reader.join().ok()?;
    (ended && whole).then(|| Answer { text: String::from_utf8_lossy(&said).into_owned(), done: status.success() })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A program that answers as rpm 4.18 does.
    fn fake(folder: &Path, verified: &str) -> PathBuf {
        let rpm = folder.join("rpm");
        let script = format!(
            "#!/bin/sh\nfor path; do :; done\ncase \"$1$path\" in\n-qf/usr/sbin/signer) echo signer;;\n-Vf*) printf '{verified}'; exit 1;;\n*) echo \"file $path is not owned by any package\"; exit 1;;\nesac\n"
        );
        fs::write(&rpm, script).unwrap();
        fs::set_permissions(&rpm, fs::Permissions::from_mode(0o755)).unwrap();
        rpm
    }

    #[test]
    fn only_a_digest_that_differs_makes_other_bytes() {
        let signer = Path::new("/usr/sbin/signer");
        for (verified, said) in [
            ("", Said::Same("signer".to_owned())),
            ("S.5....T.  c /etc/signer.conf\\n", Said::Same("signer".to_owned())),
            (".M.......    /usr/sbin/signer\\n", Said::Same("signer".to_owned())),
            ("S.5....T.    /usr/sbin/signer\\n", Said::Other("signer".to_owned())),
            ("..?......    /usr/sbin/signer\\n", Said::Other("signer".to_owned())),
            ("missing      /usr/sbin/signer\\n", Said::Other("signer".to_owned())),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(verify(&fake(folder.path(), verified), signer), said, "{verified}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(verify(&fake(folder.path(), ""), Path::new("/opt/signer")), Said::Nothing);
        assert_eq!(verify(&folder.path().join("none"), signer), Said::Nothing);
    }
}
