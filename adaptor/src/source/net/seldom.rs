//! Keeps what a peer can provoke from filling our own log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two messages of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says whether it is time to log again.
#[derive(Default)]
pub(in crate::source) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether to log now: not if that was said less than ten seconds ago.
    pub(in crate::source) fn now(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}
