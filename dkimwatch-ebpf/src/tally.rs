//! Counting how hooks end, and saying aloud when an end is a loss.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::{debug, warn};
use dkimwatch_common::tally::{EXITS, Exit, Hook};

use crate::maps::TALLY;

/// Counts an exit. An unrelated file is not counted: that is the hot path of the whole host, and the kernel counts it
/// itself (`run_cnt`, `kernel.bpf_stats_enabled`).
#[inline(always)]
pub fn count(ctx: &impl EbpfContext, hook: Hook, exit: Exit) {
    if exit as u32 == Exit::Unrelated as u32 {
        return;
    }
    if let Some(counter) = TALLY.get_ptr_mut(hook as u32 * EXITS + exit as u32) {
        // SAFETY: the slot is this CPU's own. A preempting hook on a preemptible kernel may cost one count, which the
        // gap in the sequence numbers still shows.
        unsafe { *counter += 1 };
    }
    match exit {
        Exit::RingFull => warn!(ctx, "hook {}: ring full, access lost", hook as u32),
        Exit::TableFull => warn!(ctx, "hook {}: a table is full", hook as u32),
        Exit::Submitted => debug!(ctx, "hook {}: record submitted", hook as u32),
        Exit::Unrelated | Exit::FilterMiss | Exit::AlreadySeen | Exit::Enrolled | Exit::Summarised => {}
    }
}
