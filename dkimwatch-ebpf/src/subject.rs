//! Who it was, as it was at that moment: everything that attribution needs.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_user};
use dkimwatch_common::{
    exec::{ExecImage, source},
    identity::FileId,
    limits,
    record::{Namespaces, RawAncestor, RawIdExtent, RawRecord, fact, mark},
};

use crate::{
    draft::{self, Draft},
    maps::{PROCESSES, SIGNERS},
    memory::{
        CONTROLLERS, Ptr, at_most, constant, copy, copy_str, forget_range, number, offset, pointer, present, u32_at,
        u64_at,
    },
    process, watch,
};

/// `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
const PF_IO_WORKER: u32 = 0x0000_0010;

/// Bytes for one cgroup name.
const CGROUP_NAME: usize = 128;

/// The task that runs the hook.
#[derive(Clone, Copy)]
pub struct Subject {
    /// The thread.
    pub task: Ptr,
    /// Its process id.
    pub tgid: u32,
    /// Its thread id.
    pub tid: u32,
    /// Start of the process.
    pub start: u64,
}

impl Subject {
    /// The current task.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: helpers without arguments.
        let (task, ids) = unsafe { (bpf_get_current_task() as Ptr, bpf_get_current_pid_tgid()) };
        Self { task, tgid: (ids >> 32) as u32, tid: ids as u32, start: process::start(task) }
    }

    /// Another task than the current one.
    #[inline(always)]
    pub fn of(task: Ptr) -> Self {
        let (tgid, tid) = (u32_at(task, offset!(task_tgid)), u32_at(task, offset!(task_pid)));
        Self { task, tgid, tid, start: process::start(task) }
    }

    /// Whether it is a thread of the kernel's own.
    #[inline(always)]
    pub fn is_kernel_thread(&self) -> bool {
        u32_at(self.task, offset!(task_flags)) & PF_KTHREAD != 0
    }

    /// Whether it runs a signer's executable: which ring its record goes through. A hint, not a verdict.
    #[inline(always)]
    pub fn runs_signer(&self) -> bool {
        match PROCESSES.get_ptr(self.tgid) {
            // SAFETY: a value is only copied out, and the process that it belongs to is running this hook.
            Some(image) => unsafe { (*image).start == self.start && SIGNERS.get((*image).file).is_some() },
            None => false,
        }
    }
}

/// The executable recorded for a process that started then; zero when there is none.
#[inline(always)]
pub fn executed(tgid: u32, start: u64) -> FileId {
    match PROCESSES.get_ptr(tgid) {
        // SAFETY: a value is only copied out; one that is replaced meanwhile is another process's, whose start differs.
        Some(image) if unsafe { (*image).start } == start => unsafe { (*image).file },
        _ => FileId::new(0, 0),
    }
}

/// Fills a record's facts about the process.
///
/// # Safety
/// `record` is the draft of this thread.
#[inline(always)]
pub unsafe fn fill(record: *mut RawRecord, subject: Subject) {
    // SAFETY: the caller vouches for the record; each part writes its own fields.
    unsafe {
        let Subject { task, tgid, tid, start } = subject;
        (*record).tgid = tgid;
        (*record).tid = tid;
        (*record).start = start;
        // Not known, until it is.
        (*record).login_uid = u32::MAX;
        (*record).session = u32::MAX;
        let flags = u32_at(task, offset!(task_flags));
        if flags & PF_KTHREAD != 0 {
            (*record).marks |= mark::KERNEL_THREAD;
        }
        if flags & PF_IO_WORKER != 0 {
            (*record).marks |= mark::IO_WORKER;
        }
        if u32_at(task, offset!(task_ptrace)) != 0 {
            (*record).marks |= mark::TRACED;
            (*record).tracer = u32_at(pointer(task, offset!(task_parent)), offset!(task_tgid));
        }
        copy((&raw mut (*record).comm).cast(), limits::COMM as u32, task.wrapping_add(offset!(task_comm) as usize));
        creds(record, task);
        login(record, task);
        namespaces_of(record, task);
        id_maps(record, task);
        inner_pid(record, task);
        cgroup(record, task);
        executable(record, subject);
        arguments(record, task);
        ancestors(record, task);
    }
}

