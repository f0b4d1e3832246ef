//! The clocks: the records', and the wall's.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, as `bpf_ktime_get_boot_ns()` counts them.
#[must_use]
pub fn boot_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

/// Wall-clock time, nanoseconds since the Unix epoch.
#[must_use]
pub fn now() -> i128 {
    let time = clock_gettime(ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
