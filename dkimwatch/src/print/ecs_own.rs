//! The part of an access's document that ECS has no fields for, below `dkimwatch.`.

use dkimwatch_common::{deed::Deed, record::Kind};
use serde_json::{Value, json};

use super::{
    document::Document,
    ecs::{device, ring},
};
use crate::{
    attribute::AttributedAccess,
    containers::Enrichment,
    decode::{Access, Fact, ImageSource, Process},
    escape,
    host::path_of,
    judge::{JudgedAccess, Part, errno_name, severity},
};

/// Fields of our own: what ECS has no name for.
pub(super) fn own(document: &mut Document, judged: &JudgedAccess) {
    let attributed = &judged.attributed;
    let access = &attributed.access;
    let process = &access.process;
    let mut set = |field: &str, value: Value| document.set(&format!("dkimwatch.{field}"), value);
    set("verdict", judged.verdict.name().into());
    set("severity", severity::name(judged.severity).into());
    set("backend", access.via.name().into());
    set("hook", access.hook.name().into());
    set("ring", ring(access).into());
    set("cpu", access.cpu.into());
    set("boot_ns", access.boot_ns.into());
    match judged.part {
        Some(part) => monitor(&mut set, judged, part),
        None => set("key.path", escape::path(&judged.key.path).into()),
    }
    let printable = |text: &String| Value::from(escape::text(text.as_bytes()));
    for (field, value) in
        [("key.domain", &judged.key.domain), ("key.selector", &judged.key.selector), ("key.signer", &judged.key.signer)]
    {
        if let Some(value) = value {
            set(field, printable(value));
        }
    }
    if let Some(unit) = &attributed.unit {
        set("unit", unit.as_str().into());
    }
    if let Some(container) = &attributed.container {
        set("container.forgeable", container.forgeable.into());
        if let Some(entered) = attributed.has_entered() {
            set("container.entered", entered.into());
        }
        if !container.around.is_empty() {
            let around = container.around.iter().map(|outer| format!("{}:{}", outer.runtime, outer.id));
            set("container.around", around.collect::<Vec<_>>().into());
        }
        if let Some(pod) = &container.pod {
            set("container.qos_class", pod.qos.into());
        }
    }
    within(&mut set, attributed);
    if let Some(Err(errno)) = access.outcome.known() {
        set("errno", errno_name(*errno).into());
    }
    set("file.generation", access.file.generation.into());
    set("file.nlink", access.file.nlink.into());
    set("file.unlinked", access.file.unlinked.into());
    set("file.path_cut", access.file.path.known().is_some_and(|path| path.cut).into());
    if let Some(open) = access.file.open.known() {
        set("file.open_flags", format!("0{:o}", open.flags).into());
    }
    set("process.comm", escape::text(&process.comm).into());
    set("process.kernel_thread", process.kernel_thread.into());
    set("process.io_worker", process.io_worker.into());
    if let Some(uid) = process.login_uid.known().copied().flatten() {
        set("process.login_uid", uid.to_string().into());
    }
    if let Some(user) = &attributed.names.login_user {
        set("process.login_user", user.as_str().into());
    }
    if let Some(session) = process.session.known().copied().flatten() {
        set("process.session", session.into());
    }
    if let Some(creds) = process.creds.known() {
        set("process.fsuid", creds.fsuid.to_string().into());
        set("process.fsgid", creds.fsgid.to_string().into());
    }
    if let Some(namespaces) = process.namespaces.known() {
        let numbers = json!({
            "mnt": namespaces.mnt, "pid": namespaces.pid, "net": namespaces.net, "uts": namespaces.uts,
            "ipc": namespaces.ipc, "cgroup": namespaces.cgroup, "user": namespaces.user,
        });
        set("process.namespaces", numbers);
    }
    if let Some(cgroup) = process.cgroup.known() {
        set("process.cgroup.id", cgroup.id.to_string().into());
        set("process.cgroup.path", escape::text(&cgroup.path).into());
    }
    set("process.traced", process.traced.into());
    executable(&mut set, attributed);
    more(&mut set, access);
    let missing: Vec<&str> = states(process, access).filter(|(_, state)| *state).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        set("unreadable", json!(missing));
    }
    set("process.ancestors_cut", process.ancestors_cut.into());
    let ancestors = process.ancestors.iter().enumerate().map(|(index, ancestor)| {
        let exe = attributed.ancestor_executables.get(index).and_then(Option::as_ref);
        json!({
            "pid": ancestor.pid,
            "start_ns": ancestor.start_ns,
            "real_user_id": ancestor.uid.to_string(),
            "comm": escape::text(&ancestor.comm),
            "executable": exe.map(|path| escape::path(path)),
            "executable_inode": ancestor.exe.map(|id| id.ino.to_string()),
            "executable_device": ancestor.exe.map(device),
        })
    });
    set("process.ancestors", ancestors.collect());
}