#[inline(always)]
unsafe fn creds(record: *mut RawRecord, task: Ptr) {
    let cred = pointer(task, offset!(task_real_cred));
    // SAFETY: see `fill`.
    unsafe {
        if cred.is_null() {
            (*record).unreadable |= fact::CREDS;
            return;
        }
        let creds = &raw mut (*record).creds;
        (*creds).uid = u32_at(cred, offset!(cred_uid));
        (*creds).euid = u32_at(cred, offset!(cred_euid));
        (*creds).suid = u32_at(cred, offset!(cred_suid));
        (*creds).fsuid = u32_at(cred, offset!(cred_fsuid));
        (*creds).gid = u32_at(cred, offset!(cred_gid));
        (*creds).egid = u32_at(cred, offset!(cred_egid));
        (*creds).sgid = u32_at(cred, offset!(cred_sgid));
        (*creds).fsgid = u32_at(cred, offset!(cred_fsgid));
        (*creds).cap_effective = u64_at(cred, offset!(cred_cap_effective));
        (*record).known |= fact::CREDS;
    }
}

#[inline(always)]
unsafe fn login(record: *mut RawRecord, task: Ptr) {
    let (uid, session) = (offset!(task_loginuid), offset!(task_sessionid));
    if present(uid) && present(session) {
        // SAFETY: see `fill`.
        unsafe {
            (*record).login_uid = u32_at(task, uid);
            (*record).session = u32_at(task, session);
            (*record).known |= fact::LOGIN;
        }
    }
}

#[inline(always)]
unsafe fn namespaces_of(record: *mut RawRecord, task: Ptr) {
    let nsproxy = pointer(task, offset!(task_nsproxy));
    // SAFETY: see `fill`.
    unsafe {
        if nsproxy.is_null() {
            (*record).unreadable |= fact::NAMESPACES;
            return;
        }
        namespaces(&raw mut (*record).namespaces, pointer(task, offset!(task_real_cred)), nsproxy);
        (*record).known |= fact::NAMESPACES;
    }
}

/// Fills the namespaces of credentials and a `struct nsproxy`.
///
/// # Safety
/// `to` is a place of this thread's.
#[inline(always)]
pub unsafe fn namespaces(to: *mut Namespaces, cred: Ptr, nsproxy: Ptr) {
    // SAFETY: the caller vouches for the place.
    unsafe {
        (*to).mnt = u32_at(pointer(nsproxy, offset!(nsproxy_mnt)), offset!(mnt_ns_inum));
        (*to).pid = u32_at(pointer(nsproxy, offset!(nsproxy_pid)), offset!(pid_ns_inum));
        (*to).net = u32_at(pointer(nsproxy, offset!(nsproxy_net)), offset!(net_ns_inum));
        (*to).uts = u32_at(pointer(nsproxy, offset!(nsproxy_uts)), offset!(uts_ns_inum));
        let (ipc, cgroup) = (offset!(ipc_ns_inum), offset!(cgroup_ns_inum));
        (*to).ipc = if present(ipc) { u32_at(pointer(nsproxy, offset!(nsproxy_ipc)), ipc) } else { 0 };
        (*to).cgroup = if present(cgroup) { u32_at(pointer(nsproxy, offset!(nsproxy_cgroup)), cgroup) } else { 0 };
        (*to).user = u32_at(pointer(cred, offset!(cred_user_ns)), offset!(user_ns_inum));
        (*to).pad = 0;
    }
}

/// What ids mean in the user namespace of the process.
#[inline(always)]
unsafe fn id_maps(record: *mut RawRecord, task: Ptr) {
    let (users, groups) = (offset!(user_ns_uid_map), offset!(user_ns_gid_map));
    let (count, extents) = (offset!(id_map_count), offset!(id_map_extents));
    if !(present(users) && present(groups) && present(count) && present(extents)) {
        return;
    }
    let namespace = pointer(pointer(task, offset!(task_real_cred)), offset!(cred_user_ns));
    // SAFETY: see `fill`; the kernel's extents are as many.
    unsafe {
        (*record).unreadable |= fact::ID_MAPS;
        if namespace.is_null() {
            return;
        }
        for (at, to) in [(users, &raw mut (*record).uid_map), (groups, &raw mut (*record).gid_map)] {
            let map = namespace.wrapping_add(at as usize);
            (*to).count = u32_at(map, count);
            let room = (limits::ID_EXTENTS * size_of::<RawIdExtent>()) as u32;
            if !copy((&raw mut (*to).extents).cast(), room, map.wrapping_add(extents as usize)) {
                return;
            }
        }
        (*record).unreadable &= !fact::ID_MAPS;
        (*record).known |= fact::ID_MAPS;
    }
}

