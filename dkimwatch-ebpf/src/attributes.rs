//! An inode's attributes, as a change tells of them.

use dkimwatch_common::record::RawAttributes;

use crate::memory::{Memory, Probed, Ptr, offset, u32_at, u64_at};

/// `include/linux/fs.h`: the kernel's own note that a file has no capabilities.
const S_NOSEC: u32 = 1 << 12;

/// Writes the attributes that an inode has now.
///
/// # Safety
/// `to` can be written to.
#[inline(always)]
pub unsafe fn write(to: *mut RawAttributes, inode: Ptr) {
    // SAFETY: the caller vouches for `to`; `umode_t` is an integer of 16 bits.
    unsafe {
        (*to).size = u64_at(inode, offset!(inode_i_size));
        (*to).mode = u32::from(Probed::read::<u16>(inode, offset!(inode_i_mode)));
        (*to).uid = u32_at(inode, offset!(inode_i_uid));
        (*to).gid = u32_at(inode, offset!(inode_i_gid));
        (*to).nlink = u32_at(inode, offset!(inode_i_nlink));
        (*to).flags = u32_at(inode, offset!(inode_i_flags)) & !S_NOSEC;
        (*to).pad = 0;
    }
}
