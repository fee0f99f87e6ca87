//! Commits batches, one after the other, in the order in which they were closed.
//!
//! Owns the loop of filter, merge, commit and tell. The order is what keeps promises: a block's stream must not get a
//! mark past it before it is in the table, so a batch is tried until it is committed and none overtakes it; and the
//! acknowledgement is the last step.
//!
//! With routes a batch goes to several tables, and there is no commit over all of them. The rules, and what breaks
//! otherwise:
//! 1. The tables of the routes commit first, the default table last, and **its marks alone say what is done**: a batch is
//!    filtered by them, and adaptors are told no others. A crash in between leaves them where they were, so the blocks
//!    come again. Were the default table first, they would not, and the routes' rows would be lost.
//! 2. Every table keeps marks of its own, in the commit that has the rows. **A table of a route gets of the filtered blocks
//!    those with rows for it that are above its own mark.** So what comes again after a crash is dropped where it has been
//!    committed, and nowhere else; and of two collectors with the same blocks each table takes the rows of one.
//! 3. A mark in the table of a route means: every block up to it has its rows there. For a block is filtered only if all
//!    before it are in the default table, and so by rule 1 in every table, or are filtered along with it. A table of
//!    which a block has no rows need not move its mark for it.
//! 4. No view is refreshed between filter and commit, of no table. A conflict at one table moves on its own view and no
//!    other; then everything is filtered again, by views that are all still what their files were written by.
//! 5. Which table a record goes to must not change while a block is half committed: all collectors of a default table
//!    have the same routes (see [`tables`](crate::tables)).
//! 6. Files of all tables are written before any of them commits, so that a block that cannot be read is put aside before
//!    any of its rows is committed.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use jiff::tz::TimeZone;
use logboom_config::{crash, planted, random};
use logboom_sink::table::{Begun, DataFile};
use logboom_sink::thread::on_own_thread;
use logboom_sink::{Error, MergeError, merge_categories};
use logboom_wire::message::{Refusal, ToAdaptor};
use logboom_wire::{Block, StreamId};
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::batch::{Batch, Filtered, Part};
use crate::marks::Marks;
use crate::output::OutputRatio;
use crate::pulse::Pulse;
use crate::routing::Placement;
use crate::tables::{OtherRoutes, Table, TableSettings, Tables};

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Tables whose files are written at the same time: each takes a thread, and the memory of a merge.
const MERGES_AT_ONCE: usize = 4;

/// The committer of one collector.
pub struct Committer {
    pub tables: Tables,
    pub marks: Marks,
    /// Learns what batches come to.
    pub output: OutputRatio,
    /// Learns how long they take.
    pub pulse: Pulse,
    /// Checkpoints run here, off the way of acknowledgements.
    pub background: TaskTracker,
}

/// How far a batch has come; a retry goes on from here.
struct Progress {
    placement: std::sync::Arc<Placement>,
    /// By table.
    written: Vec<Written>,
    /// Entries that were put aside.
    rejected: HashSet<usize>,
    /// Whether the views are newer than the batch.
    refreshed: bool,
}

/// Sink files on the store, and the entries whose rows they hold.
#[derive(Default)]
struct Written {
    entries: Vec<usize>,
    files: Vec<DataFile>,
    /// Taken before they were; `None` while there are none.
    begun: Option<Begun>,
}

