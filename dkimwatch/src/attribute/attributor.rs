//! The stage itself.

use std::path::PathBuf;

use super::{AttributedAccess, Executable, Host, Names, Surroundings, container, unit};
use crate::decode::{Access, Process};

/// Gives accesses the names that people use.
#[derive(Debug)]
pub struct Attributor<S = Host> {
    surroundings: S,
}

impl Attributor<Host> {
    /// For accesses of this host.
    #[must_use]
    pub fn for_this_host() -> Self {
        Self::new(Host::new())
    }
}

impl<S: Surroundings> Attributor<S> {
    /// With surroundings of one's own, as a replay has them.
    pub const fn new(surroundings: S) -> Self {
        Self { surroundings }
    }

    /// An access with its names. Whatever is not known stays unknown; the access itself always comes out.
    pub fn attribute(&mut self, access: Access) -> AttributedAccess {
        let boot = self.surroundings.boot_unix_ns();
        let cgroup = access.process.cgroup.known();
        AttributedAccess {
            names: self.names(&access.process),
            container: cgroup.and_then(container),
            unit: cgroup.and_then(unit),
            executable: self.executable(&access.process),
            ancestor_executables: self.ancestor_executables(&access.process),
            unix_ns: boot + i128::from(access.boot_ns),
            process_start_unix_ns: boot + i128::from(access.process.start_ns),
            access,
        }
    }

    fn names(&mut self, process: &Process) -> Names {
        let creds = process.creds.known();
        let login = process.login_uid.known().copied().flatten();
        Names {
            real_user: creds.and_then(|creds| self.surroundings.user(creds.uid)),
            user: creds.and_then(|creds| self.surroundings.user(creds.euid)),
            group: creds.and_then(|creds| self.surroundings.group(creds.egid)),
            login_user: login.and_then(|uid| self.surroundings.user(uid)),
        }
    }

    fn executable(&mut self, process: &Process) -> Executable {
        let (image, claimed) = (process.image.known(), process.claimed.known());
        let Some(image) = image else {
            // Without an identity from exec, what the process claims is all there is, and nothing to compare it with.
            return Executable { path: claimed.map(|claimed| claimed.path.bytes.clone()), ..Executable::default() };
        };
        let Some(claimed) = claimed.filter(|claimed| claimed.id == image.id) else {
            let path = (!image.path.is_empty()).then(|| image.path.clone());
            return Executable { path, claim_differs: claimed.is_some(), package: None };
        };
        // A path names a package's file only where the package manager installs, and only while the file is there.
        let here = self.surroundings.mnt_ns() == Some(image.mnt_ns);
        let whole = !claimed.path.cut && !claimed.unlinked && image.nlink > 0;
        let package = (here && whole).then(|| self.surroundings.package(&claimed.path.bytes)).flatten();
        Executable { path: Some(claimed.path.bytes.clone()), claim_differs: false, package }
    }

    fn ancestor_executables(&mut self, process: &Process) -> Vec<Option<PathBuf>> {
        process.ancestors.iter().map(|one| self.surroundings.executable(one.pid, one.start_ns, one.exe)).collect()
    }
}
