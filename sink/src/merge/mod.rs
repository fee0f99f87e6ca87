//! The merge: blocks of many streams in, sink files sorted by (category, timestamp, stream, sequence number) out.
//!
//! A collector sorts headers, not rows: the runs of a block say their category and time range, so that one category is
//! merged after the other, and a run is decoded only when the merge comes to its earliest record. What is in memory is
//! what overlaps in time, plus one row group; not the batch.

mod gather;
mod run;

use jiff::civil::Date;
use logboom_wire::{Block, BlockError};

use crate::parquet::FileSettings;
use crate::table::DataFile;
use crate::writer::SinkWriter;
use crate::{Error, Store};
use gather::gather;
use run::DecodedRun;

/// Rows that are handed to the writer at once.
const ROWS_PER_WRITE: usize = 16 << 10;
/// Decoded rows that are held before some are written, if the runs overlap no further.
const ROWS_HELD: usize = 64 << 10;

/// Why a batch could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A block's checksums hold but its content does not. Take it out of the batch and merge the rest.
    #[error("block {index} of the batch: {error}")]
    Block {
        /// Index of the block in the batch.
        index: usize,
        /// What is wrong with it.
        error: BlockError,
    },
    /// The store failed. Objects that were written are not part of any commit; merge again.
    #[error(transparent)]
    Store(#[from] Error),
}

/// One run of the batch, not decoded yet.
struct PendingRun<'a> {
    block: usize,
    run: usize,
    header: &'a logboom_wire::Run,
    first_record: u64,
}

/// Writes `blocks` (none of them twice) as sink files of the partition `date`. Returns the files; none if there is no
/// record. CPU-bound between writes: call it where a thread may be kept busy.
///
/// # Errors
/// [`MergeError`]. Files written before the error stay on the store, unreferenced.
pub async fn merge(
    store: &Store,
    blocks: &[Block],
    date: Date,
    settings: &FileSettings,
) -> Result<Vec<DataFile>, MergeError> {
    let mut writer = SinkWriter::new(store.clone(), date, settings.clone());
    let mut runs = pending_runs(blocks);
    runs.sort_by(|a, b| (&a.header.key.category, a.header.time_min).cmp(&(&b.header.key.category, b.header.time_min)));
    for category in runs.chunk_by(|a, b| a.header.key.category == b.header.key.category) {
        merge_category(blocks, category, &mut writer).await?;
        writer.category_ended().await?;
    }
    Ok(writer.finish().await?)
}

fn pending_runs(blocks: &[Block]) -> Vec<PendingRun<'_>> {
    let mut pending = Vec::new();
    for (block, header) in blocks.iter().map(|block| block.header()).enumerate() {
        let mut first_record = header.first_record;
        for (run, run_header) in header.runs.iter().enumerate() {
            pending.push(PendingRun { block, run, header: run_header, first_record });
            first_record += u64::from(run_header.rows);
        }
    }
    pending
}

/// Merges the runs of one category, which come sorted by their earliest timestamp.
async fn merge_category(blocks: &[Block], runs: &[PendingRun<'_>], writer: &mut SinkWriter) -> Result<(), MergeError> {
    let mut held: Vec<DecodedRun> = Vec::new();
    let mut pending = runs.iter().peekable();
    while let Some(next) = pending.next() {
        let decoded = DecodedRun::decode(&blocks[next.block], next.run, next.first_record)
            .map_err(|error| MergeError::Block { index: next.block, error })?;
        let at = held.partition_point(|other| other.place() < decoded.place());
        held.insert(at, decoded);
        // Rows before the earliest of any run still to come are in their final order.
        let bound = pending.peek().map(|run| run.header.time_min);
        let rows: usize = held.iter().map(DecodedRun::rows_left).sum();
        if bound.is_none() || rows >= ROWS_HELD {
            write_before(&mut held, bound, writer).await?;
        }
    }
    Ok(())
}

/// Writes all held rows with a timestamp before `bound`, and lets go of runs that are done.
async fn write_before(
    held: &mut Vec<DecodedRun>,
    bound: Option<i64>,
    writer: &mut SinkWriter,
) -> Result<(), MergeError> {
    let mut order = Vec::new();
    for (index, run) in held.iter_mut().enumerate() {
        run.take_before(bound, index as u32, &mut order);
    }
    // Runs are held by (stream, sequence number), so a stable sort by time gives the full order; and what is sorted
    // already, as streams mostly are, it merges in linear time.
    order.sort_by_key(|row| row.timestamp);
    for rows in order.chunks(ROWS_PER_WRITE) {
        writer.write(&gather(held, rows)?).await?;
    }
    held.retain(|run| run.rows_left() > 0);
    Ok(())
}