/// Why a try came to no end. It is only ever said to the operator.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error(transparent)]
    Sink(#[from] Error),
    #[error(transparent)]
    Routes(#[from] OtherRoutes),
}

impl Committer {
    /// Commits every batch that comes.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            self.pulse.begin(tokio::time::Instant::now(), batch.bytes());
            self.commit(&batch).await;
            self.pulse.end();
        }
    }

    /// Tries until the tables have all of `batch`, then tells.
    pub(crate) async fn commit(&mut self, batch: &Batch) {
        if planted::bug("acknowledge_before_commit") {
            self.tell(batch, |stream| highest(batch, stream));
        }
        let mut backoff = BACKOFF_MIN;
        let mut progress = Progress {
            placement: self.tables.routing().place(batch.entries().iter().map(|entry| &entry.block)).into(),
            written: self.tables.each().iter().map(|_| Written::default()).collect(),
            rejected: HashSet::new(),
            refreshed: false,
        };
        loop {
            match self.attempt(batch, &mut progress).await {
                Ok(true) => break,
                Ok(false) => continue,
                Err(error) => {
                    if let Unfinished::Sink(Error::FilesTooOld { .. }) = error {
                        // This process slept. Vacuum may have taken the files for garbage: they are written anew.
                        progress.written.fill_with(Written::default);
                    }
                    error!(%error, blocks = batch.entries().len(), "cannot commit; the blocks stay in their spools, trying again");
                    let wait = random::rng().random_range(BACKOFF_MIN / 2..=backoff);
                    tokio::time::sleep(wait).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    // The outcome may be unknown: what the tables say is what happened.
                    self.refresh().await;
                }
            }
        }
        let view = &self.tables.default_table().view;
        crash::point("collector.acknowledge.before");
        self.tell(batch, |stream| view.mark(stream));
        crash::point("collector.acknowledge.after");
        self.marks.advance(view).await;
    }

    /// Tells who sent a batch how far its streams are committed.
    fn tell(&self, batch: &Batch, mark: impl Fn(StreamId) -> u64) {
        for (stream, outboxes) in batch.audience() {
            for outbox in outboxes {
                let _ = outbox.send(ToAdaptor::Committed { stream, mark: mark(stream) });
            }
        }
    }

    async fn refresh(&mut self) {
        if let Err(error) = self.tables.refresh().await {
            warn!(%error, "cannot read a table");
        }
    }

    /// One try: whether the tables now have all of the batch.
    async fn attempt(&mut self, batch: &Batch, progress: &mut Progress) -> Result<bool, Unfinished> {
        self.tables.check_routes()?;
        // From here to the commits no view must be refreshed: it would hide a conflict with these very marks.
        let filtered = batch.filter(|stream| self.tables.default_table().view.mark(stream));
        if !filtered.broken.is_empty() && !std::mem::replace(&mut progress.refreshed, true) {
            // The stream may have been opened by a view that is newer than ours: it came from another collector.
            self.refresh().await;
            return Ok(false);
        }
        self.refuse_broken(batch, &filtered);
        if filtered.marks.is_empty() {
            return Ok(true);
        }
        let parts = self.parts(batch, &filtered, progress);
        if !self.write(batch, &parts, progress).await? {
            return Ok(false);
        }
        let (routes, default) = self.tables.split_mut();
        let default_first = planted::bug("default_table_first");
        if default_first {
            let written = progress.written.last().expect("there is a default table");
            if !default.commit(&written.files, written.begun, &filtered.marks, &self.background).await? {
                return Ok(false);
            }
        }
        if !routes.is_empty() && !commit_routes(routes, &parts, &progress.written, &self.background).await? {
            return Ok(false);
        }
        if default_first {
            return Ok(true);
        }
        let written = progress.written.last().expect("there is a default table");
        crash::point("collector.commit.before");
        let committed = default.commit(&written.files, written.begun, &filtered.marks, &self.background).await?;
        crash::point("collector.commit.after");
        Ok(committed)
    }

    /// What goes to each table. That of the default table has the marks of all that is filtered, whatever was put aside.
    fn parts(&self, batch: &Batch, filtered: &Filtered, progress: &Progress) -> Vec<Part> {
        let part = |(index, table): (usize, &Table)| {
            let wants = |entry: usize| {
                !progress.rejected.contains(&entry) && progress.placement.has(&batch.entries()[entry].block, index)
            };
            batch.part(filtered, wants, |stream| table.view.mark(stream))
        };
        self.tables.each().iter().enumerate().map(part).collect()
    }

    /// Writes the sink files of every part that has none yet; not so if a block turned out bad and was put aside.
    async fn write(&self, batch: &Batch, parts: &[Part], progress: &mut Progress) -> Result<bool, Error> {
        // Another collector may have taken some of the blocks; files that still hold exactly the rest are good.
        let stale = |index: &usize| progress.written[*index].entries != parts[*index].entries;
        let missing: Vec<usize> = (0..parts.len()).filter(stale).collect();
        let merges = missing.into_iter().map(|index| {
            let settings = self.tables.each()[index].settings.clone();
            let blocks = parts[index].entries.iter().map(|&entry| batch.entries()[entry].block.clone()).collect();
            let placement = progress.placement.clone();
            let begun = self.tables.each()[index].view.begin_files();
            async move { (index, begun, merge_part(settings, blocks, move |of| placement.table_of(of) == index).await) }
        });
        let all_of_them = merges.len() == parts.len();
        let merged: Vec<_> = futures::stream::iter(merges).buffer_unordered(MERGES_AT_ONCE).collect().await;
        let mut good = Ok(true);
        for (index, begun, files) in merged {
            let entries = &parts[index].entries;
            match files {
                Ok(files) => progress.written[index] = Written { entries: entries.clone(), files, begun: Some(begun) },
                Err(MergeError::Block { index, error }) => {
                    self.put_aside(&batch.entries()[entries[index]].block, &error.to_string()).await?;
                    progress.rejected.insert(entries[index]);
                    good = good.and(Ok(false));
                }
                Err(MergeError::Store(error)) => good = Err(error),
            }
        }
        if all_of_them && matches!(good, Ok(true)) {
            let entries: BTreeSet<usize> = parts.iter().flat_map(|part| part.entries.iter().copied()).collect();
            let blocks = entries.iter().map(|&entry| batch.entries()[entry].block.bytes().len() as u64).sum();
            let files = progress.written.iter().flat_map(|written| &written.files).map(|file| file.size).sum();
            self.output.learn(blocks, files);
        }
        good
    }

    /// Keeps a block whose content cannot be read, before the mark passes it: nothing that was acknowledged is thrown
    /// away, and one bad block does not hold up its neighbours.
    async fn put_aside(&self, block: &Block, reason: &str) -> Result<(), Error> {
        let header = block.header();
        let name = logboom_sink::paths::Name::Rejected { stream: header.stream, block: header.number };
        let store = &self.tables.default_table().settings.store;
        let path = store.put(name, Bytes::clone(block.bytes())).await?;
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
}

