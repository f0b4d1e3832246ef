//! The record's bytes, field by field.

use std::mem::offset_of;

use dkimwatch_common::{
    deed::Deed,
    exec::{ExecImage, source},
    identity::FileId,
    limits,
    record::{
        Creds as RawCreds, Header, Kind, RawAncestor, RawAttributes, RawChange, RawExtended, RawRecord, VERSION, Via,
        fact, mark,
    },
    tally::Hook,
};

use super::{
    Access, Ancestor, Args, Attributes, Cgroup, Change, ClaimedExe, Creds, DecodeError, Fact, IdMap, IdMaps, Image,
    ImageSource, KernelPath, Namespaces, OpenMode, OpenedFile, Process, Ring, Signal, fields::Fields, texts,
};

/// One access from the bytes of one record.
///
/// Total: any bytes give an access or a [`DecodeError`]. Only the header, the backend and the hook can refuse a record;
/// a fact whose length or word makes no sense becomes [`Fact::Unreadable`], as an access is never dropped because its
/// decoration is damaged.
///
/// # Errors
/// The bytes are not a record of this version, see [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<Access, DecodeError> {
    // The version stands first, so that a record of another layout is named as such and not as one of a wrong size.
    if let Some(version) = bytes.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
        && bytes.len() >= size_of::<Header>()
        && version != VERSION
    {
        return Err(DecodeError::Version { got: version });
    }
    let raw = Fields::new(bytes)?;
    let header = raw.u32(offset_of!(RawRecord, header.len));
    if usize::try_from(header) != Ok(raw.len()) {
        return Err(DecodeError::Length { header, got: bytes.len() });
    }
    let facts = Facts {
        known: raw.u32(offset_of!(RawRecord, known)),
        unreadable: raw.u32(offset_of!(RawRecord, unreadable)),
        marks: raw.u32(offset_of!(RawRecord, marks)),
    };
    let deed = Deed::try_from(raw.u32(offset_of!(RawRecord, deed))).map_err(|got| DecodeError::Deed { got })?;
    // An open's record has no room for them: whatever its bits say, they were not asked.
    let more = |fact| if raw.is_extended() { fact } else { 0 };
    Ok(Access {
        deed,
        kind: Kind::try_from(raw.u16(offset_of!(RawRecord, header.kind))).map_err(|got| DecodeError::Kind { got })?,
        via: Via::try_from(raw.u16(offset_of!(RawRecord, via))).map_err(|got| DecodeError::Via { got })?,
        hook: Hook::try_from(raw.u16(offset_of!(RawRecord, hook))).map_err(|got| DecodeError::Hook { got })?,
        ring: if facts.marked(mark::ATTEMPT_RING) {
            Ring::Attempt
        } else if facts.marked(mark::SIGNER_RING) {
            Ring::Signer
        } else {
            Ring::Stranger
        },
        boot_ns: raw.u64(offset_of!(RawRecord, boot_ns)),
        sequence: raw.u64(offset_of!(RawRecord, sequence)),
        cpu: raw.u32(offset_of!(RawRecord, cpu)),
        outcome: facts.of(fact::OUTCOME, || outcome(raw.i32(offset_of!(RawRecord, outcome)))),
        file: file(raw, facts),
        process: process(raw, facts),
        other: facts.of(more(fact::OTHER), || Some(ancestor(raw, offset_of!(RawExtended, other)))),
        record: bytes::Bytes::new(),
        guise: raw.u64(offset_of!(RawRecord, guise)),
        core_limited: facts.marked(mark::CORE_LIMITED),
        device: if raw.is_extended() { raw.u32(offset_of!(RawExtended, device)) } else { 0 },
        signal: if raw.is_extended() { signal(raw) } else { None },
        by_parent: facts.marked(mark::PARENT),
        change: facts.of(more(fact::CHANGE), || Some(change(raw))),
        second: facts.of(more(fact::SECOND), || second(raw, facts, deed)),
    })
}

