//! Whether commits get done. A collector that cannot reach its store must not keep adaptors that others could serve: it
//! takes their blocks, gives signs of life, and nothing ever comes of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So long a commit may take, and a second more for so many bytes of its blocks.
const PATIENCE: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND: u64 = 8 << 20;

/// The commit that is under way. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// A commit of blocks of so many bytes begins.
    pub fn begin(&self, now: Instant, bytes: u64) {
        self.set(Some(now + PATIENCE + Duration::from_secs(bytes / BYTES_PER_SECOND)));
    }

    /// It is done.
    pub fn end(&self) {
        self.set(None);
    }

    /// Whether it takes longer than any commit should.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|due| now >= due)
    }

    fn set(&self, due: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_overdue_after_a_minute_and_what_its_size_takes_and_not_once_it_is_done() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!pulse.is_overdue(at(1000)), "nothing is to be committed");
        pulse.begin(start, 80 << 20);
        assert!(!pulse.is_overdue(at(69)));
        assert!(pulse.is_overdue(at(70)));
        pulse.end();
        assert!(!pulse.is_overdue(at(1000)));
    }
}