/// The last block of a stream in a batch: for planted bugs only.
fn highest(batch: &Batch, stream: StreamId) -> u64 {
    let headers = batch.entries().iter().map(|entry| entry.block.header());
    headers.filter(|header| header.stream == stream).map(|header| header.number).max().unwrap_or(0)
}

/// Commits to the tables of the routes, all at once: they have nothing to do with one another. Whether every one has its
/// part now.
async fn commit_routes(
    routes: &mut [Table],
    parts: &[Part],
    written: &[Written],
    background: &TaskTracker,
) -> Result<bool, Error> {
    crash::point("collector.route.before");
    let pending = routes.iter_mut().zip(parts).zip(written).filter(|((_, part), _)| !part.marks.is_empty());
    let commits = pending.map(|((table, part), written)| async {
        let committed = table.commit(&written.files, written.begun, &part.marks, background).await;
        crash::point("collector.route.after");
        committed
    });
    // None is given up in the middle because another failed.
    let outcomes: Result<Vec<bool>, Error> = join_all(commits).await.into_iter().collect();
    Ok(outcomes?.into_iter().all(|committed| committed))
}

/// Writes the records of the selected categories.
async fn merge_part(
    table: TableSettings,
    blocks: Vec<Block>,
    selected: impl Fn(&str) -> bool + Send + 'static,
) -> Result<Vec<DataFile>, MergeError> {
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let date = table.options.clock.now().wall.to_zoned(TimeZone::UTC).date();
    crash::point("collector.data.before");
    let merge = async move { merge_categories(&table.store, &blocks, date, &table.files, selected).await };
    let merged = on_own_thread(merge).await;
    crash::point("collector.data.after");
    merged
}
