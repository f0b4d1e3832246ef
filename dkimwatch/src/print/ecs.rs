//! Accesses as ECS documents: one JSON object a line.
//!
//! Bytes that a process chose (paths, arguments, `comm`) are escaped as [`escape`] says, so that they come back whole
//! from a store that keeps text only.

use std::io::Write;

use dkimwatch_common::{deed::Deed, identity::FileId, record::Kind};
use serde_json::json;

use super::{
    HostFacts, Printer, State, capabilities::capability, document::Document, ecs_own::own, ecs_state,
    fields::ECS_VERSION, time,
};
use crate::{
    attribute::AttributedAccess,
    containers::Details,
    decode::{Access, Ancestor, Fact, Process, Ring},
    escape,
    judge::{Action, JudgedAccess, Part, Verdict},
};

/// Writes ECS documents.
#[derive(Debug)]
pub struct Ecs<W> {
    out: W,
    host: HostFacts,
}

impl<W: Write> Ecs<W> {
    /// Onto an output, for a host.
    pub const fn new(out: W, host: HostFacts) -> Self {
        Self { out, host }
    }

    /// The output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl Ecs<Vec<u8>> {
    /// What was written into memory since the last time.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

impl<W: Write> Printer for Ecs<W> {
    fn access(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        self.out.write_all(access(judged, &self.host).into_line().as_bytes())?;
        self.out.flush()
    }

    fn follow_up(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        let mut document = access(judged, &self.host);
        document.set("dkimwatch.follow_up", true);
        self.out.write_all(document.into_line().as_bytes())?;
        self.out.flush()
    }

    fn state(&mut self, state: &State) -> std::io::Result<()> {
        self.out.write_all(ecs_state::document(state, &self.host).into_line().as_bytes())?;
        self.out.flush()
    }
}

/// What every event has.
pub(super) fn base(document: &mut Document, host: &HostFacts, unix_ns: i128) {
    document.set("@timestamp", time::rfc3339(unix_ns));
    document.set("ecs.version", ECS_VERSION);
    document.set("agent.type", "dkimwatch");
    document.set("agent.version", env!("CARGO_PKG_VERSION"));
    document.set("event.module", "dkimwatch");
    document.set("event.provider", "dkimwatch");
    document.set("host.boot.id", host.boot_id.to_string());
    document.set_known("host.id", host.machine_id.as_deref());
    document.set("host.name", host.hostname.as_str());
    document.set("host.hostname", host.hostname.as_str());
    document.set("host.architecture", host.architecture.as_str());
    document.set("host.os.type", "linux");
    document.set("host.os.kernel", host.kernel.as_str());
    document.set_known("host.os.name", host.os_name.as_deref());
    document.set_known("host.os.version", host.os_version.as_deref());
    document.set_known("host.pid_ns_ino", host.pid_ns.map(|ns| ns.to_string()));
    document.set("related.hosts", json!([host.hostname]));
}

fn access(judged: &JudgedAccess, host: &HostFacts) -> Document {
    let mut document = Document::default();
    base(&mut document, host, judged.attributed.unix_ns);
    event(&mut document, judged, host);
    file(&mut document, &judged.attributed.access);
    process(&mut document, &judged.attributed, host);
    users(&mut document, &judged.attributed);
    own(&mut document, judged);
    if judged.verdict == Verdict::Unexpected && judged.part.is_none() {
        threat(&mut document);
    }
    document
}

fn event(document: &mut Document, judged: &JudgedAccess, host: &HostFacts) {
    let access = &judged.attributed.access;
    let kind = if judged.verdict == Verdict::Unexpected { "alert" } else { "event" };
    document.set("event.kind", kind);
    let category = match (judged.part, judged.action) {
        (Some(Part::Process | Part::KernelSide), _) | (None, Action::SignerMemoryAccessed) => "process",
        (Some(Part::Configuration), _) => "configuration",
        _ => "file",
    };
    document.set("event.category", json!([category]));
    let change = match judged.action {
        Action::MonitorTampered => match (access.kind, access.deed) {
            (Kind::Memory, _) => "access",
            (_, Deed::Unlink) => "deletion",
            (Kind::Open, _) if access.file.open.known().is_some_and(|open| open.created()) => "creation",
            _ => "change",
        },
        Action::KeyModified
        | Action::KeyRenamed
        | Action::KeyReplaced
        | Action::KeyLinked
        | Action::KeyPermissionsChanged
        | Action::KeyAttributesChanged
        | Action::KeyMountedOver => "change",
        Action::KeyCreated => "creation",
        Action::KeyDeleted => "deletion",
        Action::KeyOpened
        | Action::KeyRead
        | Action::KeyOpenDenied
        | Action::DeviceOpened
        | Action::SignerMemoryAccessed => "access",
    };
    document.set("event.type", json!([change]));
    document.set("event.action", judged.action.name());
    document.set(
        "event.outcome",
        match access.outcome {
            Fact::Known(Ok(())) => "success",
            Fact::Known(Err(_)) => "failure",
            Fact::Unreadable | Fact::NotAsked => "unknown",
        },
    );
    document.set("event.dataset", "dkimwatch.access");
    // Sequence numbers begin anew with each watch, the time since boot does not.
    let id = format!("access/{}/{}/{}/{}", ring(access), access.cpu, access.sequence, access.boot_ns);
    document.set("event.id", host.id(&id));
    document.set("event.sequence", access.sequence);
    document.set("event.severity", judged.severity);
    document.set("event.reason", judged.reason.as_str());
    document.set("event.code", judged.rule.as_str());
    document.set("rule.id", judged.rule.as_str());
    document.set("rule.ruleset", "dkimwatch");
}

pub(super) const fn ring(access: &Access) -> &'static str {
    match access.ring {
        Ring::Stranger => "stranger",
        Ring::Signer => "signer",
        Ring::Attempt => "attempt",
    }
}

