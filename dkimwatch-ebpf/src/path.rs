//! A file's path, walked by hand: `bpf_d_path` is allowed in few hooks and on few kernels, and this walk in all of them.

use dkimwatch_common::limits::{NAME, PATH_BYTES, PATH_DEPTH};

use crate::memory::{Ptr, at_most, copy_str, forget_range, is_less, offset, pointer, present, u64_at};

/// What the walk found.
pub struct Walked {
    /// Bytes written.
    pub len: u32,
    /// The root end is missing.
    pub cut: bool,
    /// The name was gone.
    pub unlinked: bool,
}

impl Walked {
    const CUT: u64 = 1 << 32;
    const UNLINKED: u64 = 1 << 33;

    /// As an integer, which is all that a global function returns.
    #[inline(always)]
    pub fn to_bits(&self) -> u64 {
        let cut = if self.cut { Self::CUT } else { 0 };
        let unlinked = if self.unlinked { Self::UNLINKED } else { 0 };
        u64::from(self.len) | cut | unlinked
    }

    /// From [`Walked::to_bits`].
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self { len: bits as u32, cut: bits & Self::CUT != 0, unlinked: bits & Self::UNLINKED != 0 }
    }
}

/// Writes the components of a path, leaf first, each with its NUL, crossing mounts up to the root of the mount tree;
/// without a mount (`mnt` is null) up to the root of the file system. `to` has `PATH_BYTES` bytes.
///
/// No lock is held: a concurrent rename can yield a mixed path (the kernel's own `d_path` retries under `rename_lock`).
/// The path is for people; the decision was made by identity.
#[inline(always)]
pub fn walk(dentry: Ptr, mnt: Ptr, to: *mut u8) -> Walked {
    walk_on(dentry, mnt, to, 0)
}

/// As [`walk`], of a name in a folder: that of an entry which has another by now. Null where there is none, and the folder
/// is the entry itself.
#[inline(always)]
pub fn below(name: Ptr, folder: Ptr, mnt: Ptr, to: *mut u8) -> Walked {
    let mut len = 0;
    if !name.is_null() {
        // SAFETY: it has room for a whole name.
        let written = unsafe { copy_str(to, NAME as u32, name) };
        // An empty one is none.
        len = if written > 1 { forget_range(written as u64, 2 * PATH_BYTES as u64 - 1) } else { 0 };
    }
    walk_on(folder, mnt, to, len)
}

#[inline(always)]
fn walk_on(dentry: Ptr, mnt: Ptr, to: *mut u8, from: u64) -> Walked {
    let (mut dentry, mut mnt) = (dentry, mnt);
    let unlinked_at = offset!(dentry_hash_pprev);
    // Without a branch: the verifier would walk the whole path for each way out of it.
    let mut unlinked = 0;
    if present(unlinked_at) {
        let apart = pointer(dentry, offset!(dentry_d_parent)) as u64 ^ dentry as u64;
        unlinked = is_less(u64_at(dentry, unlinked_at), 1) & is_less(0, apart);
    }

    let mut len: u64 = from;
    let mut cut = true;
    let mut step = 0;
    while step < PATH_DEPTH {
        step += 1;
        let root = pointer(mnt, offset!(vfsmount_mnt_root));
        if dentry == root {
            // `real_mount()`: the mount around the vfsmount.
            let mount = mnt.wrapping_sub(offset!(mount_mnt) as usize);
            let parent = pointer(mount, offset!(mount_mnt_parent));
            if parent == mount || parent.is_null() {
                cut = false;
                break;
            }
            dentry = pointer(mount, offset!(mount_mnt_mountpoint));
            mnt = parent.wrapping_add(offset!(mount_mnt) as usize);
            continue;
        }
        let Some(at) = at_most(len, (PATH_BYTES - NAME) as u64) else { break };
        // SAFETY: `at` leaves room for a whole name.
        let written = unsafe { copy_str(to.add(at as usize), NAME as u32, pointer(dentry, offset!(dentry_name))) };
        if written <= 0 {
            break;
        }
        len = forget_range(at + written as u64, 2 * PATH_BYTES as u64 - 1);
        let parent = pointer(dentry, offset!(dentry_d_parent));
        if parent == dentry {
            // A file without a folder (memfd, a disconnected handle).
            cut = false;
            break;
        }
        dentry = parent;
    }
    Walked { len: len as u32, cut, unlinked: unlinked != 0 }
}
