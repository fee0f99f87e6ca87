//! Decides when a batch is closed. While one is being committed, the next one fills here.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::batch::{Batch, Entry};

/// Flush requests close a batch at most this often, so that a crowd of leaving adaptors does not make a crowd of commits.
const FLUSH_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// The sessions' end. Cheap to clone; the batcher ends when the last one is gone.
#[derive(Clone)]
pub struct Intake(mpsc::UnboundedSender<Input>);

enum Input {
    Entry(Entry),
    Flush,
}

impl Intake {
    /// Adds a block. Never waits: the entry carries its permit for memory, which bounds the queue.
    pub fn add(&self, entry: Entry) {
        // The batcher outlives all senders, unless it panicked; then nothing is acknowledged any more.
        let _ = self.0.send(Input::Entry(entry));
    }

    /// Asks for a commit of what was added so far.
    pub fn flush(&self) {
        let _ = self.0.send(Input::Flush);
    }
}

/// When a batch is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// This long after its first block.
    pub interval: Duration,
    /// At so many compressed bytes.
    pub bytes: u64,
}

/// Gathers entries into batches until every [`Intake`] is gone, then closes the last one.
pub struct Batcher {
    limits: Limits,
    input: mpsc::UnboundedReceiver<Input>,
    batch: Batch,
    flush: bool,
    closed_at: Option<Instant>,
}

impl Batcher {
    /// A batcher and its input.
    pub fn new(limits: Limits) -> (Self, Intake) {
        let (intake, input) = mpsc::unbounded_channel();
        (Self { limits, input, batch: Batch::default(), flush: false, closed_at: None }, Intake(intake))
    }

    /// Runs to the end of the input.
    pub async fn run(mut self, batches: mpsc::Sender<Batch>) {
        let mut open = true;
        while open {
            let due = self.due();
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
                batches.reserve().await
            };
            tokio::select! {
                biased;
                input = self.input.recv() => match input {
                    Some(Input::Entry(entry)) => self.batch.push(Instant::now(), entry),
                    Some(Input::Flush) => self.flush |= self.batch.since().is_some(),
                    None => open = false,
                },
                // Until the committer is free, the batch goes on filling.
                permit = wait => match permit {
                    Ok(permit) => permit.send(self.close()),
                    Err(_) => return,
                },
            }
        }
        if self.batch.since().is_some() {
            let last = self.close();
            let _ = batches.send(last).await;
        }
    }

    fn close(&mut self) -> Batch {
        self.flush = false;
        self.closed_at = Some(Instant::now());
        std::mem::take(&mut self.batch)
    }

    /// When the batch is to be closed; `None` while it is empty.
    fn due(&self) -> Option<Instant> {
        let since = self.batch.since()?;
        if self.batch.bytes() >= self.limits.bytes {
            return Some(since);
        }
        let by_time = since + self.limits.interval;
        if self.flush {
            let earliest = self.closed_at.map_or(since, |closed| closed + FLUSH_INTERVAL_MIN);
            return Some(by_time.min(earliest));
        }
        Some(by_time)
    }
}
