//! Facts of the host that stand in every event.

use uuid::Uuid;

/// Facts of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// This boot (`/proc/sys/kernel/random/boot_id`): the namespace of event and process ids.
    pub boot_id: Uuid,
    /// machine-id(5), where there is one.
    pub machine_id: Option<String>,
    /// The host's name (uname(2)).
    pub hostname: String,
    /// The machine's architecture (uname(2)).
    pub architecture: String,
    /// The kernel's release (uname(2)).
    pub kernel: String,
    /// `NAME` of os-release(5).
    pub os_name: Option<String>,
    /// `VERSION_ID` of os-release(5).
    pub os_version: Option<String>,
    /// Inode number of the initial pid namespace, where pids mean something.
    pub pid_ns: Option<u32>,
}

impl HostFacts {
    /// Facts of this host. What cannot be read is left out; without a boot id, ids are only unique within this boot.
    #[must_use]
    pub fn of_this_host() -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let name = rustix::system::uname();
        let os = read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default();
        Self {
            boot_id: read("/proc/sys/kernel/random/boot_id")
                .and_then(|id| Uuid::parse_str(id.trim()).ok())
                .unwrap_or_default(),
            machine_id: read("/etc/machine-id").map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            hostname: name.nodename().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            kernel: name.release().to_string_lossy().into_owned(),
            os_name: os_value(&os, "NAME"),
            os_version: os_value(&os, "VERSION_ID"),
            pid_ns: std::fs::metadata("/proc/1/ns/pid").ok().and_then(|ns| u32::try_from(ns.ino()).ok()),
        }
    }

    /// An id for an event, the same whenever the same event is shown.
    pub(super) fn id(&self, what: &str) -> String {
        Uuid::new_v5(&self.boot_id, what.as_bytes()).to_string()
    }

    /// An id for a process that outlives its pid.
    pub(super) fn entity(&self, pid: u32, start_ns: u64) -> String {
        self.id(&format!("process/{pid}/{start_ns}"))
    }
}

/// A value of os-release(5), its quotes removed.
fn os_value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let bare = bare.or_else(|| value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))).unwrap_or(value);
    (!bare.is_empty()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{HostFacts, os_value};

    #[test]
    fn this_host_has_a_name_and_a_boot() {
        let facts = HostFacts::of_this_host();
        assert!(!facts.boot_id.is_nil());
        assert!(!facts.hostname.is_empty() && !facts.kernel.is_empty() && !facts.architecture.is_empty());
    }

    #[test]
    fn os_release_values_lose_their_quotes() {
        let text = "PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nEMPTY=\n";
        assert_eq!(os_value(text, "NAME").as_deref(), Some("Debian GNU/Linux"));
        assert_eq!(os_value(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_value(text, "EMPTY"), None);
        assert_eq!(os_value(text, "ABSENT"), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let facts = HostFacts::of_this_host();
        assert_eq!(facts.entity(7, 100), facts.entity(7, 100));
        assert_ne!(facts.entity(7, 100), facts.entity(7, 101));
        assert_ne!(facts.entity(7, 100), facts.entity(71, 0));
    }
}
