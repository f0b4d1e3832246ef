//! Where, in other mount namespaces than the host's, something watched was mounted: userspace cannot follow a path there once
//! the namespace's last process has ended, and of a walk that was refused on the way nothing is left but the folder.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use dkimwatch_common::{identity::FileId, limits, tally::Exit, watch::Tag};

use crate::{
    maps::{DIRS, ELSEWHERE, FILES, SETTINGS, WAYS},
    memory::{Ptr, offset, pointer},
    process, watch,
};

/// A folder, as a mount namespace has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Above {
    dir: FileId,
    namespace: u64,
}

impl Above {
    /// The folder in the current task's namespace.
    #[inline(always)]
    fn of(dir: FileId) -> Self {
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task() } as Ptr;
        Self { dir, namespace: u64::from(process::mount_namespace(task)) }
    }
}

/// Whether the current task is in the host's mount namespace.
#[inline(always)]
pub fn is_host() -> bool {
    let host = SETTINGS.get(limits::SETTING_MOUNTS).copied().unwrap_or(0);
    // SAFETY: a helper without arguments.
    process::mount_namespace(unsafe { bpf_get_current_task() } as Ptr) == host
}

/// The tag of what is mounted below a folder in the current task's namespace, which is another than the host's.
#[inline(always)]
pub fn below(dir: FileId) -> Option<Tag> {
    // SAFETY: a value is only copied out.
    unsafe { ELSEWHERE.get(Above::of(dir)) }.copied()
}

/// Something was mounted, or is about to be: `root` is the entry that is its root, `entry` and `mnt` are its place. Remembered
/// are the folders above that, where it is something watched, or leads there.
#[inline(always)]
pub fn mounted(root: Ptr, entry: Ptr, mnt: Ptr) -> Exit {
    if is_host() {
        return Exit::Unrelated;
    }
    let Some(tag) = watched(watch::identity(pointer(root, offset!(dentry_d_inode)))) else { return Exit::Unrelated };
    let (mut entry, mut mnt) = (entry, mnt);
    let mut level = 0;
    while level < limits::ABOVE {
        level += 1;
        if entry == pointer(mnt, offset!(vfsmount_mnt_root)) {
            let mount = mnt.wrapping_sub(offset!(mount_mnt) as usize);
            let parent = pointer(mount, offset!(mount_mnt_parent));
            if parent == mount || parent.is_null() {
                break;
            }
            entry = pointer(mount, offset!(mount_mnt_mountpoint));
            mnt = parent.wrapping_add(offset!(mount_mnt) as usize);
            continue;
        }
        entry = pointer(entry, offset!(dentry_d_parent));
        let dir = watch::identity(pointer(entry, offset!(dentry_d_inode)));
        if ELSEWHERE.insert(Above::of(dir), tag, 0).is_err() {
            return Exit::TableFull;
        }
    }
    Exit::Enrolled
}

#[inline(always)]
fn watched(id: FileId) -> Option<Tag> {
    // SAFETY: values are only copied out.
    unsafe {
        if let Some(watch) = FILES.get(id) {
            return Some(watch.tag);
        }
        if let Some(watch) = DIRS.get(id) {
            return Some(watch.tag);
        }
        WAYS.get(id).copied()
    }
}
