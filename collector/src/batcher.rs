//! Decides when a batch is closed. While one is being committed, the next one fills here.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

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
                    Some(due) => tokio::time::sleep_until(due).await,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Rows, RunKey, StreamId};
    use tokio::sync::Semaphore;

    use super::*;

    fn entry(number: u64) -> Entry {
        let key = RunKey { category: "c".into(), source: "s".into(), attributes: vec![] };
        let mut rows = Rows::default();
        rows.push_line(1, b"line");
        let place = BlockPlace { stream: StreamId::from_bytes([1; 16]), number, first_record: number, host: "h" };
        let block = Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Entry { block, base: number - 1, outbox: mpsc::unbounded_channel().0, _permit: permit }
    }

    /// How many blocks are in each batch of 47, with these limits in blocks.
    async fn batches(file_blocks: f64, block_blocks: u64, flush: bool) -> Vec<usize> {
        let ratio = OutputRatio::default();
        for _ in 0..50 {
            ratio.learn(1 << 40, 1 << 39);
        }
        let block = entry(1).block.bytes().len() as u64;
        let limits = Limits {
            interval: Duration::from_secs(3600),
            file_bytes: (block as f64 * file_blocks * ratio.get()) as u64,
            block_bytes: block * block_blocks,
        };
        let (batcher, intake) = Batcher::new(limits, ratio);
        for number in 1..=47 {
            intake.add(entry(number));
        }
        if flush {
            intake.flush();
        }
        let (send, mut receive) = mpsc::channel(1);
        // All of them are there before the committer is: it is slow.
        let batcher = tokio::spawn(batcher.run(send));
        let mut sizes = Vec::new();
        let mut next = 1;
        while sizes.iter().sum::<usize>() < 40 {
            let batch = receive.recv().await.unwrap();
            assert_eq!(batch.entries()[0].block.header().number, next, "in order");
            next += batch.entries().len() as u64;
            sizes.push(batch.entries().len());
        }
        drop(intake);
        while let Some(batch) = receive.recv().await {
            sizes.push(batch.entries().len());
        }
        batcher.await.unwrap();
        sizes
    }

    #[tokio::test]
    async fn a_batch_ends_with_a_whole_number_of_files_and_the_rest_stays_for_the_next() {
        assert_eq!(batches(20.0, 1000, false).await, [40, 7]);
        assert_eq!(batches(45.0, 1000, false).await, [45, 2]);
    }

    #[tokio::test]
    async fn what_memory_or_a_flush_ends_is_not_cut() {
        assert_eq!(batches(100.0, 40, false).await, [47]);
        assert_eq!(batches(20.0, 1000, true).await, [47]);
    }
}
