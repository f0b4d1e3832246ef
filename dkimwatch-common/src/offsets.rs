//! Every kernel field that the kernel side reads, in one list.
//!
//! aya emits no CO-RE relocations, and an offset baked in at build time is silently wrong on another kernel. So the loader
//! resolves each field from the running kernel's BTF and passes the offsets as a read-only global, which the verifier
//! treats as constants: `file + OFFSETS.file_f_inode` stays a trusted pointer.

/// The value of a field that this kernel does not have (for instance the login uid without `CONFIG_AUDIT`).
pub const ABSENT: u32 = u32::MAX;

/// How a field's absence is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no identity: refuse to start and say so.
    Required,
    /// Its fact is marked as not asked.
    Optional,
}

/// A kernel field: where it is to be found, under the names it has had.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Index of the offset in [`Offsets`], by name.
    pub name: &'static str,
    /// `struct.member[.member…]` in the order to try; a newer kernel's name first.
    pub paths: &'static [&'static str],
    /// How its absence is taken.
    pub need: Need,
}

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident: $need:ident [$($path:literal),+];)+) => {
        /// Offsets in bytes, one for each [`Field`] and in the same order.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* pub $name: u32,)+
        }

        impl Offsets {
            /// The fields, in the struct's order.
            pub const FIELDS: &'static [Field] = &[
                $(Field { name: stringify!($name), paths: &[$($path),+], need: Need::$need },)+
            ];

            /// Every field absent: what the object holds before the loader has set the real ones.
            pub const ABSENT: Self = Self { $($name: ABSENT,)+ };

            /// Offsets from a resolver, which answers `None` for a field that this kernel does not have.
            pub fn resolve(mut offset_of: impl FnMut(&Field) -> Option<u32>) -> Self {
                let mut fields = Self::FIELDS.iter();
                Self {
                    $($name: match fields.next() {
                        Some(field) => offset_of(field).unwrap_or(ABSENT),
                        None => ABSENT,
                    },)+
                }
            }
        }
    };
}