/// None has the number zero.
fn signal(raw: Fields<'_>) -> Option<Signal> {
    let number = raw.u32(offset_of!(RawExtended, signal));
    (number != 0).then(|| Signal { number, code: raw.i32(offset_of!(RawExtended, signal_code)) })
}

fn change(raw: Fields<'_>) -> Change {
    let attributes = |at: usize| Attributes {
        size: raw.u64(at + offset_of!(RawAttributes, size)),
        mode: raw.u32(at + offset_of!(RawAttributes, mode)),
        uid: raw.u32(at + offset_of!(RawAttributes, uid)),
        gid: raw.u32(at + offset_of!(RawAttributes, gid)),
        nlink: raw.u32(at + offset_of!(RawAttributes, nlink)),
        flags: raw.u32(at + offset_of!(RawAttributes, flags)),
    };
    let at = offset_of!(RawExtended, change);
    Change {
        before: attributes(at + offset_of!(RawChange, before)),
        after: attributes(at + offset_of!(RawChange, after)),
    }
}

fn second(raw: Fields<'_>, facts: Facts, deed: Deed) -> Option<KernelPath> {
    let used = raw.u32(offset_of!(RawExtended, second_len));
    let text = raw.text(offset_of!(RawExtended, second), used, limits::PATH_BYTES)?;
    let cut = facts.marked(mark::SECOND_CUT);
    let bytes =
        if deed.second_is_path() && !facts.marked(mark::AS_ASKED) { texts::path(text, cut) } else { text.to_vec() };
    Some(KernelPath { bytes, cut })
}

/// Which facts the kernel has, and what it noticed.
#[derive(Clone, Copy)]
struct Facts {
    known: u32,
    unreadable: u32,
    marks: u32,
}

impl Facts {
    const fn marked(self, mark: u32) -> bool {
        self.marks & mark != 0
    }

    /// A fact: `read` gives `None` when its bytes make no sense. A fact marked both known and unreadable is not trusted.
    fn of<T>(self, fact: u32, read: impl FnOnce() -> Option<T>) -> Fact<T> {
        if self.unreadable & fact != 0 {
            Fact::Unreadable
        } else if self.known & fact != 0 {
            read().map_or(Fact::Unreadable, Fact::Known)
        } else {
            Fact::NotAsked
        }
    }
}

/// 0 (or a descriptor) is success; a negative number is an errno. `i32::MIN` is no errno.
fn outcome(raw: i32) -> Option<Result<(), i32>> {
    if raw >= 0 { Some(Ok(())) } else { raw.checked_neg().map(Err) }
}

fn file(raw: Fields<'_>, facts: Facts) -> OpenedFile {
    OpenedFile {
        id: raw.file_id(offset_of!(RawRecord, file)),
        dir: raw.file_id(offset_of!(RawRecord, dir)),
        generation: raw.u32(offset_of!(RawRecord, file_generation)),
        watch_generation: raw.u32(offset_of!(RawRecord, watch_generation)),
        mode: raw.u32(offset_of!(RawRecord, file_mode)),
        uid: raw.u32(offset_of!(RawRecord, file_uid)),
        gid: raw.u32(offset_of!(RawRecord, file_gid)),
        nlink: raw.u32(offset_of!(RawRecord, file_nlink)),
        path: facts.of(fact::PATH, || {
            let used = raw.u32(offset_of!(RawRecord, path_len));
            let text = raw.text(offset_of!(RawRecord, path), used, limits::PATH_BYTES)?;
            let cut = facts.marked(mark::PATH_CUT);
            Some(KernelPath { bytes: texts::path(text, cut), cut })
        }),
        path_in_fs: facts.marked(mark::PATH_IN_FS),
        is_folder: facts.marked(mark::FOLDER),
        in_doubt: facts.marked(mark::IN_DOUBT),
        unlinked: facts.marked(mark::UNLINKED),
        tag: raw.u32(offset_of!(RawRecord, watch_tag)),
        watch_kind: raw.u32(offset_of!(RawRecord, watch_kind)),
        open: facts.of(fact::OPEN_FLAGS, || {
            Some(OpenMode {
                flags: raw.u32(offset_of!(RawRecord, open_flags)),
                mode: raw.u32(offset_of!(RawRecord, open_mode)),
            })
        }),
    }
}

