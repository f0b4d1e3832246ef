//! A name was placed in a folder: made, looked up, or moved there. What is born in a watched folder is enrolled at once.

use aya_ebpf::{
    macros::{fentry, lsm},
    programs::{FEntryContext, LsmContext},
};
use dkimwatch_common::tally::{Exit, Hook};

use crate::{
    memory::{Ptr, offset, pointer},
    tally, watch,
};

/// `void security_d_instantiate(struct dentry *dentry, struct inode *inode)`: the entry gets its inode, at creation and
/// at the first lookup.
#[lsm(hook = "d_instantiate")]
fn lsm_d_instantiate(ctx: LsmContext) -> i32 {
    tally::count(&ctx, Hook::Instantiate, instantiated(ctx.arg(0), ctx.arg(1)));
    0
}

/// As above, without the LSM.
#[fentry(function = "security_d_instantiate")]
fn fentry_d_instantiate(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::Instantiate, instantiated(ctx.arg(0), ctx.arg(1)));
    0
}

#[inline(always)]
fn instantiated(dentry: Ptr, inode: Ptr) -> Exit {
    let dir = pointer(pointer(dentry, offset!(dentry_d_parent)), offset!(dentry_d_inode));
    watch::born(dir, dentry, inode)
}

/// `int security_inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
/// struct dentry *new_dentry, unsigned int flags)`; the LSM hook has no flags (an exchange asks it twice).
/// It is asked before the rename is done: one that then fails leaves an entry too many, never one too few.
#[lsm(hook = "inode_rename")]
fn lsm_inode_rename(ctx: LsmContext) -> i32 {
    let verdict: i32 = ctx.arg(4);
    tally::count(&ctx, Hook::Rename, moved(ctx.arg(1), ctx.arg(2), ctx.arg(3)));
    verdict
}

/// As above, without the LSM.
#[fentry(function = "security_inode_rename")]
fn fentry_inode_rename(ctx: FEntryContext) -> i32 {
    const RENAME_EXCHANGE: u32 = 1 << 1;
    let flags: u32 = ctx.arg(4);
    if flags & RENAME_EXCHANGE != 0 {
        tally::count(&ctx, Hook::Rename, moved(ctx.arg(3), ctx.arg(0), ctx.arg(1)));
    }
    tally::count(&ctx, Hook::Rename, moved(ctx.arg(1), ctx.arg(2), ctx.arg(3)));
    0
}

#[inline(always)]
fn moved(old_dentry: Ptr, new_dir: Ptr, new_dentry: Ptr) -> Exit {
    watch::born(new_dir, new_dentry, pointer(old_dentry, offset!(dentry_d_inode)))
}
