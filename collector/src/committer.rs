//! Commits batches, one after the other, in the order in which they were closed.
//!
//! Owns the loop of filter, merge, commit and tell. The order is what keeps promises: a block's stream must not get a
//! mark past it before it is in the table, so a batch is tried until it is committed and none overtakes it; and the
//! acknowledgement is the last step.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use logboom_config::crash;
use logboom_sink::table::{self, DataFile, Outcome, TableOptions, View, checkpoint_due};
use logboom_sink::{FileSettings, MergeError, Store, merge};
use logboom_wire::Block;
use logboom_wire::message::{Refusal, ToAdaptor};
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::batch::{Batch, Filtered};
use crate::marks::Marks;
use crate::output::OutputRatio;

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The committer of one collector.
pub struct Committer {
    pub store: Store,
    pub view: View,
    pub marks: Marks,
    pub files: FileSettings,
    pub options: TableOptions,
    /// Learns what batches come to.
    pub output: OutputRatio,
    /// Checkpoints run here, off the way of acknowledgements.
    pub background: TaskTracker,
    pub checkpointing: Arc<tokio::sync::Semaphore>,
}

/// Sink files on the store, and the entries whose rows they hold.
struct Written {
    entries: Vec<usize>,
    files: Vec<DataFile>,
}

impl Committer {
    /// Commits every batch that comes.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            self.commit(&batch).await;
        }
    }

    /// Tries until the table has all of `batch`, then tells.
    async fn commit(&mut self, batch: &Batch) {
        let mut backoff = BACKOFF_MIN;
        let mut written: Option<Written> = None;
        let mut rejected = HashSet::new();
        loop {
            match self.attempt(batch, &mut written, &mut rejected).await {
                Ok(true) => break,
                Ok(false) => continue,
                Err(error) => {
                    error!(%error, blocks = batch.entries().len(), "cannot commit; the blocks stay in their spools, trying again");
                    let wait = rand::rng().random_range(BACKOFF_MIN / 2..=backoff);
                    tokio::time::sleep(wait).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    // The outcome may be unknown: what the table says is what happened.
                    if let Err(error) = self.view.refresh().await {
                        warn!(%error, "cannot read the table");
                    }
                }
            }
        }
        crash::point("collector.acknowledge.before");
        for (stream, outboxes) in batch.audience() {
            let mark = self.view.mark(stream);
            for outbox in outboxes {
                let _ = outbox.send(ToAdaptor::Committed { stream, mark });
            }
        }
        crash::point("collector.acknowledge.after");
        self.marks.advance(&self.view).await;
    }

    /// One try: whether the table now has all of the batch.
    async fn attempt(
        &mut self,
        batch: &Batch,
        written: &mut Option<Written>,
        rejected: &mut HashSet<usize>,
    ) -> Result<bool, logboom_sink::Error> {
        // From here to the commit the view must not be refreshed: it would hide a conflict with these very marks.
        let filtered = batch.filter(|stream| self.view.mark(stream));
        self.refuse_broken(batch, &filtered);
        if filtered.marks.is_empty() {
            return Ok(true);
        }
        // Another collector may have taken some of the blocks; files that still hold exactly the rest are good.
        if written.as_ref().is_none_or(|written| written.entries != filtered.entries) {
            let Some(files) = self.write(batch, &filtered, rejected).await? else { return Ok(false) };
            *written = Some(Written { entries: filtered.entries.clone(), files });
        }
        let files = &written.as_ref().expect("written above").files;
        let rows: u64 = files.iter().map(|file| file.stats.records).sum();
        crash::point("collector.commit.before");
        let outcome = table::commit(&mut self.view, table::Batch { files, marks: &filtered.marks }).await?;
        crash::point("collector.commit.after");
        match outcome {
            Outcome::Committed { version } => {
                info!(version, rows, files = files.len(), streams = filtered.marks.len(), "committed");
                self.checkpoint(version);
                Ok(true)
            }
            Outcome::Conflict => {
                debug!("another collector has committed some of these blocks; filtering again");
                Ok(false)
            }
        }
    }

    /// Writes the sink files of the filtered entries; `None` if a block turned out bad and was put aside.
    async fn write(
        &self,
        batch: &Batch,
        filtered: &Filtered,
        rejected: &mut HashSet<usize>,
    ) -> Result<Option<Vec<DataFile>>, logboom_sink::Error> {
        let entries: Vec<usize> = filtered.entries.iter().copied().filter(|index| !rejected.contains(index)).collect();
        let block_bytes = entries.iter().map(|&index| batch.entries()[index].block.bytes().len() as u64).sum();
        let blocks: Vec<Block> = entries.iter().map(|&index| batch.entries()[index].block.clone()).collect();
        let date = self.options.clock.now().wall.to_zoned(TimeZone::UTC).date();
        let (store, settings) = (self.store.clone(), self.files.clone());
        crash::point("collector.data.before");
        let runtime = tokio::runtime::Handle::current();
        let merged =
            tokio::task::spawn_blocking(move || runtime.block_on(merge(&store, &blocks, date, &settings))).await;
        crash::point("collector.data.after");
        match merged.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(files) => {
                self.output.learn(block_bytes, files.iter().map(|file| file.size).sum());
                Ok(Some(files))
            }
            Err(MergeError::Store(error)) => Err(error),
            Err(MergeError::Block { index, error }) => {
                let index = entries[index];
                self.put_aside(&batch.entries()[index].block, &error.to_string()).await?;
                rejected.insert(index);
                Ok(None)
            }
        }
    }

    /// Keeps a block whose content cannot be read, before the mark passes it: nothing that was acknowledged is thrown
    /// away, and one bad block does not hold up its neighbours.
    async fn put_aside(&self, block: &Block, reason: &str) -> Result<(), logboom_sink::Error> {
        let header = block.header();
        let name = logboom_sink::paths::Name::Rejected { stream: header.stream, block: header.number };
        let path = self.store.put(name, Bytes::clone(block.bytes())).await?;
        error!(stream = %header.stream, block = header.number, records = header.records(), reason, %path,
            "a block cannot be read; set aside on the store");
        Ok(())
    }

    fn refuse_broken(&self, batch: &Batch, filtered: &Filtered) {
        for stream in &filtered.broken {
            error!(%stream, "blocks are missing before some that came; their adaptor has to send again");
            for entry in batch.entries().iter().filter(|entry| entry.block.header().stream == *stream) {
                let message = "blocks are missing before those you sent; connect again".to_owned();
                let _ = entry.outbox.send(ToAdaptor::Refused { code: Refusal::Protocol, message, retry_after_ms: 0 });
            }
        }
    }

    /// Writes a checkpoint when one is due. A failing checkpoint is not a failing commit.
    fn checkpoint(&self, version: u64) {
        if !checkpoint_due(version, self.options.checkpoint_interval) {
            return;
        }
        let Ok(permit) = self.checkpointing.clone().try_acquire_owned() else { return };
        let (store, options) = (self.store.clone(), self.options.clone());
        self.background.spawn(async move {
            let _permit = permit;
            match table::write_checkpoint(&store).await {
                Ok(version) => debug!(version, "checkpoint written"),
                Err(error) => {
                    warn!(%error, "cannot write a checkpoint; the next one will cover it");
                    return;
                }
            }
            if let Err(error) = table::clean_up(&store, &options).await {
                warn!(%error, "cannot clean up the log; trying again after the next checkpoint");
            }
        });
    }
}
