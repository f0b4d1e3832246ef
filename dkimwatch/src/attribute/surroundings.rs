//! Where attribution gets what the record does not hold: this host, or a story's recorded one.

use std::path::PathBuf;

use dkimwatch_common::identity::FileId;

use super::{Mapped, accounts::Accounts, maps, packages::Packages, processes, processes::Processes};

/// What attribution asks beside the record. No answer may wait for anything slow.
pub trait Surroundings {
    /// A user's name.
    fn user(&mut self, uid: u32) -> Option<String>;
    /// A group's name.
    fn group(&mut self, gid: u32) -> Option<String>;
    /// The package that owns an executable's path in this mount namespace, where known already.
    fn package(&mut self, path: &[u8]) -> Option<String>;
    /// The executable's path of a process that started `start_ns` after boot, while it lives; `exe` is its file as the
    /// record has it.
    fn executable(&mut self, pid: u32, start_ns: u64, exe: Option<FileId>) -> Option<PathBuf>;
    /// The command line of a process that started `start_ns` after boot, while it lives.
    fn command_line(&mut self, pid: u32, start_ns: u64) -> Option<Vec<Vec<u8>>>;
    /// Whether no package owns a path in this mount namespace, where that is known already.
    fn unowned(&mut self, path: &[u8]) -> Option<bool>;
    /// What a process that started `start_ns` after boot has mapped as code, and the marks of its environment, while it
    /// lives.
    fn code(&mut self, pid: u32, start_ns: u64) -> Option<(Vec<Mapped>, u32)>;
    /// The mount namespace in which paths mean something here; `None` when unknown.
    fn mnt_ns(&self) -> Option<u32>;
    /// The pid namespace of the host; `None` when unknown.
    fn pid_ns(&self) -> Option<u32>;
    /// The wall-clock time of the boot by the present clock, nanoseconds since the Unix epoch.
    fn boot_unix_ns(&self) -> i128;
}

/// This host.
#[derive(Debug)]
pub struct Host {
    users: Accounts,
    groups: Accounts,
    packages: Packages,
    processes: Processes,
    mnt_ns: Option<u32>,
    pid_ns: Option<u32>,
}

impl Host {
    /// This host; begins to index its packages on a thread of its own.
    #[must_use]
    pub fn new() -> Self {
        Self {
            users: Accounts::new("/etc/passwd"),
            groups: Accounts::new("/etc/group"),
            packages: Packages::of_this_host(),
            processes: Processes::default(),
            mnt_ns: own_namespace("mnt"),
            pid_ns: own_namespace("pid"),
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Surroundings for Host {
    fn user(&mut self, uid: u32) -> Option<String> {
        self.users.name(uid)
    }

    fn group(&mut self, gid: u32) -> Option<String> {
        self.groups.name(gid)
    }

    fn package(&mut self, path: &[u8]) -> Option<String> {
        self.packages.owner(path)
    }

    fn executable(&mut self, pid: u32, start_ns: u64, exe: Option<FileId>) -> Option<PathBuf> {
        self.processes.executable(pid, start_ns, exe)
    }

    fn command_line(&mut self, pid: u32, start_ns: u64) -> Option<Vec<Vec<u8>>> {
        processes::command_line(pid, start_ns)
    }

    fn unowned(&mut self, path: &[u8]) -> Option<bool> {
        self.packages.unowned(path)
    }

    fn code(&mut self, pid: u32, start_ns: u64) -> Option<(Vec<Mapped>, u32)> {
        maps::of(pid, start_ns)
    }

    fn mnt_ns(&self) -> Option<u32> {
        self.mnt_ns
    }

    fn pid_ns(&self) -> Option<u32> {
        self.pid_ns
    }

    /// Taken anew for each access: the wall clock is set and slewed, and the time since boot is not.
    fn boot_unix_ns(&self) -> i128 {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let ns = |time: Timespec| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        ns(clock_gettime(ClockId::Realtime)) - ns(clock_gettime(ClockId::Boottime))
    }
}

/// The inode number of a namespace of this process, which is how the kernel names it in a record (namespaces(7)).
fn own_namespace(kind: &str) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/self/ns/{kind}")).ok().and_then(|ns| u32::try_from(ns.ino()).ok())
}

#[cfg(test)]
mod tests {
    use super::{Host, Surroundings as _};

    #[test]
    fn this_host_knows_root_and_the_time() {
        let mut host = Host::new();
        assert_eq!(host.user(0).as_deref(), Some("root"));
        assert_eq!(host.group(0).as_deref(), Some("root"));
        assert!(host.mnt_ns().is_some());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let boot = u128::try_from(host.boot_unix_ns()).expect("after 1970");
        assert!(boot > 0 && boot < now.as_nanos(), "{boot}");
    }
}
