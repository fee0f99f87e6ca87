//! How many bytes peers may have under way, all together: what comes waits here until there is memory for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MEMORY_UNIT;

/// Least and most bytes of one peer. It sends a block at a time even with the least.
const BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(8 << 20);
/// Each peer gets such a part of what is left, so that there is always something for the next.
const PART: u64 = 8;

/// All windows of a collector. Cheap to clone.
#[derive(Clone)]
pub struct Windows(Arc<Semaphore>);

/// The window of one peer, given back when it is gone.
pub struct Window {
    /// So many bytes it may have under way.
    pub bytes: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Windows {
    /// Windows of `bytes` together, but for the least that each peer gets when these are gone.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Semaphore::new((bytes / MEMORY_UNIT) as usize)))
    }

    /// A window for one more peer.
    pub fn open(&self) -> Window {
        let left = self.0.available_permits() as u64 * MEMORY_UNIT;
        let bytes = (left / PART).clamp(*BYTES.start(), *BYTES.end());
        let permit = self.0.clone().try_acquire_many_owned((bytes / MEMORY_UNIT) as u32);
        Window { bytes, _permit: permit.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_peers_there_are_their_windows_come_to_little_more_than_there_is() {
        let windows = Windows::new(384 << 20);
        let open: Vec<Window> = (0..4096).map(|_| windows.open()).collect();
        assert_eq!(open[0].bytes, 8 << 20);
        assert!(open[999].bytes >= 64 << 10);
        let all: u64 = open.iter().map(|window| window.bytes).sum();
        assert!(all <= (384 << 20) + 4096 * (64 << 10), "{all}");
        drop(open);
        assert_eq!(windows.open().bytes, 8 << 20, "what is closed is free again");
    }
}
