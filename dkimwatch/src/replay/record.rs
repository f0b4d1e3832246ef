//! A raw record in readable form, as a story keeps it.

use dkimwatch_common::{
    deed::{DEEDS, Deed},
    record::{Kind, Via},
    tally::{HOOKS, Hook},
    watch::file_watch,
};
use serde::Deserialize;

use super::values::{Id, Octal, Recorded, Text};
use crate::decode::{
    Access, Ancestor, Args, Attributes, Cgroup, Change, ClaimedExe, Creds, IdMap, IdMaps, IdRange, Image, ImageSource,
    KernelPath, Namespaces, OpenMode, OpenedFile, Process, Ring, Signal,
};

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
    /// The deed's name; by default the kind says everything.
    deed: Option<String>,
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
    #[serde(default)]
    file: File,
    process: Subject,
    #[serde(default)]
    other: Recorded<Forebear>,
    #[serde(default)]
    core_limited: bool,
    /// The kernel's encoding.
    #[serde(default)]
    device: u32,
    signal: Option<Sent>,
    #[serde(default)]
    by_parent: bool,
    #[serde(default)]
    change: Recorded<Changed>,
    #[serde(default)]
    second: Recorded<Text>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    number: u32,
    /// `si_code`.
    code: i32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    before: State,
    after: State,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    size: u64,
    mode: Octal,
    uid: u32,
    gid: u32,
    nlink: u32,
    #[serde(default)]
    flags: u32,
}

impl From<State> for Attributes {
    fn from(state: State) -> Self {
        let State { size, mode, uid, gid, nlink, flags } = state;
        Self { size, mode: mode.0, uid, gid, nlink, flags }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RecordKind {
    #[default]
    Open,
    Data,
    Tamper,
    Refused,
    Device,
    Memory,
    Library,
    Itself,
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
    Attempt,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Watch {
    #[default]
    Armed,
    Born,
    Layer,
}

#[derive(Clone, Debug, Default, Deserialize)]
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
    path_in_fs: bool,
    #[serde(default)]
    is_folder: bool,
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
    id_maps: Recorded<Maps>,
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
    traced: bool,
    #[serde(default)]
    tracer: u32,
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

/// Ranges as `/proc/PID/uid_map` has them: first within, first on the host, how many.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Maps {
    users: Vec<[u32; 3]>,
    groups: Vec<[u32; 3]>,
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
    #[serde(default)]
    executed_ns: u64,
    #[serde(default)]
    marks: u32,
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
            Some(name) => {
                *HOOKS.iter().find(|hook| hook.name() == name).ok_or_else(|| format!("hook: there is no `{name}`"))?
            }
        };
        let deed = match &self.deed {
            None => Deed::None,
            Some(name) => DEEDS
                .into_iter()
                .find(|deed| deed.name() == name)
                .ok_or_else(|| format!("deed: there is no `{name}`"))?,
        };
        Ok(Access {
            kind: match self.kind {
                RecordKind::Open => Kind::Open,
                RecordKind::Data => Kind::Data,
                RecordKind::Tamper => Kind::Tamper,
                RecordKind::Refused => Kind::Refused,
                RecordKind::Device => Kind::Device,
                RecordKind::Memory => Kind::Memory,
                RecordKind::Library => Kind::Library,
                RecordKind::Itself => Kind::Itself,
            },
            deed,
            via,
            hook,
            ring: match self.ring {
                RingName::Stranger => Ring::Stranger,
                RingName::Signer => Ring::Signer,
                RingName::Attempt => Ring::Attempt,
            },
            boot_ns: self.boot_ns,
            sequence: self.sequence,
            cpu: self.cpu,
            outcome: self.outcome.0.map(|raw| if raw < 0 { Err(raw.wrapping_neg()) } else { Ok(()) }),
            file: self.file.opened(),
            process: self.process.process(),
            other: self.other.0.map(Forebear::ancestor),
            record: bytes::Bytes::new(),
            guise: 0,
            core_limited: self.core_limited,
            device: self.device,
            signal: self.signal.map(|sent| Signal { number: sent.number, code: sent.code }),
            by_parent: self.by_parent,
            change: self.change.0.map(|changed| Change { before: changed.before.into(), after: changed.after.into() }),
            second: self.second.0.map(kernel_path),
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
            path_in_fs: self.path_in_fs,
            is_folder: self.is_folder,
            in_doubt: false,
            unlinked: self.unlinked,
            tag: self.tag,
            watch_kind: match self.watch {
                Watch::Armed => file_watch::ARMED,
                Watch::Born => file_watch::BORN,
                Watch::Layer => file_watch::LAYER,
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
            id_maps: self.id_maps.0.map(|maps| IdMaps { users: id_map(maps.users), groups: id_map(maps.groups) }),
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
                executed_ns: image.executed_ns,
                marks: image.marks,
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
            traced: self.traced,
            tracer: self.tracer,
            ancestors: self.ancestors.into_iter().map(Forebear::ancestor).collect(),
            ancestors_cut: self.ancestors_cut,
        }
    }
}

fn id_map(ranges: Vec<[u32; 3]>) -> IdMap {
    IdMap(ranges.into_iter().map(|[inner, host, count]| IdRange { inner, host, count }).collect())
}

impl Forebear {
    fn ancestor(self) -> Ancestor {
        Ancestor {
            pid: self.pid,
            start_ns: self.start_ns,
            uid: self.uid,
            comm: self.comm.0,
            exe: self.exe.map(|id| id.0),
        }
    }
}
