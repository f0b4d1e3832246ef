//! A raw record in readable form, as a story keeps it.

use dkimwatch_common::{
    identity::FileId,
    record::{Kind, Via},
    tally::{HOOKS, Hook},
    watch::file_watch,
};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    decode::{
        Access, Ancestor, Args, Cgroup, ClaimedExe, Creds, Fact, Image, ImageSource, KernelPath, Namespaces, OpenMode,
        OpenedFile, Process, Ring,
    },
    escape,
};

/// Text that stands for bytes: escaped as [`escape`] says.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        escape::bytes(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{text}` has a `\\` that is neither `\\\\` nor `\\xNN`")))
    }
}

/// `MAJOR:MINOR/INODE`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Id(pub(super) FileId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_id(&text).map(Self).ok_or_else(|| D::Error::custom(format!("`{text}` is not MAJOR:MINOR/INODE")))
    }
}

fn parse_id(text: &str) -> Option<FileId> {
    let (device, inode) = text.split_once('/')?;
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(())?;
    Some(FileId::new(major << 20 | minor, inode.parse().ok()?))
}

/// Permission bits or flags, in octal: `0600`, `0100600`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octal(pub(super) u32);

impl<'de> Deserialize<'de> for Octal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8).map(Self).map_err(|_| D::Error::custom(format!("`{text}` is not octal")))
    }
}

/// A fact: its value, `"unreadable"`, or left out when it was not asked.
#[derive(Clone, Debug)]
struct Recorded<T>(Fact<T>);

impl<T> Default for Recorded<T> {
    fn default() -> Self {
        Self(Fact::NotAsked)
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Recorded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value == "unreadable" {
            return Ok(Self(Fact::Unreadable));
        }
        serde_json::from_value(value).map(|value| Self(Fact::Known(value))).map_err(D::Error::custom)
    }
}