offsets! {
    /// `file->f_inode`.
    file_f_inode: Required ["file.f_inode"];
    /// `file->f_path.dentry`.
    file_dentry: Required ["file.f_path.dentry"];
    /// `file->f_path.mnt`.
    file_mnt: Required ["file.f_path.mnt"];
    /// `file->f_flags`.
    file_f_flags: Required ["file.f_flags"];
    /// `file->f_mode`.
    file_f_mode: Required ["file.f_mode"];

    /// `inode->i_ino`.
    inode_i_ino: Required ["inode.i_ino"];
    /// `inode->i_sb`.
    inode_i_sb: Required ["inode.i_sb"];
    /// `inode->i_mode`.
    inode_i_mode: Required ["inode.i_mode"];
    /// `inode->i_uid`.
    inode_i_uid: Required ["inode.i_uid"];
    /// `inode->i_gid`.
    inode_i_gid: Required ["inode.i_gid"];
    /// `inode->i_nlink`.
    inode_i_nlink: Required ["inode.i_nlink"];
    /// `inode->i_size`.
    inode_i_size: Required ["inode.i_size"];
    /// `inode->i_flags`: `S_IMMUTABLE` and the like.
    inode_i_flags: Required ["inode.i_flags"];
    /// `inode->i_dentry.first`: the first of its names that are known.
    inode_i_dentry: Required ["inode.i_dentry.first"];
    /// `inode->i_generation`.
    inode_i_generation: Optional ["inode.i_generation"];
    /// `inode->i_ctime`, whole seconds (a `timespec64` until 6.10, two members since).
    inode_i_ctime: Optional ["inode.i_ctime_sec", "inode.__i_ctime", "inode.i_ctime"];
    /// `inode->i_rdev`: which device a device's node is.
    inode_i_rdev: Required ["inode.i_rdev"];
    /// `inode->i_private`: on pidfs, the `pid`.
    inode_i_private: Optional ["inode.i_private"];
    /// `file->private_data`: of a pidfd without pidfs, the `pid`.
    file_private_data: Optional ["file.private_data"];
    /// `proc_inode->pid`: whose a file of `/proc/PID` is.
    proc_pid: Optional ["proc_inode.pid"];
    /// `proc_inode->vfs_inode`: from an inode of `/proc` back to its `proc_inode`.
    proc_vfs_inode: Optional ["proc_inode.vfs_inode"];
    /// `super_block->s_dev`.
    super_s_dev: Required ["super_block.s_dev"];
    /// `super_block->s_magic`: which file system it is.
    super_s_magic: Required ["super_block.s_magic"];

    /// `dentry->d_parent`.
    dentry_d_parent: Required ["dentry.d_parent"];
    /// `dentry->d_inode`.
    dentry_d_inode: Required ["dentry.d_inode"];
    /// `dentry->d_u.d_alias`: links the names of an inode.
    dentry_alias: Required ["dentry.d_u.d_alias", "dentry.d_alias"];
    /// `dentry->d_name.name`.
    dentry_name: Required ["dentry.d_name.name", "dentry.__d_name.name"];
    /// `dentry->d_name.hash_len`: of the name, and of the folder that it is in.
    dentry_hash_len: Required ["dentry.d_name.hash_len", "dentry.__d_name.hash_len"];
    /// `dentry->d_hash.pprev`: null once the name is gone.
    dentry_hash_pprev: Optional ["dentry.d_hash.pprev"];

    /// `mount->mnt`: from a `vfsmount` back to its `mount`.
    mount_mnt: Required ["mount.mnt"];
    /// `vfsmount->mnt_root`.
    vfsmount_mnt_root: Required ["vfsmount.mnt_root"];
    /// `mount->mnt_parent`.
    mount_mnt_parent: Required ["mount.mnt_parent"];
    /// `mount->mnt_mountpoint`.
    mount_mnt_mountpoint: Required ["mount.mnt_mountpoint"];

    /// `mount->mnt_mounts`: what is mounted on it, the latest last.
    mount_mnt_mounts: Optional ["mount.mnt_mounts"];
    /// `mount->mnt_child`: links it there.
    mount_mnt_child: Optional ["mount.mnt_child"];
    /// `mount->mnt_ns`.
    mount_mnt_ns: Required ["mount.mnt_ns"];
    /// `mount->mnt_share`: mounts that show what is mounted on each other.
    mount_mnt_share: Required ["mount.mnt_share"];
    /// `path->mnt`.
    path_mnt: Required ["path.mnt"];
    /// `path->dentry`.
    path_dentry: Required ["path.dentry"];
    /// `pinned_mountpoint->mp` (6.17): where there is one, `attach_recursive_mnt()` has two arguments.
    pinned_mp: Optional ["pinned_mountpoint.mp"];
    /// `delegated_inode->di_inode` (6.19): where there is one, `vfs_rmdir()` takes it too.
    delegated_inode: Optional ["delegated_inode.di_inode"];
    /// `renamedata->old_dentry` (5.12, and stable kernels before).
    rename_old_dentry: Optional ["renamedata.old_dentry"];
    /// `renamedata->new_dentry`.
    rename_new_dentry: Optional ["renamedata.new_dentry"];
    /// `renamedata->flags`.
    rename_flags: Optional ["renamedata.flags"];
    /// `iattr->ia_valid`: what is to be changed.
    iattr_valid: Required ["iattr.ia_valid"];

    /// `vm_fault->vma`.
    vmf_vma: Required ["vm_fault.vma"];
    /// `vm_fault->flags`.
    vmf_flags: Required ["vm_fault.flags"];
    /// `vm_area_struct->vm_file`.
    vma_file: Required ["vm_area_struct.vm_file"];
    /// `vm_area_struct->vm_flags`.
    vma_flags: Required ["vm_area_struct.vm_flags"];

    /// `task->worker_private`: of an io_uring worker, its `io_worker`.
    task_worker: Optional ["task_struct.worker_private"];
    /// `io_worker->cur_work`: in the request that it works on.
    io_worker_work: Optional ["io_worker.cur_work"];
    /// `io_kiocb->work`.
    io_work: Optional ["io_kiocb.work"];
    /// `io_rename->newpath`, in the request.
    io_rename_to: Optional ["io_rename.newpath"];
    /// `io_link->newpath`, in the request.
    io_link_to: Optional ["io_link.newpath"];
    /// `io_kiocb->opcode`.
    io_opcode: Optional ["io_kiocb.opcode"];
    /// `io_kiocb->file`: what a request reads or writes.
    io_file: Optional ["io_kiocb.file"];
    /// `io_open->file_slot`, in the request (`io_kiocb->cmd`, which begins it).
    io_open_slot: Optional ["io_open.file_slot"];
    /// `io_uring_cqe->res`.
    io_cqe_res: Optional ["io_uring_cqe.res"];
    /// `io_ring_ctx->file_table.files`: registered files, until 6.12.
    io_ring_files: Optional ["io_ring_ctx.file_table.files"];
    /// `io_ring_ctx->file_table.data.nodes`: registered files, since 6.13.
    io_ring_nodes: Optional ["io_ring_ctx.file_table.data.nodes"];
    /// `io_rsrc_node->file_ptr`: a registered file, since 6.13.
    io_node_file: Optional ["io_rsrc_node.file_ptr"];

    /// `kiocb->ki_filp`.
    kiocb_file: Optional ["kiocb.ki_filp"];
    /// `iov_iter->data_source`: it is written from (6.2).
    iter_source: Optional ["iov_iter.data_source"];
    /// `address_space->host`.
    mapping_host: Required ["address_space.host"];

    /// `task->stack`: its kernel stack.
    task_stack: Optional ["task_struct.stack"];
    /// `task->thread_info.status`: `TS_COMPAT`, in a 32-bit system call.
    task_status: Optional ["task_struct.thread_info.status"];
    /// `task->pid_links`: from a `pid` to its tasks.
    task_pid_links: Optional ["task_struct.pid_links"];
    /// `task->sighand`.
    task_sighand: Optional ["task_struct.sighand"];
    /// `task->exec_state`, which has been there since 7.2 or so.
    task_exec_state: Optional ["task_struct.exec_state"];
    /// `task_exec_state->dumpable`.
    exec_state_dumpable: Optional ["task_exec_state.dumpable"];
    /// `mm->flags`: until `exec_state` came, its lowest bits say whether the memory may be dumped.
    mm_flags: Optional ["mm_struct.flags"];
    /// `sighand->action`.
    sighand_action: Optional ["sighand_struct.action"];
    /// `signal->rlim`.
    signal_rlim: Optional ["signal_struct.rlim"];
    /// `bpf_map->name`.
    bpf_map_name: Optional ["bpf_map.name"];
    /// `pid->tasks`.
    pid_tasks: Optional ["pid.tasks"];
    /// `upid->ns`.
    upid_ns: Optional ["upid.ns"];
    /// `pid_namespace->idr`: its `pid`s by number.
    pid_ns_numbers: Optional ["pid_namespace.idr.idr_rt.xa_head"];
    /// `xa_node->shift`.
    xa_shift: Optional ["xa_node.shift"];
    /// `xa_node->slots`.
    xa_slots: Optional ["xa_node.slots"];
    /// `pt_regs->orig_ax`: a system call's number.
    regs_orig_ax: Optional ["pt_regs.orig_ax"];

    /// `task->self_exec_id`.
    task_exec_id: Optional ["task_struct.self_exec_id"];
    /// `task->tgid`.
    task_tgid: Required ["task_struct.tgid"];
    /// `task->pid`.
    task_pid: Required ["task_struct.pid"];
    /// `task->group_leader`.
    task_group_leader: Required ["task_struct.group_leader"];
    /// `task->real_parent`.
    task_real_parent: Required ["task_struct.real_parent"];
    /// `task->start_boottime`, nanoseconds.
    task_start: Required ["task_struct.start_boottime", "task_struct.real_start_time"];
    /// `task->comm`.
    task_comm: Required ["task_struct.comm"];
    /// `task->flags`.
    task_flags: Required ["task_struct.flags"];
    /// `task->ptrace`: not zero while it is traced.
    task_ptrace: Required ["task_struct.ptrace"];
    /// `task->parent`: the tracer, where there is one.
    task_parent: Required ["task_struct.parent"];
    /// `task->mm`.
    task_mm: Required ["task_struct.mm"];
    /// `task->files`.
    task_files: Required ["task_struct.files"];
    /// `task->real_cred`.
    task_real_cred: Required ["task_struct.real_cred"];
    /// `task->nsproxy`.
    task_nsproxy: Required ["task_struct.nsproxy"];
    /// `task->cgroups`.
    task_cgroups: Required ["task_struct.cgroups"];
    /// `task->signal`.
    task_signal: Required ["task_struct.signal"];
    /// `task->thread_pid`.
    task_thread_pid: Optional ["task_struct.thread_pid"];
    /// `task->loginuid` (`CONFIG_AUDIT`).
    task_loginuid: Optional ["task_struct.loginuid"];
    /// `task->sessionid` (`CONFIG_AUDIT`).
    task_sessionid: Optional ["task_struct.sessionid"];

    /// `signal->live`: threads that have not exited yet.
    signal_live: Required ["signal_struct.live"];
    /// `pid->level`.
    pid_level: Optional ["pid.level"];
    /// `pid->numbers`.
    pid_numbers: Optional ["pid.numbers"];
    /// `upid->nr`.
    upid_nr: Optional ["upid.nr"];

    /// `mm->exe_file`.
    mm_exe_file: Required ["mm_struct.exe_file"];
    /// `mm->arg_start`.
    mm_arg_start: Required ["mm_struct.arg_start"];
    /// `mm->arg_end`.
    mm_arg_end: Required ["mm_struct.arg_end"];

    /// `mm->env_start`.
    mm_env_start: Required ["mm_struct.env_start"];
    /// `mm->env_end`.
    mm_env_end: Required ["mm_struct.env_end"];

    /// `files->fdt`.
    files_fdt: Required ["files_struct.fdt"];
    /// `fdtable->max_fds`.
    fdtable_max_fds: Required ["fdtable.max_fds"];
    /// `fdtable->fd`.
    fdtable_fd: Required ["fdtable.fd"];

    /// `cred->uid`.
    cred_uid: Required ["cred.uid"];
    /// `cred->gid`.
    cred_gid: Required ["cred.gid"];
    /// `cred->suid`.
    cred_suid: Required ["cred.suid"];
    /// `cred->sgid`.
    cred_sgid: Required ["cred.sgid"];
    /// `cred->euid`.
    cred_euid: Required ["cred.euid"];
    /// `cred->egid`.
    cred_egid: Required ["cred.egid"];
    /// `cred->fsuid`.
    cred_fsuid: Required ["cred.fsuid"];
    /// `cred->fsgid`.
    cred_fsgid: Required ["cred.fsgid"];
    /// `cred->cap_effective`.
    cred_cap_effective: Required ["cred.cap_effective"];
    /// `cred->user_ns`.
    cred_user_ns: Required ["cred.user_ns"];
    /// `user_namespace->ns.inum`.
    user_ns_inum: Required ["user_namespace.ns.inum"];
    /// `user_namespace->uid_map`.
    user_ns_uid_map: Optional ["user_namespace.uid_map"];
    /// `user_namespace->gid_map`.
    user_ns_gid_map: Optional ["user_namespace.gid_map"];
    /// `uid_gid_map->nr_extents`.
    id_map_count: Optional ["uid_gid_map.nr_extents"];
    /// `uid_gid_map->extent`, the extents themselves where there are few.
    id_map_extents: Optional ["uid_gid_map.extent"];

    /// `nsproxy->mnt_ns`.
    nsproxy_mnt: Required ["nsproxy.mnt_ns"];
    /// `nsproxy->pid_ns_for_children`.
    nsproxy_pid: Required ["nsproxy.pid_ns_for_children"];
    /// `nsproxy->net_ns`.
    nsproxy_net: Required ["nsproxy.net_ns"];
    /// `nsproxy->uts_ns`.
    nsproxy_uts: Required ["nsproxy.uts_ns"];
    /// `nsproxy->ipc_ns`.
    nsproxy_ipc: Required ["nsproxy.ipc_ns"];
    /// `nsproxy->cgroup_ns`.
    nsproxy_cgroup: Required ["nsproxy.cgroup_ns"];
    /// `mnt_namespace->ns.inum`.
    mnt_ns_inum: Required ["mnt_namespace.ns.inum"];
    /// `pid_namespace->ns.inum`.
    pid_ns_inum: Required ["pid_namespace.ns.inum"];
    /// `net->ns.inum`.
    net_ns_inum: Required ["net.ns.inum"];
    /// `uts_namespace->ns.inum`.
    uts_ns_inum: Required ["uts_namespace.ns.inum"];
    /// `ipc_namespace->ns.inum`.
    ipc_ns_inum: Optional ["ipc_namespace.ns.inum"];
    /// `cgroup_namespace->ns.inum`.
    cgroup_ns_inum: Optional ["cgroup_namespace.ns.inum"];

    /// `css_set->dfl_cgrp`: the task's cgroup in the unified hierarchy.
    css_set_dfl_cgrp: Required ["css_set.dfl_cgrp"];
    /// `css_set->subsys`: the task's cgroups by controller.
    css_set_subsys: Required ["css_set.subsys"];
    /// `cgroup_subsys_state->cgroup`.
    css_cgroup: Required ["cgroup_subsys_state.cgroup"];
    /// `cgroup->kn`.
    cgroup_kn: Required ["cgroup.kn"];
    /// `kernfs_node->name`.
    kernfs_name: Required ["kernfs_node.name"];
    /// `kernfs_node->parent` (`__parent` since 6.15).
    kernfs_parent: Required ["kernfs_node.__parent", "kernfs_node.parent"];
    /// `kernfs_node->id`.
    kernfs_id: Required ["kernfs_node.id"];

    /// `task->fs`.
    task_fs: Required ["task_struct.fs"];
    /// `fs_struct->root.dentry`.
    fs_root_dentry: Required ["fs_struct.root.dentry"];
    /// `fs_struct->root.mnt`.
    fs_root_mnt: Required ["fs_struct.root.mnt"];
    /// `fs_struct->pwd.dentry`.
    fs_pwd_dentry: Required ["fs_struct.pwd.dentry"];
    /// `fs_struct->pwd.mnt`.
    fs_pwd_mnt: Required ["fs_struct.pwd.mnt"];
    /// `nameidata->inode`: where a walk along a path has got to.
    nd_inode: Optional ["nameidata.inode"];
    /// `nameidata->root.dentry`: where an absolute path begins.
    nd_root_dentry: Optional ["nameidata.root.dentry"];
    /// `nameidata->root.mnt`.
    nd_root_mnt: Optional ["nameidata.root.mnt"];
    /// `nameidata->name`.
    nd_name: Optional ["nameidata.name"];
    /// `nameidata->dfd`.
    nd_dfd: Optional ["nameidata.dfd"];
    /// `filename->name`.
    filename_name: Optional ["filename.name"];
    /// `open_flags->open_flag`: `O_*`.
    open_flag: Optional ["open_flags.open_flag"];
    /// `pt_regs->di`: a system call's first argument.
    regs_di: Optional ["pt_regs.di"];
    /// `pt_regs->si`: the second.
    regs_si: Optional ["pt_regs.si"];
    /// `pt_regs->dx`: the third.
    regs_dx: Optional ["pt_regs.dx"];

    /// `pt_regs->r10`: the fourth.
    regs_r10: Optional ["pt_regs.r10"];
    /// `pt_regs->r8`: the fifth.
    regs_r8: Optional ["pt_regs.r8"];

    /// `linux_binprm->file`.
    bprm_file: Required ["linux_binprm.file"];
    /// `linux_binprm->filename`.
    bprm_filename: Required ["linux_binprm.filename"];
}