/// The process id in its own pid namespace: `pid->numbers[pid->level].nr` of the group leader.
#[inline(always)]
unsafe fn inner_pid(record: *mut RawRecord, task: Ptr) {
    let (pid_at, level_at, numbers_at, nr_at) =
        (offset!(task_thread_pid), offset!(pid_level), offset!(pid_numbers), offset!(upid_nr));
    if !(present(pid_at) && present(level_at) && present(numbers_at) && present(nr_at)) {
        return;
    }
    let pid = pointer(pointer(task, offset!(task_group_leader)), pid_at);
    let level = u32_at(pid, level_at) as usize;
    // SAFETY: see `fill`.
    unsafe {
        if pid.is_null() {
            (*record).unreadable |= fact::INNER_PID;
            return;
        }
        (*record).inner_pid = u32_at(pid.wrapping_add(numbers_at as usize).wrapping_add(level * process::UPID), nr_at);
        (*record).known |= fact::INNER_PID;
    }
}

/// The folder (`struct kernfs_node *`) of a task's control group: that of the unified hierarchy, or, where the task is at its root,
/// of the first one of version 1 where it is not. A host that has those makes its containers there.
#[inline(always)]
pub fn cgroup_node(set: Ptr) -> Ptr {
    let unified = pointer(pointer(set, offset!(css_set_dfl_cgrp)), offset!(cgroup_kn));
    if unified.is_null() || !pointer(unified, offset!(kernfs_parent)).is_null() {
        return unified;
    }
    let controllers = constant(&raw const CONTROLLERS);
    let mut at = 0;
    while at < 4 {
        let number = controllers >> (8 * at) & 0xff;
        at += 1;
        if number == 0 {
            continue;
        }
        let state = pointer(set, offset!(css_set_subsys) + 8 * (number - 1));
        let node = pointer(pointer(state, offset!(css_cgroup)), offset!(cgroup_kn));
        if !pointer(node, offset!(kernfs_parent)).is_null() {
            return node;
        }
    }
    unified
}

#[inline(always)]
unsafe fn cgroup(record: *mut RawRecord, task: Ptr) {
    let mut node = cgroup_node(pointer(task, offset!(task_cgroups)));
    // SAFETY: see `fill`; `at` leaves room for a whole name.
    unsafe {
        if node.is_null() {
            (*record).unreadable |= fact::CGROUP;
            return;
        }
        (*record).cgroup_id = u64_at(node, offset!(kernfs_id));
        let to = (&raw mut (*record).cgroup).cast::<u8>();
        let mut len: u64 = 0;
        let mut level = 0;
        let mut cut = true;
        while level < limits::CGROUP_DEPTH {
            level += 1;
            let parent = pointer(node, offset!(kernfs_parent));
            if parent.is_null() {
                cut = false;
                break;
            }
            let Some(at) = at_most(len, (limits::CGROUP_BYTES - CGROUP_NAME) as u64) else { break };
            let written = copy_str(to.add(at as usize), CGROUP_NAME as u32, pointer(node, offset!(kernfs_name)));
            if written <= 0 {
                break;
            }
            len = forget_range(at + written as u64, 2 * limits::CGROUP_BYTES as u64 - 1);
            node = parent;
        }
        if cut {
            // The last look: the level after the deepest one kept may be the root.
            cut = !pointer(node, offset!(kernfs_parent)).is_null();
        }
        if cut {
            (*record).marks |= mark::CGROUP_CUT;
        }
        (*record).cgroup_len = len as u32;
        (*record).known |= fact::CGROUP;
    }
}

