//! A file was opened or read through io_uring, on the backend that sees both as system calls end.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use dkimwatch_common::{
    deed::Deed,
    record::Via,
    tally::{Exit, Hook},
};

use super::{descriptor, open};
use crate::{
    memory::{IO_URING_CQE, Memory, Probed, Ptr, constant, offset, pointer, present, u32_at, u64_at},
    tally,
};

/// `include/uapi/linux/io_uring.h`.
const IORING_OP_OPENAT: u8 = 18;
const IORING_OP_OPENAT2: u8 = 28;
const IORING_OP_READV: u8 = 1;
const IORING_OP_READ_FIXED: u8 = 4;
const IORING_OP_READ: u8 = 22;
const IORING_OP_READ_MULTISHOT: u8 = 49;
const IORING_OP_READV_FIXED: u8 = 60;
const IORING_FILE_INDEX_ALLOC: u32 = u32::MAX;

/// `io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`, 6.14 and later; until then it was
/// `io_uring_complete(void *ctx, void *req, u64 user_data, int res, unsigned int cflags, u64 extra1, u64 extra2)`, and until
/// 5.18, without a request, `io_uring_complete(void *ctx, u64 user_data, int res, unsigned int cflags)`.
#[btf_tracepoint(function = "io_uring_complete")]
fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::IoUringComplete, completed(&ctx));
    0
}

#[inline(always)]
fn completed(ctx: &BtfTracePointContext) -> Exit {
    let (ring, request): (Ptr, Ptr) = (ctx.arg(0), ctx.arg(1));
    // A completion that the ring makes for itself has no request.
    if request.is_null() {
        return Exit::Unrelated;
    }
    let result = result(ctx);
    // SAFETY: an integer.
    match unsafe { Probed::read::<u8>(request, offset!(io_opcode)) } {
        IORING_OP_OPENAT | IORING_OP_OPENAT2 if result >= 0 => {
            open::by_descriptor(opened(ring, request, result as usize), Hook::IoUringComplete, Via::Tracepoint)
        }
        IORING_OP_READV | IORING_OP_READ_FIXED | IORING_OP_READ | IORING_OP_READ_MULTISHOT | IORING_OP_READV_FIXED
            if result > 0 =>
        {
            // Its own until it is freed, after this.
            descriptor::by(pointer(request, offset!(io_file)), Deed::Read, Hook::IoUringComplete)
        }
        _ => Exit::Unrelated,
    }
}

/// The file that a completed request has opened.
#[inline(always)]
fn opened(ring: Ptr, request: Ptr, result: usize) -> Ptr {
    // `io_kiocb->cmd` begins the request.
    match u32_at(request, offset!(io_open_slot)) {
        // The descriptor is in the table that the ring's workers share with its owner.
        0 => open::descriptor(result),
        IORING_FILE_INDEX_ALLOC => registered(ring, result),
        slot => registered(ring, slot as usize - 1),
    }
}

/// What the request came to.
#[inline(always)]
fn result(ctx: &BtfTracePointContext) -> i32 {
    if constant(&raw const IO_URING_CQE) == 1 {
        u32_at(ctx.arg(2), offset!(io_cqe_res)) as i32
    } else {
        // The last argument is of no use but one: the verifier refuses the program where the tracepoint has no request.
        // SAFETY: within the context, as the verifier checks.
        let _ = unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(6)) };
        ctx.arg(3)
    }
}

/// The file in a slot of the ring's own table.
#[inline(always)]
fn registered(ring: Ptr, slot: usize) -> Ptr {
    /// The low bits of a slot hold flags (`FFS_MASK`, `io_uring/filetable.h`).
    const FLAGS: u64 = 7;
    let (files, nodes) = (offset!(io_ring_files), offset!(io_ring_nodes));
    let file = if present(files) {
        u64_at(pointer(ring, files).wrapping_add(8 * slot), 0)
    } else if present(nodes) {
        let node = pointer(pointer(ring, nodes).wrapping_add(8 * slot), 0);
        u64_at(node, offset!(io_node_file))
    } else {
        0
    };
    (file & !FLAGS) as Ptr
}
