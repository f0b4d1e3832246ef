//! The reverse of [`decode`](super::decode), for stories, replays and property tests: an access as the kernel side would have
//! written it. The watch itself never uses it.

use std::mem::offset_of;

use dkimwatch_common::{
    exec::{ExecImage, source},
    identity::FileId,
    limits,
    record::{
        Kind, RawAncestor, RawAttributes, RawChange, RawExtended, RawIdExtent, RawIdMap, RawRecord, VERSION, fact, mark,
    },
};

use super::{
    Access, Ancestor, Attributes, Fact, IdMap, Image, ImageSource, Process, Ring,
    fields::{EXTENDED, SIZE},
    texts,
};

/// Why an access does not fit a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text is longer than a record keeps: shorten it, and mark it cut.
    #[error("{field} takes {got} bytes, a record keeps {capacity}: shorten it and mark it cut")]
    TooLong {
        /// The field of `RawRecord`.
        field: &'static str,
        /// Bytes that it takes.
        got: usize,
        /// Bytes that there are.
        capacity: usize,
    },
    /// More ancestors than a record keeps: leave out the eldest, and mark them cut.
    #[error("{got} ancestors, a record keeps {capacity}: leave out the eldest and mark them cut", capacity = limits::ANCESTORS)]
    Ancestors {
        /// Ancestors given.
        got: usize,
    },
}

/// Builds the bytes of one record.
///
/// Bytes that no field covers are `0xa5`, never zero: in a ring they would hold an older record, and nothing may read them.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    bytes: Vec<u8>,
    known: u32,
    unreadable: u32,
    marks: u32,
}

impl RecordBuilder {
    /// The record of an access.
    ///
    /// # Errors
    /// A text or the list of ancestors does not fit.
    pub fn new(access: &Access) -> Result<Self, EncodeError> {
        let size = if access.kind == Kind::Open { SIZE } else { EXTENDED };
        let mut record = Self { bytes: vec![0xa5; size], known: 0, unreadable: 0, marks: 0 };
        record.put(offset_of!(RawRecord, header.version), &VERSION.to_le_bytes());
        record.put(offset_of!(RawRecord, header.kind), &(access.kind as u16).to_le_bytes());
        record.u32(offset_of!(RawRecord, header.len), u32::try_from(size).unwrap_or(u32::MAX));
        record.u64(offset_of!(RawRecord, boot_ns), access.boot_ns);
        record.u64(offset_of!(RawRecord, sequence), access.sequence);
        record.u32(offset_of!(RawRecord, cpu), access.cpu);
        record.put(offset_of!(RawRecord, hook), &(access.hook as u16).to_le_bytes());
        record.put(offset_of!(RawRecord, via), &(access.via as u16).to_le_bytes());
        record.u32(offset_of!(RawRecord, deed), access.deed as u32);
        record.u64(offset_of!(RawRecord, guise), access.guise);
        record.mark(mark::SIGNER_RING, access.ring == Ring::Signer);
        record.mark(mark::PARENT, access.by_parent);
        record.mark(mark::CORE_LIMITED, access.core_limited);
        if size == EXTENDED {
            record.u32(offset_of!(RawExtended, device), access.device);
            record.u32(offset_of!(RawExtended, signal), access.signal.map_or(0, |signal| signal.number));
            let code = access.signal.map_or(0, |signal| signal.code);
            record.put(offset_of!(RawExtended, signal_code), &code.to_le_bytes());
        }
        record.mark(mark::ATTEMPT_RING, access.ring == Ring::Attempt);
        if let Some(outcome) = record.fact(fact::OUTCOME, &access.outcome) {
            let raw = outcome.err().map_or(0, i32::wrapping_neg);
            record.put(offset_of!(RawRecord, outcome), &raw.to_le_bytes());
        }
        record.file(access)?;
        record.process(&access.process)?;
        record.ancestors(&access.process)?;
        if size == EXTENDED {
            record.more(access)?;
        }
        Ok(record)
    }

