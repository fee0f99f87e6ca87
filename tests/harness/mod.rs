//! Real processes under test: started, killed, waited for. Everything lives in a temporary folder, and nothing outlives
//! its test.

mod authority;
mod bucket;
mod mount;
mod network;
mod pipeline;
mod power;
mod process;
mod producer;
mod tools;
mod trace;
mod verified;

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use authority::Authority;
pub use bucket::{Bucket, Kind};
pub use mount::Mount;
pub use network::{Direction, Network};
pub use pipeline::{Pipeline, Plan, copy_folder, spooled_bytes};
pub use power::{Loss, PowerDisk};
pub use process::{Node, logboom, run};
pub use trace::{Calls, Fate, Trace, traced_call, traced_calls};

/// How long anything may take that should take a moment, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`, or fails with `what` after `limit`. Returns how long it took.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// A free port outside of the range from which the system takes those of outgoing connections: it stays free while the
/// process that listens on it is dead.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A path as a TOML text.
pub fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

/// A number from the environment.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}