fn file(document: &mut Document, access: &Access) {
    let file = &access.file;
    if file.id == FileId::default() {
        return;
    }
    if let Some(path) = file.path.known() {
        let name = path.bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let folder = path.bytes.get(..path.bytes.len() - name.len()).unwrap_or_default();
        document.set("file.path", escape::text(&path.bytes));
        document.set("file.name", escape::text(name));
        // `/etc/`, but `/`.
        let folder = folder.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(folder);
        document.set("file.directory", escape::text(folder));
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
        document.set_known("file.extension", dot.and_then(|at| name.get(at + 1..)).map(escape::text));
    }
    document.set("file.inode", file.id.ino.to_string());
    document.set("file.device", device(file.id));
    document.set("file.mode", format!("{:04o}", file.mode & 0o7777));
    document.set("file.uid", file.uid.to_string());
    document.set("file.gid", file.gid.to_string());
    // S_IFMT: inode(7).
    let kind = match file.mode & 0o170_000 {
        0o100_000 => "file",
        0o040_000 => "dir",
        0o120_000 => "symlink",
        _ => "other",
    };
    document.set("file.type", kind);
}

pub(super) fn device(id: FileId) -> String {
    format!("{}:{}", id.major(), id.minor())
}

fn process(document: &mut Document, attributed: &AttributedAccess, host: &HostFacts) {
    let process = &attributed.access.process;
    document.set("process.pid", process.pid);
    document.set("process.thread.id", process.tid);
    document.set_known("process.vpid", process.inner_pid.known().copied());
    document.set("process.entity_id", host.entity(process.pid, process.start_ns));
    document.set("process.start", time::rfc3339(attributed.process_start_unix_ns));
    let executable = attributed.executable.path.as_deref();
    document.set_known("process.executable", executable.map(escape::text));
    let name = executable.map(|path| path.rsplit(|byte| *byte == b'/').next().unwrap_or_default());
    document.set("process.name", escape::text(name.unwrap_or(&process.comm)));
    if let Some(args) = process.args.known() {
        let args_text: Vec<String> = args.list.iter().map(|arg| escape::text(arg)).collect();
        // A cut command line has more arguments than are known.
        document.set_known("process.args_count", (!args.cut).then_some(args_text.len()));
        document.set("process.args", args_text);
    }
    // Start times of ancestors count from the same boot.
    let boot = attributed.unix_ns - i128::from(attributed.access.boot_ns);
    let exe_of = |index: usize| attributed.ancestor_executables.get(index).and_then(Option::as_ref);
    let mut relative = |role: &str, index: usize, ancestor: &Ancestor| {
        let field = |name: &str| format!("process.{role}.{name}");
        document.set(&field("pid"), ancestor.pid);
        document.set(&field("entity_id"), host.entity(ancestor.pid, ancestor.start_ns));
        document.set(&field("start"), time::rfc3339(boot + i128::from(ancestor.start_ns)));
        document.set(&field("name"), escape::text(&ancestor.comm));
        document.set(&field("real_user.id"), ancestor.uid.to_string());
        let exe = exe_of(index).map(|path| escape::path(path));
        document.set_known(&field("executable"), exe);
    };
    if let Some(parent) = process.ancestors.first() {
        relative("parent", 0, parent);
    }
    match entry(process) {
        Some((Leader::Ancestor(index, leader), how)) => {
            relative("entry_leader", index, leader);
            document.set("process.entry_leader.entry_meta.type", how);
        }
        Some((Leader::Itself, how)) => {
            document.set("process.entry_leader.pid", process.pid);
            document.set("process.entry_leader.entity_id", host.entity(process.pid, process.start_ns));
            document.set("process.entry_leader.start", time::rfc3339(attributed.process_start_unix_ns));
            document.set_known("process.entry_leader.executable", executable.map(escape::text));
            document.set("process.entry_leader.name", escape::text(&process.comm));
            document.set("process.entry_leader.entry_meta.type", how);
        }
        None => {}
    }
    if let Some(container) = &attributed.container {
        document.set("container.id", container.id.as_str());
        document.set("container.runtime", container.runtime);
        if let Some(pod) = &container.pod {
            document.set("orchestrator.type", "kubernetes");
            document.set("orchestrator.resource.type", "pod");
            document.set("orchestrator.resource.id", pod.uid.as_str());
        }
        if let Some(details) = attributed.enrichment.details() {
            container_details(document, details);
        }
    }
}

