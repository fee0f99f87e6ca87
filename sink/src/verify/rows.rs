//! The rows of one sink file in Parquet, as far as the ledger needs them: who they are and what losses they tell of.
//!
//! Only narrow columns are read, of the row groups that may matter. Checks on the way what the log says about the file's
//! rows: their number, their bounds and their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use futures::TryStreamExt;
use logboom_wire::{StreamId, loss};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::ledger::Loss;
use super::pass::{COLUMNS, Columns, FileRows, LOSS_COLUMNS, Pass, Wanted, losses_of, wrong};
use crate::object::Object;
use crate::table::FileStats;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 16 << 10;

/// Reads `file` and holds it against `stats`.
///
/// # Errors
/// [`parquet::errors::ParquetError`]: what the store said (`External`), or why this is no sink file as the log has it.
pub(super) async fn read(file: Object, stats: Option<&FileStats>, wanted: &Wanted) -> ParquetResult<FileRows> {
    let builder = builder(file.clone()).await?;
    let metadata = builder.metadata().clone();
    let records = metadata.file_metadata().num_rows() as u64;
    if let Some(stats) = stats
        && stats.records != records
    {
        return Err(wrong(format!("it has {records} rows where the log has {}", stats.records)));
    }
    let groups: Vec<usize> =
        (0..metadata.num_row_groups()).filter(|at| may_matter(metadata.row_group(*at), wanted)).collect();
    // Loss records are found by their place in the file.
    let starts: Vec<u64> = metadata
        .row_groups()
        .iter()
        .scan(0, |next, group| Some(std::mem::replace(next, *next + group.num_rows() as u64)))
        .collect();
    let mut places = groups.iter().flat_map(|at| {
        let start = starts[*at];
        start..start + metadata.row_group(*at).num_rows() as u64
    });
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut batches =
        builder.with_projection(mask).with_row_groups(groups.clone()).with_batch_size(BATCH_ROWS).build()?;
    let mut pass = Pass::new(wanted, stats);
    let mut loss_rows: Vec<Range<usize>> = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            let place = places.next().ok_or_else(|| wrong("it has more rows than its footer says"))? as usize;
            if columns.category.value(row) == loss::CATEGORY {
                match loss_rows.last_mut() {
                    Some(range) if range.end == place => range.end += 1,
                    _ => loss_rows.push(place..place + 1),
                }
            }
            pass.row(&columns, row)?;
        }
    }
    let mut rows = pass.end();
    if !loss_rows.is_empty() {
        rows.losses = read_losses(file, loss_rows, records as usize).await?;
    }
    Ok(rows)
}

async fn builder(file: Object) -> ParquetResult<ParquetRecordBatchStreamBuilder<Object>> {
    // Whoever wrote it: what counts are the Parquet types.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchStreamBuilder::new_with_options(file, options).await
}

/// Decodes every column of `file`: for one without a checksum, the most that can be asked of it.
pub(super) async fn decode_all(file: Object) -> ParquetResult<()> {
    let mut batches = builder(file).await?.with_batch_size(BATCH_ROWS).build()?;
    while batches.try_next().await?.is_some() {}
    Ok(())
}

/// Whether rows of a row group may be wanted, by its statistics.
fn may_matter(group: &RowGroupMetaData, wanted: &Wanted) -> bool {
    let Some(stream) = wanted.stream else { return true };
    may_hold(group, "stream", stream.to_string().as_bytes()) || may_hold(group, "category", loss::CATEGORY.as_bytes())
}

fn may_hold(group: &RowGroupMetaData, column: &str, text: &[u8]) -> bool {
    let column = group.columns().iter().find(|chunk| chunk.column_path().string() == column);
    match column.and_then(|chunk| chunk.statistics()) {
        Some(Statistics::ByteArray(stats)) => {
            // Bounds may have been cut short; then the least is still least, and the greatest was made greater.
            stats.min_opt().is_none_or(|min| min.data() <= text) && stats.max_opt().is_none_or(|max| text <= max.data())
        }
        _ => true,
    }
}

/// Reads the loss records among `rows` of a file that has `records`.
async fn read_losses(file: Object, rows: Vec<Range<usize>>, records: usize) -> ParquetResult<Vec<Loss>> {
    let builder = builder(file).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), LOSS_COLUMNS);
    let selection = RowSelection::from_consecutive_ranges(rows.into_iter(), records);
    let mut batches = builder.with_projection(mask).with_row_selection(selection).build()?;
    let mut losses = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        losses_of(&batch, &mut losses)?;
    }
    Ok(losses)
}

/// Where the rows with these numbers are: for each, the observed time. Numbers by stream.
pub(super) async fn locate(
    file: Object,
    sought: &BTreeMap<StreamId, BTreeSet<u64>>,
) -> ParquetResult<Vec<(StreamId, u64, i64)>> {
    let builder = builder(file).await?;
    let metadata = builder.metadata().clone();
    let groups = (0..metadata.num_row_groups()).filter(|at| {
        let group = metadata.row_group(*at);
        sought.keys().any(|stream| may_hold(group, "stream", stream.to_string().as_bytes()))
    });
    let groups = groups.collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut batches = builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS).build()?;
    let texts: HashMap<String, (StreamId, &BTreeSet<u64>)> =
        sought.iter().map(|(stream, seqs)| (stream.to_string(), (*stream, seqs))).collect();
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        Columns::of(&batch)?.find(&texts, &mut found);
    }
    Ok(found)
}
