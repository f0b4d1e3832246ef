//! The noun of the second stage: an access with the names that people use.

use super::{Code, Container};
use crate::decode::Access;

/// An access, and what the numbers in it mean on this host.
#[derive(Clone, Debug)]
pub struct AttributedAccess {
    /// The access.
    pub access: Access,
    /// Names of the ids, where passwd(5) and group(5) know them.
    pub names: Names,
    /// The container it ran in, by its cgroup's names.
    pub container: Option<Container>,
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
