//! May this file decide what counts as an alert? Only if nobody but root and the running user can change it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{ConfigError, Fault, Place};
use crate::escape;

/// Refuses a configuration that others can change: the file itself, or a folder on the way to it (both as named and
/// with links resolved), where they could put another in its place. A sticky folder such as `/tmp` does not let them.
pub(super) fn check(file: &Path) -> Result<(), ConfigError> {
    let refuse = |fault| ConfigError::new(Place::file(file), fault);
    let me = rustix::process::geteuid().as_raw();
    let named = std::path::absolute(file).map_err(|error| refuse(Fault::Unreadable(error)))?;
    let real = named.canonicalize().map_err(|error| {
        refuse(if error.kind() == io::ErrorKind::NotFound { Fault::Missing } else { Fault::Unreadable(error) })
    })?;
    let mut asked: Vec<&Path> = vec![&real];
    asked.extend(real.ancestors().skip(1));
    asked.extend(named.ancestors().skip(1));
    for path in asked {
        let metadata = fs::metadata(path).map_err(|error| refuse(Fault::Unreadable(error)))?;
        let what = if path == real { "this file".to_owned() } else { format!("its folder {}", escape::path(path)) };
        if let Some(fault) =
            fault(path, what, metadata.uid(), metadata.permissions().mode() & 0o7777, metadata.is_dir(), me)
        {
            return Err(refuse(fault));
        }
    }
    Ok(())
}

/// What is wrong with an owner and a mode, for a process of user `me`.
fn fault(path: &Path, what: String, uid: u32, mode: u32, folder: bool, me: u32) -> Option<Fault> {
    let path = PathBuf::from(path);
    if uid != 0 && uid != me {
        return Some(Fault::Owner { path, what, uid });
    }
    if folder && mode & 0o1000 != 0 {
        return None;
    }
    let who = match (mode & 0o020, mode & 0o002) {
        (_, 0o002) => "everybody",
        (0o020, _) => "its group",
        _ => return None,
    };
    Some(Fault::Writable { path, what, who, mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_and_mode() {
        let ask = |uid, mode, folder| fault(Path::new("/c"), "this file".into(), uid, mode, folder, 1000);
        assert!(ask(0, 0o644, false).is_none());
        assert!(ask(1000, 0o600, false).is_none());
        assert!(ask(0, 0o1777, true).is_none(), "/tmp");
        assert!(matches!(ask(33, 0o600, false), Some(Fault::Owner { uid: 33, .. })));
        assert!(matches!(ask(33, 0o1777, true), Some(Fault::Owner { .. })));
        assert!(matches!(ask(0, 0o664, false), Some(Fault::Writable { who: "its group", .. })));
        assert!(
            matches!(ask(0, 0o1666, false), Some(Fault::Writable { who: "everybody", .. })),
            "sticky only helps a folder"
        );
        assert!(matches!(ask(0, 0o777, true), Some(Fault::Writable { who: "everybody", .. })));
    }
}
