//! Reading kernel memory: by direct typed loads where the program type gives trusted pointers, by probe reads elsewhere.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use dkimwatch_common::offsets::{ABSENT, Offsets};

/// Where each field is on this kernel; set by the loader before the object is loaded. The verifier sees frozen read-only
/// data as constants, so that `file + offset` stays a trusted pointer.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

/// 1 where the kernel's `vfs_*` functions take a mount's id map first, set by the loader.
#[unsafe(no_mangle)]
pub static IDMAP: u32 = 0;

/// 1 where the tracepoint `io_uring_complete` is given the completion itself, set by the loader.
#[unsafe(no_mangle)]
pub static IO_URING_CQE: u32 = 0;

/// 1 where `bpf_task_pt_regs()` is a helper (5.15), set by the loader.
#[unsafe(no_mangle)]
pub static TASK_REGS: u32 = 0;

/// Controllers of control groups, a byte each: its number (`enum cgroup_subsys_id`) and one more, zero for none; set by the
/// loader.
#[unsafe(no_mangle)]
pub static CONTROLLERS: u32 = 0;

/// A pointer into kernel memory.
pub type Ptr = *const u8;

/// The offset of a field on this kernel.
macro_rules! offset {
    ($field:ident) => {
        $crate::memory::constant(&raw const $crate::memory::OFFSETS.$field)
    };
}
pub(crate) use offset;

/// A read-only global's value, as the loader set it.
#[inline(always)]
pub fn constant(global: *const u32) -> u32 {
    // SAFETY: only statics are passed; volatile, because the loader replaces what the compiler saw.
    unsafe { core::ptr::read_volatile(global) }
}

/// Whether this kernel has a field.
#[inline(always)]
pub fn present(offset: u32) -> bool {
    offset != ABSENT
}

/// A way to read kernel memory.
pub trait Memory {
    /// The value at `ptr + offset`; zero where it cannot be read.
    ///
    /// # Safety
    /// `T` is an integer or a pointer: every bit pattern is a value of it.
    unsafe fn read<T: Copy>(ptr: Ptr, offset: u32) -> T;
}

/// Direct loads. The verifier knows the type behind the pointer, and follows it from field to field. Half the cost of a probe
/// read.
///
/// Never of an address that can be null, although the verifier lets that pass and means the load to yield zero
/// (`PROBE_MEM`): where the program calls a function of its own, Debian's 5.10 finds it by chance without its table of such
/// loads (`search_bpf_extables()`), and the kernel oopses. What can be null is compared first.
pub enum Typed {}

impl Memory for Typed {
    #[inline(always)]
    unsafe fn read<T: Copy>(ptr: Ptr, offset: u32) -> T {
        // SAFETY: the verifier checks the access, see above; volatile, so that the load stays as wide as it is written.
        unsafe { core::ptr::read_volatile(ptr.add(offset as usize).cast::<T>()) }
    }
}

/// `bpf_probe_read_kernel`: works for any address, in any program type.
pub enum Probed {}

impl Memory for Probed {
    #[inline(always)]
    unsafe fn read<T: Copy>(ptr: Ptr, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: the helper writes `size_of::<T>()` bytes, zeros where the address is bad; the caller vouches for `T`.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                ptr.wrapping_add(offset as usize).cast::<c_void>(),
            );
            value.assume_init()
        }
    }
}

/// Reads a pointer with probe reads.
#[inline(always)]
pub fn pointer(ptr: Ptr, offset: u32) -> Ptr {
    // SAFETY: any bit pattern is a raw pointer.
    unsafe { Probed::read(ptr, offset) }
}

/// Reads a 32-bit integer with a probe read.
#[inline(always)]
pub fn u32_at(ptr: Ptr, offset: u32) -> u32 {
    // SAFETY: any bit pattern is a `u32`.
    unsafe { Probed::read(ptr, offset) }
}

