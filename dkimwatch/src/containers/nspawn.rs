//! systemd-nspawn: `/var/lib/machines/NAME`, and `NAME.nspawn` where an administrator has put one (systemd.nspawn(5)).

use std::path::{Path, PathBuf};

use super::{
    Details, MOST, Mount, NotFound,
    json::{absolute, cut},
};
use crate::{
    decode::{IdMap, IdRange},
    host::{Host, LONGEST_CONF, Presence, ReadError},
};

/// Where machines are (machinectl(1)).
const MACHINES: &str = "/var/lib/machines";

/// Where settings count that give something of the host's away. Those beside a machine do not: whoever made it could have written them.
const SETTINGS: [&str; 2] = ["/etc/systemd/nspawn", "/run/systemd/nspawn"];

/// Ids that a machine gets, unless it is said how many.
const IDS: u32 = 65_536;

/// Looks for a machine. One that is no folder (an image on a loop device) is at no path of the host.
pub(super) fn find(host: &Host, name: &str) -> Result<Option<Details>, NotFound> {
    // One name, no way out of the folder.
    if name.contains('/') || name == "." || name == ".." {
        return Ok(None);
    }
    let root = Some(Path::new(MACHINES).join(name)).filter(|root| host.presence(root) == Presence::Folder);
    let settings = settings(host, name)?;
    if root.is_none() && settings.is_none() {
        return Ok(None);
    }
    let mut found = Details { name: Some(cut(name)), root, ..Details::default() };
    for (section, key, value) in entries(settings.as_deref().unwrap_or_default()) {
        match (section, key) {
            ("Files", "Bind" | "BindReadOnly") if found.mounts.len() < MOST => {
                found.mounts.extend(bound(value, found.root.as_deref()))
            }
            ("Exec", "PrivateUsers") => found.uid_map = id_map(value),
            _ => {}
        }
    }
    Ok(Some(found))
}

/// Every machine. One that cannot be read is passed over.
pub(super) fn all(host: &Host) -> Vec<(String, Details)> {
    let names = host.names(Path::new(MACHINES)).into_iter().take(MOST).filter_map(|name| name.into_string().ok());
    names.filter_map(|name| Some((name.clone(), find(host, &name).ok()??))).collect()
}

/// The folders in which something happens when a machine comes.
pub(super) fn folders(host: &Host) -> Vec<PathBuf> {
    [MACHINES].into_iter().chain(SETTINGS).map(PathBuf::from).filter(|folder| host.is_own_folder(folder)).collect()
}

/// The text of its settings. The first file that is there counts, as for systemd-nspawn.
fn settings(host: &Host, name: &str) -> Result<Option<String>, NotFound> {
    for folder in SETTINGS {
        let path = Path::new(folder).join(format!("{name}.nspawn"));
        match host.read(&path, LONGEST_CONF) {
            Ok(text) => return Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(ReadError::Missing) => {}
            Err(error) => return Err(NotFound::Unreadable { path, why: error.to_string() }),
        }
    }
    Ok(None)
}

/// Section, key and value of each line.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            return None;
        }
        line.split_once('=').map(|(key, value)| (section, key.trim(), value.trim()))
    })
}

/// `SOURCE`, `SOURCE:DESTINATION` or `SOURCE:DESTINATION:OPTIONS`; `\:` is a colon, and `+` before the source means the machine's own.
fn bound(value: &str, root: Option<&Path>) -> Option<Mount> {
    let mut parts = vec![String::new()];
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => parts.push(String::new()),
            '\\' => parts.last_mut()?.extend(letters.next()),
            letter => parts.last_mut()?.push(letter),
        }
    }
    // One that need not be there.
    let source = parts.first()?.trim_start_matches('-');
    let destination = parts.get(1).filter(|destination| !destination.is_empty());
    let destination = absolute(destination.map_or(source.trim_start_matches('+'), String::as_str))?;
    let source = match source.strip_prefix('+') {
        Some(own) => root?.join(own.trim_start_matches('/')),
        None => absolute(source)?,
    };
    Some(Mount { source, destination, volume: None })
}

/// `FIRST` or `FIRST:COUNT`. Of the words (`pick`, `identity`) the numbers are known once it runs, from the kernel.
fn id_map(value: &str) -> Option<IdMap> {
    let (first, count) = value.split_once(':').unwrap_or((value, ""));
    let count = if count.is_empty() { IDS } else { count.parse().ok()? };
    Some(IdMap(vec![IdRange { inner: 0, host: first.parse().ok()?, count }]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_machine_is_its_folder_and_what_the_administrator_gives_it() {
        let lab = tempfile::tempdir().expect("a folder");
        for folder in ["var/lib/machines/mail/etc", "etc/systemd/nspawn"] {
            fs::create_dir_all(lab.path().join(folder)).expect("made");
        }
        let settings = "[Exec]\nPrivateUsers=655360:65536\n[Files]\n# Bind=/no\nBindReadOnly=/srv/keys:/etc/dkimkeys:idmap\n\
                        Bind=/srv/a\\:b\nBind=+/opt/own:/own\nBind=relative\n[Network]\nBind=/no\n";
        fs::write(lab.path().join("etc/systemd/nspawn/mail.nspawn"), settings).expect("written");
        let host = Host::at(lab.path());
        let found = find(&host, "mail").expect("read").expect("there");
        assert_eq!(found.root.as_deref(), Some(Path::new("/var/lib/machines/mail")));
        assert_eq!(found.uid_map, Some(IdMap(vec![IdRange { inner: 0, host: 655_360, count: 65_536 }])));
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
            volume: None,
        };
        assert_eq!(
            found.mounts,
            [
                mount("/srv/keys", "/etc/dkimkeys"),
                mount("/srv/a:b", "/srv/a:b"),
                mount("/var/lib/machines/mail/opt/own", "/own"),
            ]
        );
        assert_eq!(all(&host).len(), 1);
        assert_eq!(find(&host, "other"), Ok(None));
        assert_eq!(find(&host, "../mail"), Ok(None));
        assert_eq!(id_map("pick"), None);
    }
}