    /// What only an extended record has.
    fn more(&mut self, access: &Access) -> Result<(), EncodeError> {
        if let Some(other) = self.fact(fact::OTHER, &access.other) {
            self.ancestor(offset_of!(RawExtended, other), other)?;
        }
        if let Some(change) = self.fact(fact::CHANGE, &access.change) {
            let at = offset_of!(RawExtended, change);
            self.attributes(at + offset_of!(RawChange, before), change.before);
            self.attributes(at + offset_of!(RawChange, after), change.after);
        }
        if let Some(second) = self.fact(fact::SECOND, &access.second) {
            self.mark(mark::SECOND_CUT, second.cut);
            let text =
                if access.deed.second_is_path() { texts::components(&second.bytes) } else { second.bytes.clone() };
            let used = self.text("second", offset_of!(RawExtended, second), &text, limits::PATH_BYTES)?;
            self.u32(offset_of!(RawExtended, second_len), used);
        }
        Ok(())
    }

    fn attributes(&mut self, at: usize, attributes: Attributes) {
        self.u64(at + offset_of!(RawAttributes, size), attributes.size);
        self.u32(at + offset_of!(RawAttributes, mode), attributes.mode);
        self.u32(at + offset_of!(RawAttributes, uid), attributes.uid);
        self.u32(at + offset_of!(RawAttributes, gid), attributes.gid);
        self.u32(at + offset_of!(RawAttributes, nlink), attributes.nlink);
        self.u32(at + offset_of!(RawAttributes, flags), attributes.flags);
    }

    fn ancestor(&mut self, at: usize, ancestor: &Ancestor) -> Result<(), EncodeError> {
        self.u64(at + offset_of!(RawAncestor, start), ancestor.start_ns);
        self.file_id(at + offset_of!(RawAncestor, exe), ancestor.exe.unwrap_or_default());
        self.u32(at + offset_of!(RawAncestor, pid), ancestor.pid);
        self.u32(at + offset_of!(RawAncestor, uid), ancestor.uid);
        self.comm(at + offset_of!(RawAncestor, comm), &ancestor.comm)
    }

