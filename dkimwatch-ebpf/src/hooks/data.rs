//! A file's data was reached, whoever opened it.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use dkimwatch_common::{
    deed::Deed,
    record::{Kind, Via},
    tally::{Exit, Hook},
};

use crate::{
    emit,
    memory::{Memory, Ptr, Typed, offset},
    tally, watch,
};

#[inline(always)]
fn reached(ctx: &BtfTracePointContext, hook: Hook) {
    tally::count(ctx, hook, try_reached(ctx.arg(0), hook));
}

#[inline(always)]
fn try_reached(mapping: Ptr, hook: Hook) -> Exit {
    // SAFETY: a pointer.
    let inode = unsafe { Typed::read::<Ptr>(mapping, offset!(mapping_host)) };
    match watch::inode::<Typed>(inode) {
        Ok(found) => {
            let (kind, deed, via) = (Kind::Data, Deed::None, emit::via(Via::Tracepoint));
            let access = emit::Access { kind, deed, hook, via, name: emit::Name::None, outcome: Some(0) };
            emit::access(&access, &found)
        }
        Err(exit) => exit,
    }
}

/// `mm_filemap_get_pages(struct address_space *mapping, pgoff_t index, pgoff_t last_index)`, 6.10 and later: every read
/// through the page cache (read, splice, sendfile, io_uring).
#[btf_tracepoint(function = "mm_filemap_get_pages")]
fn mm_filemap_get_pages(ctx: BtfTracePointContext) -> i32 {
    reached(&ctx, Hook::FilemapGetPages);
    0
}

/// `mm_filemap_map_pages(struct address_space *mapping, pgoff_t start_pgoff, pgoff_t end_pgoff)`, 6.10 and later: pages
/// mapped around a fault.
#[btf_tracepoint(function = "mm_filemap_map_pages")]
fn mm_filemap_map_pages(ctx: BtfTracePointContext) -> i32 {
    reached(&ctx, Hook::FilemapMapPages);
    0
}

/// `mm_filemap_fault(struct address_space *mapping, pgoff_t index)`, 6.10 and later: a page faulted in.
#[btf_tracepoint(function = "mm_filemap_fault")]
fn mm_filemap_fault(ctx: BtfTracePointContext) -> i32 {
    reached(&ctx, Hook::FilemapFault);
    0
}
