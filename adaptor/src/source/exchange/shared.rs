//! What the connections of a source have in common: memory for what is larger than usual, and how long peers may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a source's connections have together for messages that are coming, in bytes at least…
const COMING_BYTES: usize = 64 << 20;
/// …and in the largest messages.
const COMING: usize = 4;
/// Likewise for what is made of messages that are there, in the largest.
const MADE: usize = 2;
/// The unit of a permit, in bytes.
const UNIT: usize = 1 << 10;

/// Every connection has a buffer of its own for messages of usual size. For larger ones they have this in common: a peer
/// that sends one waits, within its deadline, until others are done with theirs. What a message takes to be read is apart
/// from that, for it is given back soon, whatever peers do.
#[derive(Clone)]
pub(in crate::source) struct Shared {
    coming: Arc<Semaphore>,
    made: Arc<Semaphore>,
    /// How long a message may take from its first byte, and then for each further 64 KiB of it.
    pub(super) message_timeout: Duration,
    /// How long a peer may take until it is admitted.
    pub(super) admission_timeout: Duration,
}

impl Shared {
    /// For a source whose messages have up to `frame_max` bytes.
    pub(in crate::source) fn new(frame_max: usize) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(UNIT)));
        Self {
            coming: semaphore(COMING_BYTES.max(COMING * frame_max)),
            made: semaphore(MADE * frame_max),
            message_timeout: Duration::from_secs(60),
            admission_timeout: Duration::from_secs(10),
        }
    }

    /// Waits for `bytes` for a message that is coming; they are had until the permit is dropped. `None`: so much never is.
    pub(super) async fn for_coming(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        take(&self.coming, bytes).await
    }

    /// The same for what is made of a message.
    pub(super) async fn for_made(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        take(&self.made, bytes).await
    }
}

async fn take(semaphore: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
    semaphore.clone().acquire_many_owned(units).await.ok()
}
