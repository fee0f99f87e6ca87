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
