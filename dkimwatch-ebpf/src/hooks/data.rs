//! A file's data was reached, whoever opened it.
//!
//! Two ways to see it. Where trampolines work: the checks that every read, write and mapping of a descriptor goes through,
//! and the page faults of a mapping that a process got from its parent. Elsewhere: the tracepoints of the page cache, which
//! have no descriptor, and the ends of the system calls that have one ([`super::descriptor`]).

use aya_ebpf::{
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use dkimwatch_common::{
    deed::Deed,
    record::{Kind, Via},
    tally::{Exit, Hook},
};

use crate::{
    emit, layer,
    memory::{Memory, Ptr, Typed, offset},
    seen, tally, watch,
};

/// `int security_file_permission(struct file *file, int mask)`: before every read and write through a descriptor, whoever
/// asks for it (`rw_verify_area()`: system calls, splice, sendfile, copies, clones, io_uring), with the bytes not yet had.
#[fentry(function = "security_file_permission")]
fn fentry_file_permission(ctx: FEntryContext) -> i32 {
    const MAY_WRITE: u32 = 2;
    let mask: u32 = ctx.arg(1);
    let deed = if mask & MAY_WRITE != 0 { Deed::Write } else { Deed::Read };
    let hook = Hook::FilePermission;
    tally::count(&ctx, hook, reached_by(ctx.arg(0), deed, hook));
    0
}

/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`: a file is mapped; `file` is null
/// for a mapping of none.
#[fentry(function = "security_mmap_file")]
fn fentry_mmap_file(ctx: FEntryContext) -> i32 {
    let (file, prot, flags): (Ptr, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    // Before anything of it is read, see `Typed`.
    if file.is_null() {
        return 0;
    }
    // A mapping that is neither to be read nor to be written is no access; if that changes, its page faults are.
    if prot == 0 {
        return 0;
    }
    let deed = if prot & PROT_WRITE != 0 && is_shared(flags) { Deed::Write } else { Deed::Map };
    let hook = Hook::MmapFile;
    tally::count(&ctx, hook, reached_by(file, deed, hook));
    0
}

/// `include/uapi/asm-generic/mman-common.h`.
pub(super) const PROT_WRITE: u64 = 2;

/// Whether writes to such a mapping reach the file (`include/uapi/linux/mman.h`).
#[inline(always)]
pub(super) const fn is_shared(flags: u64) -> bool {
    const MAP_TYPE: u64 = 0x0f;
    const MAP_SHARED: u64 = 0x01;
    const MAP_SHARED_VALIDATE: u64 = 0x03;
    flags & MAP_TYPE == MAP_SHARED || flags & MAP_TYPE == MAP_SHARED_VALIDATE
}

/// `vm_fault_t filemap_map_pages(struct vm_fault *vmf, pgoff_t start_pgoff, pgoff_t end_pgoff)`; until 5.11 it was
/// `void filemap_map_pages(struct vm_fault *vmf, pgoff_t start_pgoff, pgoff_t end_pgoff)`: pages mapped around a fault that
/// reads.
#[fentry(function = "filemap_map_pages")]
fn fentry_map_pages(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::MapPages, faulted(ctx.arg(0), Hook::MapPages));
    0
}

/// `vm_fault_t filemap_fault(struct vm_fault *vmf)`: a page faulted in.
#[fentry(function = "filemap_fault")]
fn fentry_fault(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::PageFault, faulted(ctx.arg(0), Hook::PageFault));
    0
}

/// `vm_fault_t shmem_fault(struct vm_fault *vmf)`: the same on tmpfs. (Where a fault reads, pages are mapped around it by the function
/// of all.)
#[fentry(function = "shmem_fault")]
fn fentry_shmem_fault(ctx: FEntryContext) -> i32 {
    tally::count(&ctx, Hook::PageFault, faulted(ctx.arg(0), Hook::PageFault));
    0
}

#[inline(always)]
fn faulted(vmf: Ptr, hook: Hook) -> Exit {
    const FAULT_FLAG_WRITE: u32 = 1;
    const VM_SHARED: u64 = 8;
    // SAFETY: pointers and integers.
    unsafe {
        let vma = Typed::read::<Ptr>(vmf, offset!(vmf_vma));
        let file = Typed::read::<Ptr>(vma, offset!(vma_file));
        let writes = Typed::read::<u32>(vmf, offset!(vmf_flags)) & FAULT_FLAG_WRITE != 0
            && Typed::read::<u64>(vma, offset!(vma_flags)) & VM_SHARED != 0;
        reached_by(file, if writes { Deed::Write } else { Deed::Map }, hook)
    }
}

/// Data was reached through an open file.
#[inline(always)]
fn reached_by(file: Ptr, deed: Deed, hook: Hook) -> Exit {
    // SAFETY: a pointer.
    let inode = unsafe { Typed::read::<Ptr>(file, offset!(file_f_inode)) };
    match watch::inode::<Typed>(inode) {
        Ok(found) if layer::is_part(file, &found) => Exit::AlreadySeen,
        Ok(found) => {
            let (kind, via, name) = (Kind::Data, emit::shared_via(), emit::Name::None);
            // The target of a comparison (`FIDEDUPERANGE`) is asked about as if it were written, and need not be writable.
            let deed = if seen::writable(file) { deed } else { Deed::Read };
            let access = emit::Access { kind, deed, hook, via, name, outcome: Some(0) };
            seen::data(&access, &found, || file)
        }
        Err(exit) => exit,
    }
}

/// `mm_filemap_get_pages(struct address_space *mapping, pgoff_t index, pgoff_t last_index)`, 6.10 and later: every read
/// through the page cache (read, splice, sendfile, io_uring).
#[btf_tracepoint(function = "mm_filemap_get_pages")]
fn mm_filemap_get_pages(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::FilemapGetPages, cached(ctx.arg(0), Deed::Read, Hook::FilemapGetPages));
    0
}

/// `mm_filemap_map_pages(struct address_space *mapping, pgoff_t start_pgoff, pgoff_t end_pgoff)`, 6.10 and later: pages
/// mapped around a fault.
#[btf_tracepoint(function = "mm_filemap_map_pages")]
fn mm_filemap_map_pages(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::FilemapMapPages, cached(ctx.arg(0), Deed::Map, Hook::FilemapMapPages));
    0
}

/// `mm_filemap_fault(struct address_space *mapping, pgoff_t index)`, 6.10 and later: a page faulted in.
#[btf_tracepoint(function = "mm_filemap_fault")]
fn mm_filemap_fault(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::FilemapFault, cached(ctx.arg(0), Deed::Map, Hook::FilemapFault));
    0
}

/// Data was reached in the page cache.
#[inline(always)]
fn cached(mapping: Ptr, deed: Deed, hook: Hook) -> Exit {
    // SAFETY: a pointer.
    let inode = unsafe { Typed::read::<Ptr>(mapping, offset!(mapping_host)) };
    match watch::inode::<Typed>(inode) {
        Ok(found) if layer::is_part_of_call(&found) => Exit::AlreadySeen,
        Ok(found) => {
            let (kind, via, name) = (Kind::Data, emit::via(Via::Tracepoint), emit::Name::None);
            let access = emit::Access { kind, deed, hook, via, name, outcome: Some(0) };
            seen::data(&access, &found, || seen::descriptor(found.inode))
        }
        Err(exit) => exit,
    }
}