/// Reads a 64-bit integer with a probe read.
#[inline(always)]
pub fn u64_at(ptr: Ptr, offset: u32) -> u64 {
    // SAFETY: any bit pattern is a `u64`.
    unsafe { Probed::read(ptr, offset) }
}

/// Copies `len` bytes; `false` where they cannot be read (the target is zeroed then).
///
/// # Safety
/// `to` has room for `len` bytes.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, len: u32, from: Ptr) -> bool {
    // SAFETY: the caller vouches for the room; the helper takes any source address.
    unsafe { bpf_probe_read_kernel(to.cast(), len, from.cast()) == 0 }
}

/// An address as a number: of one that the verifier has a type for, it goes through memory, as a global function takes
/// nothing but numbers.
#[inline(always)]
pub fn number(address: Ptr) -> u64 {
    let mut number = address as u64;
    let at: *mut c_void = (&raw mut number).cast();
    // SAFETY: the helper copies the number over itself; of the stack it always can.
    unsafe { bpf_probe_read_kernel(at, size_of::<u64>() as u32, at) };
    number
}

/// Copies a string with its NUL and returns the bytes written, or a negative errno.
///
/// # Safety
/// `to` has room for `room` bytes.
#[inline(always)]
pub unsafe fn copy_str(to: *mut u8, room: u32, from: Ptr) -> i64 {
    // SAFETY: the caller vouches for the room; the helper takes any source address.
    unsafe { bpf_probe_read_kernel_str(to.cast(), room, from.cast()) }
}

/// `value`, as it is, of which the compiler no longer knows where it comes from: it can neither join two branches that end in it
/// (of two loads from the context at different places it makes one from a computed place, which the verifier refuses), nor
/// make a branch of a sum.
#[inline(always)]
pub fn apart(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: an operation on a register. Without one, two lines of the source would have one place in the program, which the
    // kernel refuses (`Invalid line_info`).
    unsafe { core::arch::asm!("{value} += 0", value = inout(reg) value) };
    value
}

/// 1 where the one is less than the other, else 0; by a sum that the compiler does not
/// know for a comparison.
#[inline(always)]
pub fn is_less(one: u64, other: u64) -> u64 {
    // The borrow of a subtraction (Hacker's Delight, 2-13).
    apart((!one & other) | ((!one | other) & apart(one.wrapping_sub(other)))) >> 63
}

/// The word at a place of a tracing program's context: its arguments, and behind the last one what the function returned.
/// (`ret()` needs a helper of 5.17.)
macro_rules! word {
    ($ctx:expr, $index:expr) => {
        // SAFETY: within the context, as the verifier checks.
        $crate::memory::apart(unsafe { *$ctx.as_ptr().cast::<u64>().add($index) })
    };
}
pub(crate) use word;

/// `value`, known to the verifier to be at most `limit`; `None` when it is more.
///
/// In assembly, with the value going in and coming out: what the compiler goes on with, and spills to the stack, is then
/// the register that was compared. The verifier of 6.1 does not carry a comparison over to another copy of the value.
#[inline(always)]
pub fn at_most(value: u64, limit: u64) -> Option<u64> {
    let mut value = value;
    let mut within = 0_u64;
    // SAFETY: a comparison of registers.
    unsafe {
        core::arch::asm!(
            "if {value} > {limit} goto +1",
            "{within} = 1",
            value = inout(reg) value,
            within = inout(reg) within,
            limit = in(reg) limit,
        );
    }
    if within == 1 { Some(value) } else { None }
}

/// `value` as it is, but known to the verifier only to be at most `mask`, which must be one less than a power of two and
/// not less than `value`.
///
/// A sum that grows in a loop has another range on every path through it; with one range for all, the verifier prunes
/// the paths instead of walking each (which on 6.1 takes minutes).
#[inline(always)]
pub fn forget_range(value: u64, mask: u64) -> u64 {
    let mut value = value;
    // SAFETY: an operation on a register.
    unsafe { core::arch::asm!("{value} &= {mask}", value = inout(reg) value, mask = in(reg) mask) };
    value
}
