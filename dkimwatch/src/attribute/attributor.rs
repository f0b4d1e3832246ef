//! The stage itself.

use std::path::PathBuf;

use dkimwatch_common::exec::mark;

use super::{
    AttributedAccess, Code, Container, Executable, Host, Mapped, Names, Surroundings,
    code::{Lineages, variables},
    container, monitor, unit,
};
use crate::{
    containers::Enrichment,
    decode::{Access, Fact, Process, Ring},
};

/// Gives accesses the names that people use.
#[derive(Debug)]
pub struct Attributor<S = Host> {
    surroundings: S,
    lineages: Lineages,
    /// Whether the hooks report what a signer maps.
    records_code: bool,
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
    pub fn new(surroundings: S) -> Self {
        Self { surroundings, lineages: Lineages::default(), records_code: true }
    }

    /// The live backend has no hook on what a signer maps: `/proc` alone can tell.
    #[must_use]
    pub fn without_recorded_code(mut self) -> Self {
        self.records_code = false;
        self
    }

    /// A library that a signer mapped, with what is known of it here.
    pub fn mapped(&mut self, access: &Access) -> Mapped {
        let mut mapped = Mapped::of(access);
        mapped.unowned = self.surroundings.unowned(&mapped.path);
        mapped
    }

    /// Takes note of a library, or (`None`) of one that turned out to be the system's.
    pub fn learn(&mut self, access: &Access, mapped: Option<Mapped>) {
        if let Some(image) = access.process.image.known() {
            self.lineages.learn(image, mapped);
        }
    }

    /// An access with its names. Whatever is not known stays unknown; the access itself always comes out.
    pub fn attribute(&mut self, access: Access) -> AttributedAccess {
        let boot = self.surroundings.boot_unix_ns();
        let cgroup = access.process.cgroup.known();
        let mut container = cgroup.and_then(container).or_else(|| self.monitored(&access.process));
        if let Some(of_a_users) = container.as_mut().filter(|one| one.forgeable && one.bundle.is_none()) {
            of_a_users.bundle = self.monitors_args(&access.process).and_then(|args| monitor::bundle(&args));
        }
        AttributedAccess {
            names: self.names(&access.process),
            container,
            enrichment: Enrichment::None,
            entered: access.process.image.known().is_some_and(|image| image.marks & mark::ENTERED != 0),
            unit: cgroup.and_then(unit),
            executable: self.executable(&access.process),
            code: self.code(&access),
            ancestor_executables: self.ancestor_executables(&access.process),
            unix_ns: boot + i128::from(access.boot_ns),
            process_start_unix_ns: boot + i128::from(access.process.start_ns),
            access,
        }
    }

    /// A container that is told by its monitor alone; or, of one that a user manages, where its configuration lies.
    fn monitored(&mut self, process: &Process) -> Option<Container> {
        let namespaces = process.namespaces.known()?;
        // The engine of a user has a mount namespace of its own, and cleans up as its monitor's child.
        if self.surroundings.mnt_ns() == Some(namespaces.mnt) || self.surroundings.pid_ns() == Some(namespaces.pid) {
            return None;
        }
        monitor::container(&self.monitors_args(process)?)
    }

    fn monitors_args(&mut self, process: &Process) -> Option<Vec<Vec<u8>>> {
        let monitor = process.ancestors.iter().find(|one| one.comm == monitor::CONMON)?;
        // To read a command line is to read a process's memory, which can be made to wait: only of the program itself.
        let program = self.surroundings.executable(monitor.pid, monitor.start_ns, monitor.exe)?;
        monitor::PROGRAMS.iter().any(|known| program == std::path::Path::new(known)).then_some(())?;
        self.surroundings.command_line(monitor.pid, monitor.start_ns)
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

    /// Of a process that runs a signer's program.
    fn code(&mut self, access: &Access) -> Code {
        let process = &access.process;
        let Some(image) = process.image.known().filter(|_| access.ring == Ring::Signer) else { return Code::default() };
        if self.records_code
            && let Some(code) = self.lineages.of(image)
        {
            return code;
        }
        // Forked from each other and never executed anything since, they have mapped the same.
        let kin =
            process.ancestors.iter().take_while(|one| one.exe == Some(image.id)).map(|one| (one.pid, one.start_ns));
        let mut alive = std::iter::once((process.pid, process.start_ns)).chain(kin);
        let Some((files, marks)) = alive.find_map(|(pid, start)| self.surroundings.code(pid, start)) else {
            return Code { variables: variables(image.marks), ..Code::default() };
        };
        let here = self.surroundings.mnt_ns() == Some(image.mnt_ns);
        let with_owner = |mut file: Mapped| {
            file.unowned = if here { self.surroundings.unowned(&file.path) } else { None };
            file
        };
        Code { libraries: Fact::Known(files.into_iter().map(with_owner).collect()), variables: marks }
    }

    fn ancestor_executables(&mut self, process: &Process) -> Vec<Option<PathBuf>> {
        process.ancestors.iter().map(|one| self.surroundings.executable(one.pid, one.start_ns, one.exe)).collect()
    }
}