/// Both answers: what was executed, and what `mm->exe_file` says now.
#[inline(always)]
unsafe fn executable(record: *mut RawRecord, subject: Subject) {
    let mm = pointer(subject.task, offset!(task_mm));
    let file = pointer(mm, offset!(mm_exe_file));
    // SAFETY: see `fill`.
    unsafe {
        if !mm.is_null() && !file.is_null() {
            let inode = pointer(file, offset!(file_f_inode));
            (*record).claimed = watch::identity(inode);
            let (entry, mnt) = (pointer(file, offset!(file_dentry)), pointer(file, offset!(file_mnt)));
            let walked = draft::path(entry, mnt, core::ptr::null(), offset_of!(RawRecord, claimed_path));
            (*record).claimed_path_len = walked.len;
            if walked.cut {
                (*record).marks |= mark::CLAIMED_PATH_CUT;
            }
            if walked.unlinked {
                (*record).marks |= mark::CLAIMED_UNLINKED;
            }
            (*record).known |= fact::CLAIMED;
        }
        let to = &raw mut (*record).image;
        if let Some(image) = PROCESSES.get_ptr(subject.tgid)
            && (*image).start == subject.start
        {
            copy(to.cast(), size_of::<ExecImage>() as u32, image.cast());
            (*record).known |= fact::IMAGE;
        } else if (*record).known & fact::CLAIMED != 0 {
            let inode = pointer(file, offset!(file_f_inode));
            (*to).start = subject.start;
            (*to).file = (*record).claimed;
            let ctime = offset!(inode_i_ctime);
            (*to).ctime = if present(ctime) { u64_at(inode, ctime) } else { 0 };
            (*to).uid = u32_at(inode, offset!(inode_i_uid));
            (*to).gid = u32_at(inode, offset!(inode_i_gid));
            (*to).mode = u32_at(inode, offset!(inode_i_mode)) & 0xffff;
            (*to).nlink = u32_at(inode, offset!(inode_i_nlink));
            (*to).mnt_ns = process::mount_namespace(subject.task);
            (*to).source = source::AT_ACCESS;
            (*to).path_len = 0;
            (*to).executed = 0;
            (*to).marks = 0;
            (*record).known |= fact::IMAGE;
        } else {
            (*record).unreadable |= fact::IMAGE;
        }
    }
}

#[inline(always)]
unsafe fn arguments(record: *mut RawRecord, task: Ptr) {
    let mm = pointer(task, offset!(task_mm));
    // SAFETY: see `fill`; the length is bounded by the array's.
    unsafe {
        // Another process's memory cannot be read from here.
        if mm.is_null() || mm != pointer(bpf_get_current_task() as Ptr, offset!(task_mm)) {
            return;
        }
        let from = u64_at(mm, offset!(mm_arg_start));
        let len = u64_at(mm, offset!(mm_arg_end)).wrapping_sub(from);
        let kept = match at_most(len, limits::ARGS as u64) {
            Some(kept) => kept as u32,
            None => {
                (*record).marks |= mark::ARGS_CUT;
                limits::ARGS as u32
            }
        };
        let to = (&raw mut (*record).args).cast();
        if kept != 0 && bpf_probe_read_user(to, kept, from as *const _) == 0 {
            (*record).args_len = kept;
            (*record).known |= fact::ARGS;
        } else {
            (*record).unreadable |= fact::ARGS;
        }
    }
}

#[inline(always)]
unsafe fn ancestors(record: *mut RawRecord, task: Ptr) {
    let mut leader = pointer(task, offset!(task_group_leader));
    let mut count = 0;
    // SAFETY: see `fill`.
    unsafe {
        while count < limits::ANCESTORS {
            let parent = draft_ancestor(number(leader), count as u64) as Ptr;
            if parent.is_null() {
                (*record).ancestor_count = count as u32;
                return;
            }
            leader = parent;
            count += 1;
        }
        (*record).ancestor_count = limits::ANCESTORS as u32;
        let above = pointer(leader, offset!(task_real_parent));
        if u32_at(above, offset!(task_tgid)) != 0 {
            (*record).marks |= mark::ANCESTORS_CUT;
        }
    }
}

/// A global function, see [`crate::draft`]: fills an ancestor in, the parent of `leader`, and returns it. Zero where there is
/// none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn draft_ancestor(leader: u64, index: u64) -> u64 {
    let Some(draft) = Draft::begun() else { return 0 };
    let Some(index) = at_most(index, limits::ANCESTORS as u64 - 1) else { return 0 };
    let leader = leader as Ptr;
    // `real_parent` can be a thread other than the first (`CLONE_PARENT`, a forking thread).
    let parent = pointer(pointer(leader, offset!(task_real_parent)), offset!(task_group_leader));
    let pid = u32_at(parent, offset!(task_tgid));
    if pid == 0 || parent == leader {
        return 0;
    }
    // SAFETY: the draft is this thread's; the index is within the array.
    unsafe {
        let to = (&raw mut (*draft.record).record.ancestors).cast::<RawAncestor>().add(index as usize);
        (*to).pid = pid;
        let start = u64_at(parent, offset!(task_start));
        (*to).start = start;
        (*to).uid = u32_at(pointer(parent, offset!(task_real_cred)), offset!(cred_uid));
        copy((&raw mut (*to).comm).cast(), limits::COMM as u32, parent.wrapping_add(offset!(task_comm) as usize));
        (*to).exe = executed(pid, start);
    }
    number(parent)
}
