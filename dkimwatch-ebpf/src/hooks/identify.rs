//! `iter/task_file`: tells the watcher what its own `O_PATH` descriptors are to the kernel.

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_seq_write};
use dkimwatch_common::identity::Identified;

use crate::{
    change, itself,
    memory::{Memory, Probed, Ptr, offset, pointer, present, u32_at, u64_at},
    watch,
};

/// `struct bpf_iter__task_file { meta, task, fd, file }` (`kernel/bpf/task_iter.c`), a word each.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn iter_identify(ctx: *mut core::ffi::c_void) -> i32 {
    let ctx = ctx.cast::<Ptr>();
    // SAFETY: the context's layout, see above.
    let (meta, task, file) = unsafe { (*ctx, *ctx.add(1), *ctx.add(3)) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    // The iterator runs in the process that reads it: the watcher, whatever pid namespace it is in.
    // SAFETY: a helper without arguments.
    if u64::from(u32_at(task, offset!(task_tgid))) != unsafe { bpf_get_current_pid_tgid() } >> 32 {
        return 0;
    }
    itself::note();
    itself::note_file(file);
    let inode = pointer(file, offset!(file_f_inode));
    change::keep(watch::identity(inode), inode);
    let ctime = offset!(inode_i_ctime);
    let answer = Identified {
        file: watch::identity(inode),
        ctime: if present(ctime) { u64_at(inode, ctime) } else { 0 },
        // SAFETY: the context's layout, see above.
        fd: unsafe { *ctx.add(2).cast::<u32>() },
        // SAFETY: an integer; `umode_t` is 16 bits wide.
        mode: u32::from(unsafe { Probed::read::<u16>(inode, offset!(inode_i_mode)) }),
        uid: u32_at(inode, offset!(inode_i_uid)),
        gid: u32_at(inode, offset!(inode_i_gid)),
        nlink: u32_at(inode, offset!(inode_i_nlink)),
        generation: watch::generation(inode),
    };
    // SAFETY: `struct bpf_iter_meta` begins with its `seq_file`, a trusted pointer to the verifier.
    unsafe {
        let seq = *meta.cast::<*mut aya_ebpf::bindings::seq_file>();
        bpf_seq_write(seq, (&raw const answer).cast(), size_of::<Identified>() as u32);
    }
    0
}
