//! What may die, break or fill up, and what must hold all the same.

mod clocks;
mod crash_points;
mod full_disk;
mod full_spool;
mod kill_rounds;
mod losses;
mod network;
mod outage;
#[cfg(target_os = "linux")]
mod power_loss;
mod spools;
mod stall;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod system_calls;
mod together;

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Tries every one of `cases`, `at_once` of them at the same time (pipelines mostly wait), and tells of the progress of
/// many. A failure says its part by itself: the others are tried all the same. Returns each case with what came of it.
fn try_each<C: Copy + Sync + Send, T: Send>(
    what: impl Debug + Sync,
    cases: &[C],
    at_once: usize,
    run: impl Fn(C) -> T + Sync,
) -> Vec<(C, Result<T, ()>)> {
    let begun = Instant::now();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(*case)));
                    let mut outcomes = outcomes.lock().unwrap();
                    outcomes.push((*case, outcome.map_err(drop)));
                    if outcomes.len().is_multiple_of(100) {
                        println!("{what:?}: {} of {} runs, {:.0?}", outcomes.len(), cases.len(), begun.elapsed());
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}