fn process(raw: Fields<'_>, facts: Facts) -> Process {
    Process {
        pid: raw.u32(offset_of!(RawRecord, tgid)),
        tid: raw.u32(offset_of!(RawRecord, tid)),
        inner_pid: facts.of(fact::INNER_PID, || Some(raw.u32(offset_of!(RawRecord, inner_pid)))),
        start_ns: raw.u64(offset_of!(RawRecord, start)),
        creds: facts.of(fact::CREDS, || Some(creds(raw))),
        login_uid: facts.of(fact::LOGIN, || Some(never_set(raw.u32(offset_of!(RawRecord, login_uid))))),
        session: facts.of(fact::LOGIN, || Some(never_set(raw.u32(offset_of!(RawRecord, session))))),
        namespaces: facts.of(fact::NAMESPACES, || Some(namespaces(raw))),
        id_maps: facts.of(fact::ID_MAPS, || {
            let users = IdMap::read(raw, offset_of!(RawRecord, uid_map))?;
            Some(IdMaps { users, groups: IdMap::read(raw, offset_of!(RawRecord, gid_map))? })
        }),
        cgroup: facts.of(fact::CGROUP, || cgroup(raw, facts)),
        comm: raw.c_text(offset_of!(RawRecord, comm), limits::COMM).to_vec(),
        image: facts.of(fact::IMAGE, || image(raw)),
        claimed: facts.of(fact::CLAIMED, || claimed(raw, facts)),
        args: facts.of(fact::ARGS, || {
            let used = raw.u32(offset_of!(RawRecord, args_len));
            let text = raw.text(offset_of!(RawRecord, args), used, limits::ARGS)?;
            Some(Args { list: texts::args(text), cut: facts.marked(mark::ARGS_CUT) })
        }),
        kernel_thread: facts.marked(mark::KERNEL_THREAD),
        io_worker: facts.marked(mark::IO_WORKER),
        traced: facts.marked(mark::TRACED),
        tracer: raw.u32(offset_of!(RawRecord, tracer)),
        ancestors: ancestors(raw),
        ancestors_cut: facts.marked(mark::ANCESTORS_CUT) || ancestor_count(raw) > limits::ANCESTORS,
    }
}

/// `u32::MAX` is how the kernel writes "never set" (`AUDIT_UID_UNSET`, `AUDIT_SID_UNSET`).
const fn never_set(raw: u32) -> Option<u32> {
    if raw == u32::MAX { None } else { Some(raw) }
}

fn creds(raw: Fields<'_>) -> Creds {
    let at = |field: usize| raw.u32(offset_of!(RawRecord, creds) + field);
    Creds {
        uid: at(offset_of!(RawCreds, uid)),
        euid: at(offset_of!(RawCreds, euid)),
        suid: at(offset_of!(RawCreds, suid)),
        fsuid: at(offset_of!(RawCreds, fsuid)),
        gid: at(offset_of!(RawCreds, gid)),
        egid: at(offset_of!(RawCreds, egid)),
        sgid: at(offset_of!(RawCreds, sgid)),
        fsgid: at(offset_of!(RawCreds, fsgid)),
        cap_effective: raw.u64(offset_of!(RawRecord, creds.cap_effective)),
    }
}

fn namespaces(raw: Fields<'_>) -> Namespaces {
    Namespaces {
        mnt: raw.u32(offset_of!(RawRecord, namespaces.mnt)),
        pid: raw.u32(offset_of!(RawRecord, namespaces.pid)),
        net: raw.u32(offset_of!(RawRecord, namespaces.net)),
        uts: raw.u32(offset_of!(RawRecord, namespaces.uts)),
        ipc: raw.u32(offset_of!(RawRecord, namespaces.ipc)),
        cgroup: raw.u32(offset_of!(RawRecord, namespaces.cgroup)),
        user: raw.u32(offset_of!(RawRecord, namespaces.user)),
    }
}

