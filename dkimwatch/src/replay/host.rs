//! The host that a story happened on: what attribution would have asked it.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use dkimwatch_common::identity::FileId;
use serde::Deserialize;
use uuid::Uuid;

use super::values::Text;
use crate::{
    attribute::{Mapped, Surroundings},
    print::HostFacts,
};

/// The host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoryHost {
    boot_id: String,
    machine_id: Option<String>,
    hostname: String,
    architecture: String,
    kernel: String,
    os_name: Option<String>,
    os_version: Option<String>,
    pid_ns: Option<u32>,
    boot_unix_ns: i64,
    mnt_ns: u32,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    /// By path.
    packages: BTreeMap<String, String>,
    /// By pid: what `/proc/PID/exe` shows of the ancestors that still live.
    executables: BTreeMap<u32, Text>,
    /// By pid: what `/proc/PID/cmdline` shows of a container's monitor.
    #[serde(default)]
    command_lines: BTreeMap<u32, Vec<Text>>,
}

impl StoryHost {
    /// What stands in every event; an error when the boot id is no UUID.
    pub(super) fn facts(&self) -> Result<HostFacts, uuid::Error> {
        Ok(HostFacts {
            boot_id: Uuid::parse_str(&self.boot_id)?,
            machine_id: self.machine_id.clone(),
            hostname: self.hostname.clone(),
            architecture: self.architecture.clone(),
            kernel: self.kernel.clone(),
            os_name: self.os_name.clone(),
            os_version: self.os_version.clone(),
            pid_ns: self.pid_ns,
        })
    }
}

impl Surroundings for StoryHost {
    fn user(&mut self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned()
    }

    fn group(&mut self, gid: u32) -> Option<String> {
        self.groups.get(&gid).cloned()
    }

    fn package(&mut self, path: &[u8]) -> Option<String> {
        self.packages.get(std::str::from_utf8(path).ok()?).cloned()
    }

    fn unowned(&mut self, path: &[u8]) -> Option<bool> {
        Some(self.package(path).is_none())
    }

    /// A story's processes are gone.
    fn code(&mut self, _pid: u32, _start_ns: u64) -> Option<(Vec<Mapped>, u32)> {
        None
    }

    fn executable(&mut self, pid: u32, _start_ns: u64, _exe: Option<FileId>) -> Option<PathBuf> {
        self.executables.get(&pid).map(|text| PathBuf::from(OsString::from_vec(text.0.clone())))
    }

    fn command_line(&mut self, pid: u32, _start_ns: u64) -> Option<Vec<Vec<u8>>> {
        Some(self.command_lines.get(&pid)?.iter().map(|word| word.0.clone()).collect())
    }

    fn mnt_ns(&self) -> Option<u32> {
        Some(self.mnt_ns)
    }

    fn pid_ns(&self) -> Option<u32> {
        self.pid_ns
    }

    fn boot_unix_ns(&self) -> i128 {
        i128::from(self.boot_unix_ns)
    }
}