/// What was done to the watch itself.
fn monitor(set: &mut impl FnMut(&str, Value), judged: &JudgedAccess, part: Part) {
    let access = &judged.attributed.access;
    set("monitor.part", part.name().into());
    match part {
        Part::Configuration | Part::Journal | Part::Pins => set("monitor.path", escape::path(&judged.key.path).into()),
        Part::KernelSide => {
            if let Some(name) = access.second.known() {
                set("monitor.map", escape::text(&name.bytes).into());
            }
        }
        Part::Process => {}
    }
    if let Some(signal) = access.signal {
        set("signal.number", signal.number.into());
        set("signal.name", signal.name().into());
        set("signal.code", signal.code.into());
    }
}

/// How the access looks from within its container or user namespace.
fn within(set: &mut impl FnMut(&str, Value), attributed: &AttributedAccess) {
    if let Some(ids) = attributed.inner_ids() {
        let users = [
            ("inner.user.id", "inner.user.name", ids.real_user),
            ("inner.effective_user.id", "inner.effective_user.name", ids.user),
        ];
        for (number, name, id) in users {
            let Some(id) = id else { continue };
            set(number, id.to_string().into());
            if let Some(known) = attributed.inner_user(id) {
                set(name, known.into());
            }
        }
        if let Some(id) = ids.group {
            set("inner.group.id", id.to_string().into());
            if let Some(name) = attributed.enrichment.details().and_then(|details| details.groups.get(&id)) {
                set("inner.group.name", name.as_str().into());
            }
        }
    }
    if attributed.enrichment == Enrichment::None {
        return;
    }
    set("enrichment.state", attributed.enrichment.name().into());
    if let Enrichment::Failed(why) = &attributed.enrichment {
        set("enrichment.reason", why.as_str().into());
    }
    let Some(details) = attributed.enrichment.details() else { return };
    let word = |text: &str| Value::from(escape::text(text.as_bytes()));
    if let Some(id) = details.image.as_ref().and_then(|image| image.id.as_deref()) {
        set("container.image_id", word(id));
    }
    if let Some(created) = &details.created {
        set("container.created", word(created));
    }
    if let Some(privileged) = details.privileged {
        set("container.privileged", privileged.into());
    }
    let Some(path) = attributed.access.file.path.known().filter(|path| !path.cut && attributed.is_within()) else {
        return;
    };
    let path = path_of(&path.bytes);
    set("container.key.path", escape::path(&path).into());
    match details.exposing(&path) {
        Some(mount) => {
            set("container.key.from", if mount.volume.is_some() { "volume" } else { "mount" }.into());
            set("container.key.host_path", escape::path(&mount.on_host(&path)).into());
            set("container.mount.source", escape::path(&mount.source).into());
            set("container.mount.destination", escape::path(&mount.destination).into());
            if let Some(volume) = &mount.volume {
                set("container.mount.volume", word(volume));
            }
        }
        // Not mounted: the image's, or put there since.
        None => {
            set("container.key.from", "root".into());
            if let (Some(root), Ok(inside)) = (&details.root, path.strip_prefix("/")) {
                set("container.key.host_path", escape::path(&root.join(inside)).into());
            }
        }
    }
}

