//! What it can carry, and how long it takes to be there again: big spools, fail-over, crowds, slow collectors, long runs.
//!
//! Each test prints its figures in one line. The short forms are as large as a busy machine takes in a few seconds; the
//! long ones have the size that the figures are about: `just load`.
//!
//! - `spool`: spools of any size, in a moment
//! - `gate`: stands between adaptors and a collector, sees who is served, and can go silent
//! - `usage`: memory, descriptors and processor time of a process

mod crowd;
mod fail_over;
mod gate;
mod reconnect;
mod slow;
mod soak;
mod spool;
mod start_up;
mod usage;

use std::time::Duration;

/// The value below which `share` of the sorted values are.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[at - 1]
}