/// What its runtime keeps of a container. Whoever made it, chose the words.
fn container_details(document: &mut Document, details: &Details) {
    let word = |text: &str| escape::text(text.as_bytes());
    document.set_known("container.name", details.name.as_deref().map(word));
    if let Some(image) = &details.image {
        let (name, tag) = image.name_and_tag();
        document.set_known("container.image.name", name.map(word));
        document.set_known("container.image.tag", tag.map(|tag| json!([word(tag)])));
        let digests = image.digests.iter().map(|digest| word(digest)).collect::<Vec<_>>();
        document.set_known("container.image.hash.all", (!digests.is_empty()).then_some(digests));
    }
    if !details.labels.is_empty() {
        let labels = details.labels.iter().map(|(name, value)| (word(name), word(value).into()));
        document.set("container.labels", serde_json::Value::Object(labels.collect()));
    }
    if details.pod.is_some() {
        document.set("orchestrator.type", "kubernetes");
        document.set("orchestrator.resource.type", "pod");
        document.set_known("orchestrator.resource.name", details.pod.as_deref().map(word));
    }
    document.set_known("orchestrator.namespace", details.namespace.as_deref().map(word));
}

enum Leader<'a> {
    Itself,
    Ancestor(usize, &'a Ancestor),
}

/// The process by which a person or a service came in, and how: the nearest one whose parent lets people in or starts
/// services. Told by the names of those parents, so for display, not for a verdict.
fn entry(process: &Process) -> Option<(Leader<'_>, &'static str)> {
    let (index, how) = process.ancestors.iter().enumerate().find_map(|(index, ancestor)| {
        let comm = ancestor.comm.as_slice();
        let how = match comm {
            b"sshd" | b"sshd-session" | b"sshd-auth" => "sshd",
            b"login" | b"agetty" => "console",
            b"tmux: server" | b"screen" => "terminal",
            b"cron" | b"crond" | b"atd" => "init",
            _ if comm.starts_with(b"containerd-shim") || comm == b"conmon" => "container",
            _ if ancestor.pid == 1 => "init",
            _ => return None,
        };
        Some((index, how))
    })?;
    let leader = match index.checked_sub(1) {
        None => Leader::Itself,
        Some(below) => Leader::Ancestor(below, process.ancestors.get(below)?),
    };
    Some((leader, how))
}

fn users(document: &mut Document, attributed: &AttributedAccess) {
    let names = &attributed.names;
    let mut related: Vec<&str> = Vec::new();
    for name in [&names.real_user, &names.user, &names.login_user].into_iter().flatten() {
        if !related.contains(&name.as_str()) {
            related.push(name);
        }
    }
    if !related.is_empty() {
        document.set("related.user", json!(related));
    }
    let Some(creds) = attributed.access.process.creds.known() else { return };
    document.set("process.user.id", creds.euid.to_string());
    document.set_known("process.user.name", names.user.as_deref());
    document.set("process.real_user.id", creds.uid.to_string());
    document.set_known("process.real_user.name", names.real_user.as_deref());
    document.set("process.saved_user.id", creds.suid.to_string());
    document.set("process.group.id", creds.egid.to_string());
    document.set_known("process.group.name", names.group.as_deref());
    document.set("process.real_group.id", creds.gid.to_string());
    document.set("user.id", creds.uid.to_string());
    document.set_known("user.name", names.real_user.as_deref());
    if creds.euid != creds.uid {
        document.set("user.effective.id", creds.euid.to_string());
        document.set_known("user.effective.name", names.user.as_deref());
    }
    let held: Vec<String> = (0..64).filter(|bit| creds.cap_effective & (1 << bit) != 0).map(capability).collect();
    document.set("process.thread.capabilities.effective", held);
}

/// Version of MITRE ATT&CK that the ids below are of: ids move between versions.
const ATTACK_VERSION: &str = "19";

/// MITRE ATT&CK T1552.004: Unsecured Credentials, Private Keys. Its id stands in both fields: queries are written with
/// either.
fn threat(document: &mut Document) {
    document.set("threat.framework", "MITRE ATT&CK");
    document.set("threat.tactic.id", json!(["TA0006"]));
    document.set("threat.tactic.name", json!(["Credential Access"]));
    document.set("threat.technique.id", json!(["T1552.004"]));
    document.set("threat.technique.name", json!(["Unsecured Credentials: Private Keys"]));
    document.set("threat.technique.subtechnique.id", json!(["T1552.004"]));
    document.set("threat.technique.subtechnique.name", json!(["Private Keys"]));
    document.set("dkimwatch.attack_version", ATTACK_VERSION);
}