    /// The finished bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.u32(offset_of!(RawRecord, known), self.known);
        self.u32(offset_of!(RawRecord, unreadable), self.unreadable);
        self.u32(offset_of!(RawRecord, marks), self.marks);
        self.bytes
    }

    fn file(&mut self, access: &Access) -> Result<(), EncodeError> {
        let file = &access.file;
        self.file_id(offset_of!(RawRecord, file), file.id);
        self.file_id(offset_of!(RawRecord, dir), file.dir);
        self.u32(offset_of!(RawRecord, file_generation), file.generation);
        self.u32(offset_of!(RawRecord, watch_generation), file.watch_generation);
        self.u32(offset_of!(RawRecord, file_mode), file.mode);
        self.u32(offset_of!(RawRecord, file_uid), file.uid);
        self.u32(offset_of!(RawRecord, file_gid), file.gid);
        self.u32(offset_of!(RawRecord, file_nlink), file.nlink);
        self.u32(offset_of!(RawRecord, watch_kind), file.watch_kind);
        self.u32(offset_of!(RawRecord, watch_tag), file.tag);
        self.mark(mark::PATH_IN_FS, file.path_in_fs);
        self.mark(mark::FOLDER, file.is_folder);
        self.mark(mark::IN_DOUBT, file.in_doubt);
        self.mark(mark::UNLINKED, file.unlinked);
        if let Some(path) = self.fact(fact::PATH, &file.path) {
            self.mark(mark::PATH_CUT, path.cut);
            let text = texts::components(&path.bytes);
            let used = self.text("path", offset_of!(RawRecord, path), &text, limits::PATH_BYTES)?;
            self.u32(offset_of!(RawRecord, path_len), used);
        }
        if let Some(open) = self.fact(fact::OPEN_FLAGS, &file.open) {
            self.u32(offset_of!(RawRecord, open_flags), open.flags);
            self.u32(offset_of!(RawRecord, open_mode), open.mode);
        }
        Ok(())
    }

    fn process(&mut self, process: &Process) -> Result<(), EncodeError> {
        self.u32(offset_of!(RawRecord, tgid), process.pid);
        self.u32(offset_of!(RawRecord, tid), process.tid);
        self.u64(offset_of!(RawRecord, start), process.start_ns);
        self.comm(offset_of!(RawRecord, comm), &process.comm)?;
        self.mark(mark::KERNEL_THREAD, process.kernel_thread);
        self.mark(mark::IO_WORKER, process.io_worker);
        self.mark(mark::TRACED, process.traced);
        self.u32(offset_of!(RawRecord, tracer), process.tracer);
        if let Some(pid) = self.fact(fact::INNER_PID, &process.inner_pid) {
            self.u32(offset_of!(RawRecord, inner_pid), *pid);
        }
        if let Some(creds) = self.fact(fact::CREDS, &process.creds) {
            let ids = [creds.uid, creds.euid, creds.suid, creds.fsuid, creds.gid, creds.egid, creds.sgid, creds.fsgid];
            for (index, id) in ids.into_iter().enumerate() {
                self.u32(offset_of!(RawRecord, creds.uid) + index * size_of::<u32>(), id);
            }
            self.u64(offset_of!(RawRecord, creds.cap_effective), creds.cap_effective);
        }
        if let Some(login) = self.fact(fact::LOGIN, &process.login_uid) {
            self.u32(offset_of!(RawRecord, login_uid), login.unwrap_or(u32::MAX));
        }
        if let Some(session) = self.fact(fact::LOGIN, &process.session) {
            self.u32(offset_of!(RawRecord, session), session.unwrap_or(u32::MAX));
        }
        if let Some(ns) = self.fact(fact::NAMESPACES, &process.namespaces) {
            let numbers = [ns.mnt, ns.pid, ns.net, ns.uts, ns.ipc, ns.cgroup, ns.user];
            for (index, number) in numbers.into_iter().enumerate() {
                self.u32(offset_of!(RawRecord, namespaces.mnt) + index * size_of::<u32>(), number);
            }
        }
        if let Some(maps) = self.fact(fact::ID_MAPS, &process.id_maps) {
            self.id_map(offset_of!(RawRecord, uid_map), &maps.users)?;
            self.id_map(offset_of!(RawRecord, gid_map), &maps.groups)?;
        }
        if let Some(cgroup) = self.fact(fact::CGROUP, &process.cgroup) {
            self.u64(offset_of!(RawRecord, cgroup_id), cgroup.id);
            self.mark(mark::CGROUP_CUT, cgroup.cut);
            let text = texts::components(&cgroup.path);
            let used = self.text("cgroup", offset_of!(RawRecord, cgroup), &text, limits::CGROUP_BYTES)?;
            self.u32(offset_of!(RawRecord, cgroup_len), used);
        }
        if let Some(image) = self.fact(fact::IMAGE, &process.image) {
            self.image(image)?;
        }
        if let Some(claimed) = self.fact(fact::CLAIMED, &process.claimed) {
            self.file_id(offset_of!(RawRecord, claimed), claimed.id);
            self.mark(mark::CLAIMED_PATH_CUT, claimed.path.cut);
            self.mark(mark::CLAIMED_UNLINKED, claimed.unlinked);
            let text = texts::components(&claimed.path.bytes);
            let used = self.text("claimed_path", offset_of!(RawRecord, claimed_path), &text, limits::PATH_BYTES)?;
            self.u32(offset_of!(RawRecord, claimed_path_len), used);
        }
        if let Some(args) = self.fact(fact::ARGS, &process.args) {
            self.mark(mark::ARGS_CUT, args.cut);
            let text: Vec<u8> = args.list.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
            let used = self.text("args", offset_of!(RawRecord, args), &text, limits::ARGS)?;
            self.u32(offset_of!(RawRecord, args_len), used);
        }
        Ok(())
    }

    fn id_map(&mut self, at: usize, map: &IdMap) -> Result<(), EncodeError> {
        let got = map.0.len();
        if got > limits::ID_EXTENTS {
            return Err(EncodeError::TooLong { field: "id_maps", got, capacity: limits::ID_EXTENTS });
        }
        self.u32(at + offset_of!(RawIdMap, count), u32::try_from(got).unwrap_or(u32::MAX));
        for (index, range) in map.0.iter().enumerate() {
            let at = at + offset_of!(RawIdMap, extents) + index * size_of::<RawIdExtent>();
            self.u32(at + offset_of!(RawIdExtent, first), range.inner);
            self.u32(at + offset_of!(RawIdExtent, lower_first), range.host);
            self.u32(at + offset_of!(RawIdExtent, count), range.count);
        }
        Ok(())
    }

    fn image(&mut self, image: &Image) -> Result<(), EncodeError> {
        const AT: usize = offset_of!(RawRecord, image);
        self.file_id(AT + offset_of!(ExecImage, file), image.id);
        self.u64(AT + offset_of!(ExecImage, ctime), image.ctime);
        self.u64(AT + offset_of!(ExecImage, executed), image.executed_ns);
        self.u32(AT + offset_of!(ExecImage, marks), image.marks);
        self.u32(AT + offset_of!(ExecImage, uid), image.uid);
        self.u32(AT + offset_of!(ExecImage, gid), image.gid);
        self.u32(AT + offset_of!(ExecImage, mode), image.mode);
        self.u32(AT + offset_of!(ExecImage, nlink), image.nlink);
        self.u32(AT + offset_of!(ExecImage, mnt_ns), image.mnt_ns);
        let word = match image.source {
            ImageSource::Exec => source::EXEC,
            ImageSource::OlderThanWatch => source::OLDER_THAN_WATCH,
            ImageSource::AtAccess => source::AT_ACCESS,
        };
        self.u32(AT + offset_of!(ExecImage, source), word);
        let used = self.text("image.path", AT + offset_of!(ExecImage, path), &image.path, limits::EXEC_PATH)?;
        self.u32(AT + offset_of!(ExecImage, path_len), used);
        Ok(())
    }

    fn ancestors(&mut self, process: &Process) -> Result<(), EncodeError> {
        let count = process.ancestors.len();
        if count > limits::ANCESTORS {
            return Err(EncodeError::Ancestors { got: count });
        }
        self.u32(offset_of!(RawRecord, ancestor_count), u32::try_from(count).unwrap_or(u32::MAX));
        self.mark(mark::ANCESTORS_CUT, process.ancestors_cut);
        for (index, ancestor) in process.ancestors.iter().enumerate() {
            self.ancestor(offset_of!(RawRecord, ancestors) + index * size_of::<RawAncestor>(), ancestor)?;
        }
        Ok(())
    }

    /// Notes the state of a fact and gives its value, where known.
    fn fact<'v, T>(&mut self, bit: u32, value: &'v Fact<T>) -> Option<&'v T> {
        match value {
            Fact::Known(_) => self.known |= bit,
            Fact::Unreadable => self.unreadable |= bit,
            Fact::NotAsked => {}
        }
        value.known()
    }

    const fn mark(&mut self, bit: u32, noticed: bool) {
        if noticed {
            self.marks |= bit;
        }
    }

    fn text(&mut self, field: &'static str, at: usize, text: &[u8], capacity: usize) -> Result<u32, EncodeError> {
        let too_long = EncodeError::TooLong { field, got: text.len(), capacity };
        if text.len() > capacity {
            return Err(too_long);
        }
        self.put(at, text);
        u32::try_from(text.len()).map_err(|_| too_long)
    }

    fn comm(&mut self, at: usize, comm: &[u8]) -> Result<(), EncodeError> {
        let mut field = [0; limits::COMM];
        let too_long = EncodeError::TooLong { field: "comm", got: comm.len(), capacity: limits::COMM };
        field.get_mut(..comm.len()).ok_or(too_long)?.copy_from_slice(comm);
        self.put(at, &field);
        Ok(())
    }

    fn file_id(&mut self, at: usize, id: FileId) {
        self.u64(at + offset_of!(FileId, ino), id.ino);
        self.u32(at + offset_of!(FileId, dev), id.dev);
        self.u32(at + offset_of!(FileId, birth), id.birth);
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}