/// What only accesses other than opens have.
fn more(set: &mut impl FnMut(&str, Value), access: &Access) {
    if access.deed != Deed::None {
        set("deed", access.deed.name().into());
    }
    if access.kind == Kind::Tamper {
        set("folder_changed", access.file.is_folder.into());
    }
    if let Some(other) = access.other.known() {
        set("other.pid", other.pid.into());
        set("other.comm", escape::text(&other.comm).into());
        set("other.real_user_id", other.uid.to_string().into());
        set("other.start_ns", other.start_ns.into());
        if let Some(exe) = other.exe {
            set("other.executable_inode", exe.ino.to_string().into());
            set("other.executable_device", device(exe).into());
        }
    }
    if let Some(change) = access.change.known() {
        for (when, one) in [("before", &change.before), ("after", &change.after)] {
            set(&format!("change.{when}.mode"), format!("{:04o}", one.mode & 0o7777).into());
            set(&format!("change.{when}.uid"), one.uid.to_string().into());
            set(&format!("change.{when}.gid"), one.gid.to_string().into());
            set(&format!("change.{when}.size"), one.size.into());
            set(&format!("change.{when}.nlink"), one.nlink.into());
            set(&format!("change.{when}.flags"), format!("{:#x}", one.flags).into());
        }
    }
    if let Some(second) = access.second.known().filter(|_| access.kind != Kind::Itself) {
        let field = match access.kind {
            Kind::Refused => "path_as_asked",
            _ if access.deed.second_is_path() => "other_path",
            _ => "attribute",
        };
        set(field, escape::text(&second.bytes).into());
    }
}

fn executable(set: &mut impl FnMut(&str, Value), attributed: &AttributedAccess) {
    let process = &attributed.access.process;
    if let Some(image) = process.image.known() {
        let source = match image.source {
            ImageSource::Exec => "exec",
            ImageSource::OlderThanWatch => "older-than-watch",
            ImageSource::AtAccess => "at-access",
        };
        set("process.image.inode", image.id.ino.to_string().into());
        set("process.image.device", device(image.id).into());
        set("process.image.uid", image.uid.to_string().into());
        set("process.image.mode", format!("{:04o}", image.mode & 0o7777).into());
        set("process.image.nlink", image.nlink.into());
        set("process.image.known_from", source.into());
        if !image.path.is_empty() {
            set("process.image.executed_as", escape::text(&image.path).into());
        }
    }
    set("process.executable_link_differs", attributed.executable.claim_differs.into());
    if let Some(claimed) = process.claimed.known() {
        set("process.executable_link", escape::text(&claimed.path.bytes).into());
        set("process.executable_deleted", claimed.unlinked.into());
    }
    if let Some(package) = &attributed.executable.package {
        set("process.package", package.as_str().into());
    }
}

/// The optional facts, and whether the kernel was asked for one in vain.
fn states<'a>(process: &'a Process, access: &'a Access) -> impl Iterator<Item = (&'static str, bool)> {
    [
        ("path", matches!(access.file.path, Fact::Unreadable)),
        ("open", matches!(access.file.open, Fact::Unreadable)),
        ("outcome", matches!(access.outcome, Fact::Unreadable)),
        ("inner_pid", matches!(process.inner_pid, Fact::Unreadable)),
        ("creds", matches!(process.creds, Fact::Unreadable)),
        ("login", matches!(process.login_uid, Fact::Unreadable)),
        ("namespaces", matches!(process.namespaces, Fact::Unreadable)),
        ("cgroup", matches!(process.cgroup, Fact::Unreadable)),
        ("image", matches!(process.image, Fact::Unreadable)),
        ("claimed", matches!(process.claimed, Fact::Unreadable)),
        ("args", matches!(process.args, Fact::Unreadable)),
    ]
    .into_iter()
}
