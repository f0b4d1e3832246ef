//! Where core dumps go.

/// Whether the kernel hands core dumps to a program or a socket, which `RLIMIT_CORE` does not keep it from (core(5)). Where
/// that cannot be known, it does.
#[must_use]
pub fn dumps_through_pipe() -> bool {
    match std::fs::read("/proc/sys/kernel/core_pattern") {
        Ok(pattern) => matches!(pattern.first(), Some(b'|' | b'@')),
        Err(_) => true,
    }
}