fn cgroup(raw: Fields<'_>, facts: Facts) -> Option<Cgroup> {
    let used = raw.u32(offset_of!(RawRecord, cgroup_len));
    let text = raw.text(offset_of!(RawRecord, cgroup), used, limits::CGROUP_BYTES)?;
    let cut = facts.marked(mark::CGROUP_CUT);
    Some(Cgroup { id: raw.u64(offset_of!(RawRecord, cgroup_id)), path: texts::path(text, cut), cut })
}

fn image(raw: Fields<'_>) -> Option<Image> {
    const AT: usize = offset_of!(RawRecord, image);
    let source = match raw.u32(AT + offset_of!(ExecImage, source)) {
        source::EXEC => ImageSource::Exec,
        source::OLDER_THAN_WATCH => ImageSource::OlderThanWatch,
        source::AT_ACCESS => ImageSource::AtAccess,
        _ => return None,
    };
    Some(Image {
        id: raw.file_id(AT + offset_of!(ExecImage, file)),
        uid: raw.u32(AT + offset_of!(ExecImage, uid)),
        gid: raw.u32(AT + offset_of!(ExecImage, gid)),
        mode: raw.u32(AT + offset_of!(ExecImage, mode)),
        nlink: raw.u32(AT + offset_of!(ExecImage, nlink)),
        ctime: raw.u64(AT + offset_of!(ExecImage, ctime)),
        executed_ns: raw.u64(AT + offset_of!(ExecImage, executed)),
        marks: raw.u32(AT + offset_of!(ExecImage, marks)),
        mnt_ns: raw.u32(AT + offset_of!(ExecImage, mnt_ns)),
        // Text, not identity: one that makes no sense is left out, and the identity stays.
        path: raw
            .text(AT + offset_of!(ExecImage, path), raw.u32(AT + offset_of!(ExecImage, path_len)), limits::EXEC_PATH)
            .unwrap_or_default()
            .to_vec(),
        source,
    })
}

fn claimed(raw: Fields<'_>, facts: Facts) -> Option<ClaimedExe> {
    let used = raw.u32(offset_of!(RawRecord, claimed_path_len));
    let text = raw.text(offset_of!(RawRecord, claimed_path), used, limits::PATH_BYTES)?;
    let cut = facts.marked(mark::CLAIMED_PATH_CUT);
    Some(ClaimedExe {
        id: raw.file_id(offset_of!(RawRecord, claimed)),
        path: KernelPath { bytes: texts::path(text, cut), cut },
        unlinked: facts.marked(mark::CLAIMED_UNLINKED),
    })
}

fn ancestor_count(raw: Fields<'_>) -> usize {
    usize::try_from(raw.u32(offset_of!(RawRecord, ancestor_count))).unwrap_or(usize::MAX)
}

fn ancestors(raw: Fields<'_>) -> Vec<Ancestor> {
    (0..ancestor_count(raw).min(limits::ANCESTORS))
        .map(|index| ancestor(raw, offset_of!(RawRecord, ancestors) + index * size_of::<RawAncestor>()))
        .collect()
}

fn ancestor(raw: Fields<'_>, at: usize) -> Ancestor {
    let exe = raw.file_id(at + offset_of!(RawAncestor, exe));
    Ancestor {
        pid: raw.u32(at + offset_of!(RawAncestor, pid)),
        start_ns: raw.u64(at + offset_of!(RawAncestor, start)),
        uid: raw.u32(at + offset_of!(RawAncestor, uid)),
        comm: raw.c_text(at + offset_of!(RawAncestor, comm), limits::COMM).to_vec(),
        exe: (exe != FileId::default()).then_some(exe),
    }
}
