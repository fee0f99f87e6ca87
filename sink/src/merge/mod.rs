//! The merge: blocks of many streams in, sink files sorted by (category, timestamp, stream, sequence number) out.
//!
//! A collector sorts headers, not rows: the runs of a block say their category and time range, so that one category is
//! merged after the other, and a run is decoded only when the merge comes to its earliest record. What is in memory is
//! what overlaps in time, plus one row group; not the batch. Where more overlaps than may be held, the category is merged
//! one window of time after the other, and a run is decoded for each window that it reaches into.

mod gather;
mod run;

use jiff::civil::Date;
use logboom_wire::{Block, BlockError};

use crate::parquet::FileSettings;
use crate::table::DataFile;
use crate::writer::SinkWriter;
use crate::{Error, Store};
use gather::gather;
use run::{DecodedRun, RowRef, Window};

/// The most rows that are handed to the writer at once, and about so many are. Fewer take no less time, though what is gathered of
/// them would fit in the processor's cache: the encoder of each column then finds its own things out of it more often.
const ROWS_PER_WRITE: usize = 16 << 10;
/// The most bytes that are, unless one row has more.
const BYTES_PER_WRITE: usize = 8 << 20;
/// To find the middle of what is held, every so manyth row is looked at.
const ROWS_PER_SAMPLE: usize = 16;

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
    merge_categories(store, blocks, date, settings, |_| true).await
}

/// The same for the records of `blocks` whose category is `selected`. Others are not even decoded.
///
/// # Errors
/// As [`merge`].
pub async fn merge_categories(
    store: &Store,
    blocks: &[Block],
    date: Date,
    settings: &FileSettings,
    selected: impl Fn(&str) -> bool,
) -> Result<Vec<DataFile>, MergeError> {
    let mut runs = pending_runs(blocks);
    runs.retain(|run| selected(&run.header.key.category));
    runs.sort_by(|a, b| (&a.header.key.category, a.header.time_min).cmp(&(&b.header.key.category, b.header.time_min)));
    let mut output = Output {
        writer: SinkWriter::new(store.clone(), date, settings.clone()),
        block_bytes_left: runs.iter().map(|run| f64::from(run.header.compressed_bytes)).sum(),
        memory: settings.merge_memory,
    };
    output.writer.input_left(output.block_bytes_left as u64);
    for category in runs.chunk_by(|a, b| a.header.key.category == b.header.key.category) {
        let mut from = Some(i64::MIN);
        while let Some(begin) = from {
            from = merge_window(blocks, category, begin, &mut output).await?;
        }
        output.writer.category_ended().await?;
    }
    Ok(output.writer.finish().await?)
}

/// Where rows go, and what bounds those that wait for it.
struct Output {
    writer: SinkWriter,
    /// Bytes of the blocks whose rows are not written yet.
    block_bytes_left: f64,
    /// The most bytes of decoded rows that are held.
    memory: usize,
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

/// Merges the runs of one category, which come sorted by their earliest timestamp, from the timestamp `from` on as far
/// as memory allows. Returns the timestamp to go on from; `None` when all is written.
async fn merge_window(
    blocks: &[Block],
    runs: &[PendingRun<'_>],
    from: i64,
    output: &mut Output,
) -> Result<Option<i64>, MergeError> {
    let mut window = Window { from, until: None };
    let mut held: Vec<DecodedRun> = Vec::new();
    let mut fresh_rows = 0;
    // Gathered first: a closure that is kept across a wait would tie the merge to its thread.
    let pending: Vec<_> = runs.iter().filter(|run| run.header.time_max >= from).collect();
    let mut pending = pending.into_iter().peekable();
    while let Some(next) = pending.next_if(|run| window.until.is_none_or(|until| run.header.time_min < until)) {
        let decoded = DecodedRun::decode(&blocks[next.block], next.run, next.first_record, window)
            .map_err(|error| MergeError::Block { index: next.block, error })?;
        fresh_rows += decoded.rows_left();
        held.push(decoded);
        // Rows before the earliest of any run still to come are in their final order.
        if fresh_rows >= ROWS_PER_WRITE
            && let Some(bound) = pending.peek().map(|run| run.header.time_min)
        {
            fresh_rows = 0;
            let ready: usize = held.iter().map(|run| run.rows_before(Some(bound))).sum();
            if ready >= ROWS_PER_WRITE {
                write_before(&mut held, Some(bound), output).await?;
            }
        }
        if held.iter().map(DecodedRun::bytes).sum::<usize>() > output.memory && held.len() > 1 {
            window.until = middle(&held).or(window.until);
            for run in &mut held {
                run.keep_before(window.until).map_err(|error| MergeError::Store(Error::encoding(error)))?;
            }
        }
    }
    write_before(&mut held, None, output).await?;
    Ok(window.until)
}

/// A timestamp before which lie about half of the bytes that are held, and at least one row.
fn middle(held: &[DecodedRun]) -> Option<i64> {
    let mut samples: Vec<(i64, usize)> = Vec::new();
    for run in held {
        let weight = run.bytes() / run.rows_left().max(1);
        samples.extend(run.times_left(ROWS_PER_SAMPLE).map(|time| (time, weight)));
    }
    samples.sort_unstable();
    let (first, _) = samples.first()?;
    let half: usize = samples.iter().map(|(_, weight)| weight).sum::<usize>() / 2;
    let mut before = 0;
    let middle = samples.iter().find(|(_, weight)| {
        before += weight;
        before > half
    })?;
    Some(middle.0.max(first.checked_add(1)?))
}

/// Writes all held rows with a timestamp before `bound`, and lets go of runs that are done.
async fn write_before(held: &mut Vec<DecodedRun>, bound: Option<i64>, output: &mut Output) -> Result<(), MergeError> {
    held.sort_unstable_by_key(DecodedRun::place);
    let mut order = Vec::new();
    for (index, run) in held.iter_mut().enumerate() {
        run.take_before(bound, index as u32, &mut order);
    }
    // The runs lie by (stream, sequence number), so a stable sort by time gives the full order; and what is sorted
    // already, as streams mostly are, it merges in linear time.
    order.sort_by_key(|row| row.timestamp);
    let mut rest = &order[..];
    while !rest.is_empty() {
        let (rows, others) = rest.split_at(rows_per_write(held, rest));
        rest = others;
        let from_blocks: f64 = rows.iter().map(|row| held[row.run as usize].block_bytes_per_row).sum();
        output.block_bytes_left -= from_blocks;
        output.writer.input_left(output.block_bytes_left.max(0.0) as u64);
        output.writer.write(&gather(held, rows)?).await?;
    }
    held.retain(|run| run.rows_left() > 0);
    Ok(())
}

/// How many of `rows` are handed to the writer at once.
fn rows_per_write(held: &[DecodedRun], rows: &[RowRef]) -> usize {
    let mut bytes = 0;
    let fits = |row: &&RowRef| {
        bytes += held[row.run as usize].row_bytes(row.row as usize);
        bytes <= BYTES_PER_WRITE
    };
    rows.iter().take(ROWS_PER_WRITE).take_while(fits).count().max(1)
}
