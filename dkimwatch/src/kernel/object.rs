//! The kernel object, embedded: the product is one file.

/// The eBPF object that `build.rs` compiled.
pub static KERNEL_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dkimwatch-ebpf"));