/// One record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// What happened, for people.
    #[serde(rename = "what")]
    _what: Option<String>,
    #[serde(default)]
    kind: RecordKind,
    #[serde(default)]
    via: Backend,
    /// The hook's name; by default the one that the backend opens with.
    hook: Option<String>,
    #[serde(default)]
    ring: RingName,
    boot_ns: u64,
    sequence: u64,
    #[serde(default)]
    cpu: u32,
    /// 0 or a negative errno.
    #[serde(default)]
    outcome: Recorded<i32>,
    file: File,
    process: Subject,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RecordKind {
    #[default]
    Open,
    Data,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Backend {
    #[default]
    Lsm,
    Fentry,
    Tracepoint,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RingName {
    #[default]
    Stranger,
    Signer,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Watch {
    #[default]
    Armed,
    Born,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Id,
    #[serde(default)]
    dir: Id,
    #[serde(default)]
    generation: u32,
    mode: Octal,
    uid: u32,
    gid: u32,
    nlink: u32,
    #[serde(default)]
    path: Recorded<Text>,
    #[serde(default)]
    unlinked: bool,
    tag: u32,
    #[serde(default)]
    watch: Watch,
    #[serde(default)]
    open: Recorded<Open>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    /// `O_*`, octal.
    flags: Octal,
    /// `FMODE_*`, octal.
    mode: Octal,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    pid: u32,
    /// The process's first thread, if left out.
    tid: Option<u32>,
    #[serde(default)]
    inner_pid: Recorded<u32>,
    start_ns: u64,
    #[serde(default)]
    creds: Recorded<Credentials>,
    #[serde(default)]
    login: Recorded<Login>,
    #[serde(default)]
    namespaces: Recorded<NamespaceNumbers>,
    #[serde(default)]
    cgroup: Recorded<Group>,
    comm: Text,
    #[serde(default)]
    image: Recorded<Program>,
    #[serde(default)]
    claimed: Recorded<Claim>,
    #[serde(default)]
    args: Recorded<Vec<Text>>,
    #[serde(default)]
    args_cut: bool,
    #[serde(default)]
    kernel_thread: bool,
    #[serde(default)]
    io_worker: bool,
    #[serde(default)]
    ancestors: Vec<Forebear>,
    #[serde(default)]
    ancestors_cut: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// Real, effective, saved, file-system user.
    users: [u32; 4],
    /// Real, effective, saved, file-system group.
    groups: [u32; 4],
    #[serde(default)]
    capabilities: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    uid: Option<u32>,
    session: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceNumbers {
    mnt: u32,
    pid: u32,
    net: u32,
    uts: u32,
    ipc: u32,
    cgroup: u32,
    user: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    id: u64,
    path: Text,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    id: Id,
    uid: u32,
    gid: u32,
    mode: Octal,
    nlink: u32,
    ctime: u64,
    mnt_ns: u32,
    #[serde(default)]
    path: Text,
    #[serde(default)]
    source: Source,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    #[default]
    Exec,
    OlderThanWatch,
    AtAccess,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    id: Id,
    path: Text,
    #[serde(default)]
    unlinked: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forebear {
    pid: u32,
    start_ns: u64,
    uid: u32,
    comm: Text,
    exe: Option<Id>,
}

impl Record {
    /// The access; an error names a hook that does not exist.
    pub(super) fn access(self) -> Result<Access, String> {
        let (via, usual) = match self.via {
            Backend::Lsm => (Via::Lsm, Hook::LsmFileOpen),
            Backend::Fentry => (Via::Fentry, Hook::FexitFileOpen),
            Backend::Tracepoint => (Via::Tracepoint, Hook::SysExitOpen),
        };
        let hook = match &self.hook {
            None => usual,
            Some(name) => HOOKS
                .into_iter()
                .find(|hook| hook.name() == name)
                .ok_or_else(|| format!("hook: there is no `{name}`"))?,
        };
        Ok(Access {
            kind: match self.kind {
                RecordKind::Open => Kind::Open,
                RecordKind::Data => Kind::Data,
            },
            via,
            hook,
            ring: match self.ring {
                RingName::Stranger => Ring::Stranger,
                RingName::Signer => Ring::Signer,
            },
            boot_ns: self.boot_ns,
            sequence: self.sequence,
            cpu: self.cpu,
            outcome: self.outcome.0.map(|raw| if raw < 0 { Err(raw.wrapping_neg()) } else { Ok(()) }),
            file: self.file.opened(),
            process: self.process.process(),
        })
    }
}

/// A path is cut when it begins so.
fn kernel_path(text: Text) -> KernelPath {
    let cut = text.0.starts_with(crate::decode::CUT_PREFIX);
    KernelPath { bytes: text.0, cut }
}

impl File {
    fn opened(self) -> OpenedFile {
        OpenedFile {
            id: self.id.0,
            dir: self.dir.0,
            generation: self.generation,
            watch_generation: self.generation,
            mode: self.mode.0,
            uid: self.uid,
            gid: self.gid,
            nlink: self.nlink,
            path: self.path.0.map(kernel_path),
            unlinked: self.unlinked,
            tag: self.tag,
            watch_kind: match self.watch {
                Watch::Armed => file_watch::ARMED,
                Watch::Born => file_watch::BORN,
            },
            open: self.open.0.map(|open| OpenMode { flags: open.flags.0, mode: open.mode.0 }),
        }
    }
}

impl Subject {
    fn process(self) -> Process {
        let cut = self.args_cut;
        Process {
            pid: self.pid,
            tid: self.tid.unwrap_or(self.pid),
            inner_pid: self.inner_pid.0,
            start_ns: self.start_ns,
            creds: self.creds.0.map(|creds| {
                let ([uid, euid, suid, fsuid], [gid, egid, sgid, fsgid]) = (creds.users, creds.groups);
                Creds { uid, euid, suid, fsuid, gid, egid, sgid, fsgid, cap_effective: creds.capabilities }
            }),
            login_uid: self.login.0.clone().map(|login| login.uid),
            session: self.login.0.map(|login| login.session),
            namespaces: self.namespaces.0.map(|ns| Namespaces {
                mnt: ns.mnt,
                pid: ns.pid,
                net: ns.net,
                uts: ns.uts,
                ipc: ns.ipc,
                cgroup: ns.cgroup,
                user: ns.user,
            }),
            cgroup: self.cgroup.0.map(|group| {
                let path = kernel_path(group.path);
                Cgroup { id: group.id, path: path.bytes, cut: path.cut }
            }),
            comm: self.comm.0,
            image: self.image.0.map(|image| Image {
                id: image.id.0,
                uid: image.uid,
                gid: image.gid,
                mode: image.mode.0,
                nlink: image.nlink,
                ctime: image.ctime,
                mnt_ns: image.mnt_ns,
                path: image.path.0,
                source: match image.source {
                    Source::Exec => ImageSource::Exec,
                    Source::OlderThanWatch => ImageSource::OlderThanWatch,
                    Source::AtAccess => ImageSource::AtAccess,
                },
            }),
            claimed: self.claimed.0.map(|claim| ClaimedExe {
                id: claim.id.0,
                path: kernel_path(claim.path),
                unlinked: claim.unlinked,
            }),
            args: self.args.0.map(|list| Args { list: list.into_iter().map(|arg| arg.0).collect(), cut }),
            kernel_thread: self.kernel_thread,
            io_worker: self.io_worker,
            ancestors: self
                .ancestors
                .into_iter()
                .map(|one| Ancestor {
                    pid: one.pid,
                    start_ns: one.start_ns,
                    uid: one.uid,
                    comm: one.comm.0,
                    exe: one.exe.map(|id| id.0),
                })
                .collect(),
            ancestors_cut: self.ancestors_cut,
        }
    }
}
