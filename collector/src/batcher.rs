//! Decides when a batch is closed. While one is being committed, the next one fills here.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::batch::{Batch, Entry};
use crate::output::OutputRatio;

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
    /// When it comes to so many bytes of sink files.
    pub file_bytes: u64,
    /// At so many bytes of blocks, whatever they come to.
    pub block_bytes: u64,
}

impl Limits {
    /// The size of the files that `block_bytes` allow, where that is clearly less than what is wanted.
    pub fn file_bytes_reached(&self, ratio: &OutputRatio) -> Option<u64> {
        let reached = (self.block_bytes as f64 * ratio.get()) as u64;
        (reached < self.file_bytes / 10 * 9).then_some(reached)
    }
}

/// A batch that ends this near to a whole number of files ends there.
const NEARLY_A_FILE: f64 = 0.02;

/// Gathers entries into batches until every [`Intake`] is gone, then closes the last one.
pub struct Batcher {
    limits: Limits,
    ratio: OutputRatio,
    input: mpsc::UnboundedReceiver<Input>,
    batch: Batch,
    flush: bool,
    closed_at: Option<Instant>,
}

impl Batcher {
    /// A batcher and its input. `ratio` says what blocks come to in sink files.
    pub fn new(limits: Limits, ratio: OutputRatio) -> (Self, Intake) {
        let (intake, input) = mpsc::unbounded_channel();
        (Self { limits, ratio, input, batch: Batch::default(), flush: false, closed_at: None }, Intake(intake))
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
                    Ok(permit) => permit.send(self.close(Instant::now())),
                    Err(_) => return,
                },
            }
        }
        if self.batch.since().is_some() {
            let _ = batches.send(std::mem::take(&mut self.batch)).await;
        }
    }

    /// Takes what is to be committed now: all there is where time is up, and whole files where it is not.
    fn close(&mut self, now: Instant) -> Batch {
        let time_is_up = self.batch.since().is_some_and(|since| now >= since + self.limits.interval);
        let files = (self.output() / self.limits.file_bytes as f64 + NEARLY_A_FILE).floor();
        self.closed_at = Some(now);
        if files < 1.0 || time_is_up || std::mem::take(&mut self.flush) {
            self.flush = false;
            return std::mem::take(&mut self.batch);
        }
        self.batch.take_first((files * self.limits.file_bytes as f64 / self.ratio.get()) as u64)
    }

    /// What the batch will come to in sink files, in bytes.
    fn output(&self) -> f64 {
        self.batch.bytes() as f64 * self.ratio.get()
    }

    /// When the batch is to be closed; `None` while it is empty.
    fn due(&self) -> Option<Instant> {
        let since = self.batch.since()?;
        if self.output() >= self.limits.file_bytes as f64 || self.batch.bytes() >= self.limits.block_bytes {
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
