//! What a process takes of the machine, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Bytes in memory now.
pub fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most bytes that were in memory at a time.
pub fn memory_peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Descriptors that are open.
pub fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Processor time, of all its threads.
pub fn processor(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// 17.3 MiB and the like.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} of {pid}"));
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
