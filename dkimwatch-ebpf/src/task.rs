//! Finding tasks: by number, by `struct pid`, by pidfd.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::memory::{Memory, Probed, Ptr, offset, pointer, present, u32_at, u64_at};

/// `task->self_exec_id`: how often the process and its forebears have executed a program.
#[inline(always)]
pub fn exec_id(task: Ptr) -> u64 {
    let at = offset!(task_exec_id);
    if present(at) { u64_at(task, at) } else { 0 }
}

/// The task of a `struct pid`; null where there is none any more.
#[inline(always)]
pub fn of_pid(pid: Ptr) -> Ptr {
    // `PIDTYPE_PID` is the first of each array.
    let (tasks, links) = (offset!(pid_tasks), offset!(task_pid_links));
    if pid.is_null() || !present(tasks) || !present(links) {
        return core::ptr::null();
    }
    let first = pointer(pid, tasks);
    if first.is_null() { first } else { first.wrapping_sub(links as usize) }
}

/// The task that the current one calls by this number (`find_task_by_vpid()`): its pid namespace keeps an xarray of them.
#[inline(always)]
pub fn by_number(number: u32) -> Ptr {
    /// `struct upid`: a number and its namespace.
    const UPID: usize = 16;
    /// Six bits a level: a pid has 22 (`PID_MAX_LIMIT`).
    const LEVELS: usize = 5;
    let (thread_pid, level, numbers, namespace) =
        (offset!(task_thread_pid), offset!(pid_level), offset!(pid_numbers), offset!(upid_ns));
    let (root, shift, slots) = (offset!(pid_ns_numbers), offset!(xa_shift), offset!(xa_slots));
    let known = present(thread_pid) && present(level) && present(numbers) && present(namespace);
    if !known || !present(root) || !present(shift) || !present(slots) {
        return core::ptr::null();
    }
    // SAFETY: a helper without arguments.
    let own = pointer(unsafe { bpf_get_current_task() } as Ptr, thread_pid);
    let own_level = u32_at(own, level) as usize;
    let namespace = pointer(own.wrapping_add(numbers as usize).wrapping_add(own_level * UPID), namespace);
    let mut entry = u64_at(namespace, root);
    let mut step = 0;
    while step < LEVELS {
        // `xa_is_node()`: two low bits are 10.
        if entry & 3 != 2 {
            break;
        }
        let node = (entry & !3) as Ptr;
        // SAFETY: an integer.
        let bits = u64::from(unsafe { Probed::read::<u8>(node, shift) });
        let slot = (u64::from(number) >> (bits & 31)) & 63;
        entry = u64_at(node.wrapping_add(8 * slot as usize), slots);
        step += 1;
    }
    if entry & 3 == 0 { of_pid(entry as Ptr) } else { core::ptr::null() }
}

/// The task of a pidfd of the current process.
#[inline(always)]
pub fn of_pidfd(file: Ptr) -> Ptr {
    /// `PID_FS_MAGIC` (`include/uapi/linux/magic.h`): pidfs, 6.9 and later.
    const PIDFS: u64 = 0x5049_4446;
    let inode = pointer(file, offset!(file_f_inode));
    let on_pidfs = u64_at(pointer(inode, offset!(inode_i_sb)), offset!(super_s_magic)) == PIDFS;
    let (private_inode, private_file) = (offset!(inode_i_private), offset!(file_private_data));
    if on_pidfs && present(private_inode) {
        of_pid(pointer(inode, private_inode))
    } else if !on_pidfs && present(private_file) {
        of_pid(pointer(file, private_file))
    } else {
        core::ptr::null()
    }
}
