//! Command lines that systemd would start (systemd.service(5), `ExecStart=`): a signer that does not run yet has its
//! options there alone.

use std::path::{Path, PathBuf};

use super::findings::{Findings, at_line};
use crate::host::{Host, path_of};

/// Where units lie; a unit of one name in two of them is read twice, as an overridden command line does no harm here.
const FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// A command line of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its place: file and line.
    pub(super) place: String,
    /// Its arguments, without the program.
    pub(super) args: Vec<Vec<u8>>,
}

/// What the units named `NAME.service`, `NAME@….service` and their drop-ins start `program` with.
pub(super) fn commands(host: &Host, name: &str, program: &Path, findings: &mut Findings<'_>) -> Vec<Command> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS.map(Path::new) {
        for unit in host.names(folder) {
            let Some(text) = unit.to_str() else { continue };
            let Some(rest) = text.strip_prefix(name).filter(|rest| rest.starts_with(['.', '@'])) else { continue };
            let path = folder.join(&unit);
            if rest.ends_with(".service.d") {
                files.extend(host.names(&path).into_iter().map(|drop_in| path.join(drop_in)));
            } else if rest.ends_with(".service") {
                files.push(path);
            }
        }
    }
    let mut commands: Vec<Command> = Vec::new();
    for file in files {
        // A masked unit is a link to /dev/null.
        let Ok(bytes) = host.read(&file) else { continue };
        findings.table(&file);
        for (line, words) in exec_starts(&bytes) {
            let Some((first, args)) = words.split_first() else { continue };
            let first = first.iter().position(|byte| !b"-@:+!|".contains(byte)).and_then(|at| first.get(at..));
            // A word with a variable is not known before systemd fills it in.
            let args: Vec<_> = args.iter().filter(|word| !word.contains(&b'$')).cloned().collect();
            if first.is_some_and(|first| path_of(first) == program) && !commands.iter().any(|known| known.args == args)
            {
                commands.push(Command { place: at_line(&file, line), args });
            }
        }
    }
    commands
}

/// The words of each `ExecStart=`, continuation lines joined.
fn exec_starts(bytes: &[u8]) -> Vec<(usize, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    while let Some((number, line)) = lines.next() {
        let Some(value) = line.trim_ascii().strip_prefix(b"ExecStart") else { continue };
        let Some(mut value) = value.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::to_vec) else { continue };
        while value.ends_with(b"\\") {
            value.pop();
            let Some((_, next)) = lines.next() else { break };
            value.push(b' ');
            value.extend_from_slice(next.trim_ascii_end());
        }
        found.push((number, super::options::shell_words(&value)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn units_and_drop_ins() {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("etc/systemd/system");
        fs::create_dir_all(units.join("opendkim.service.d")).unwrap();
        let write = |name: &str, text: &str| fs::write(units.join(name), text).unwrap();
        write("opendkim@.service", "[Service]\nExecStart=-/usr/sbin/opendkim -x \\\n  \"/etc/a b.conf\" $OPTIONS\n");
        write(
            "opendkim.service.d/x.conf",
            "[Service]\nExecStart=\nExecStart = /usr/sbin/opendkim -x /etc/two.conf\nExecStart",
        );
        write("opendkimx.service", "ExecStart=/usr/sbin/opendkim -x /no\n");
        write("opendkim.service", "ExecStart=/bin/other -x /no\nExecStart=\\");
        let host = Host::at(root.path());
        let mut findings = Findings::new(&host);
        let found = commands(&host, "opendkim", Path::new("/usr/sbin/opendkim"), &mut findings);
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                Command {
                    place: "/etc/systemd/system/opendkim.service.d/x.conf:3".into(),
                    args: words(&["-x", "/etc/two.conf"])
                },
                Command {
                    place: "/etc/systemd/system/opendkim@.service:2".into(),
                    args: words(&["-x", "/etc/a b.conf"])
                },
            ]
        );
    }
}
