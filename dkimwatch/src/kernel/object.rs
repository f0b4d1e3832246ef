//! The kernel object, embedded: the product is one file.

/// Empty programs, for a benchmark.
pub(super) static EMPTY_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dkimwatch-empty"));

/// The eBPF object that `build.rs` compiled.
pub static KERNEL_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dkimwatch-ebpf"));
