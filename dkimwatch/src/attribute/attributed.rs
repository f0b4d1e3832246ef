//! The noun of the second stage: an access with the names that people use.

use super::{Code, Container};
use crate::{containers::Enrichment, decode::Access};

/// An access, and what the numbers in it mean on this host.
#[derive(Clone, Debug)]
pub struct AttributedAccess {
    /// The access.
    pub access: Access,
    /// Names of the ids, where passwd(5) and group(5) know them.
    pub names: Names,
    /// The container it ran in, by its cgroup's names.
    pub container: Option<Container>,
    /// What is known of it beside its id.
    pub enrichment: Enrichment,
    /// It was put into its container (`docker exec`, nsenter(1)), or a process that it was forked from was: it is not of the
    /// container's own tree. False where that is not known, as of a process older than the watch.
    pub entered: bool,
    /// The systemd unit (`.service`, `.scope`) of its cgroup path: the outermost one, which the system's manager named.
    pub unit: Option<String>,
    /// The executable, as a person would name it.
    pub executable: Executable,
    /// What runs in its process beside its program; known of signers only.
    pub code: Code,
    /// Executables of the ancestors, in their order, where `/proc` still knew them.
    pub ancestor_executables: Vec<Option<std::path::PathBuf>>,
    /// Wall-clock time of the access (`boot_ns` plus the boot time), nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// Wall-clock start of the process, nanoseconds since the Unix epoch.
    pub process_start_unix_ns: i128,
}

/// Ids as the process's own user namespace has them; `None` where it has none for the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerIds {
    /// Real user.
    pub real_user: Option<u32>,
    /// Effective user.
    pub user: Option<u32>,
    /// Effective group.
    pub group: Option<u32>,
}

impl AttributedAccess {
    /// Its ids within, if it runs in a container or in a user namespace of its own. `None` where they are not known.
    #[must_use]
    pub fn inner_ids(&self) -> Option<InnerIds> {
        let process = &self.access.process;
        let (creds, maps) = (process.creds.known()?, process.id_maps.known()?);
        let is_apart = self.container.is_some() || !maps.users.is_identity() || !maps.groups.is_identity();
        is_apart.then(|| InnerIds {
            real_user: maps.users.inner(creds.uid),
            user: maps.users.inner(creds.euid),
            group: maps.groups.inner(creds.egid),
        })
    }

    /// Whether it entered its container from outside; `None`: it runs in none, or in one whose own processes look the same.
    #[must_use]
    pub fn has_entered(&self) -> Option<bool> {
        let details = self.enrichment.details();
        let is_told = self.container.is_some() && !details.is_some_and(|details| details.joins_pid_namespace);
        is_told.then_some(self.entered)
    }

    /// Whether its paths are its container's: it was not put into the container with a root of its own elsewhere.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.container.is_some() && !self.access.file.path_in_fs
    }

    /// The name that the container's own files have for one of [`Self::inner_ids`].
    #[must_use]
    pub fn inner_user(&self, id: u32) -> Option<&str> {
        self.enrichment.details().and_then(|details| details.users.get(&id)).map(String::as_str)
    }
}

/// Names of user and group ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of the real uid.
    pub real_user: Option<String>,
    /// Of the effective uid.
    pub user: Option<String>,
    /// Of the effective gid.
    pub group: Option<String>,
    /// Of the login uid.
    pub login_user: Option<String>,
}

/// The executable, as a person would name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Its path: the kernel's, when what `mm->exe_file` claims is what was executed; else the path given to `execve`.
    pub path: Option<Vec<u8>>,
    /// `mm->exe_file` is not the file that was executed: the process has changed what `/proc/PID/exe` says.
    pub claim_differs: bool,
    /// The package that owns the path (dpkg(1) or rpm(8)).
    pub package: Option<String>,
}
