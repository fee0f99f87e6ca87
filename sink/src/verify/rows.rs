//! The rows of one sink file, as far as the ledger needs them: who they are and what losses they tell of.
//!
//! Only narrow columns are read, of the row groups that may matter. Checks on the way what the log says about the file's
//! rows: their number, their bounds and their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use futures::TryStreamExt;
use logboom_wire::{StreamId, loss};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::ledger::{Loss, Numbered};
use super::seqs::Seqs;
use crate::object::Object;
use crate::table::FileStats;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 16 << 10;

/// What of a stream is in a file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub host: String,
    pub seqs: Seqs,
    /// Numbers that are in the file more than once.
    pub doubled: Seqs,
    /// Least and greatest observed time, in microseconds.
    pub times: (i64, i64),
    /// Least and greatest number among the rows that were observed in the time asked for.
    pub within: Option<(u64, u64)>,
}

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct FileRows {
    pub parts: BTreeMap<StreamId, Part>,
    pub losses: Vec<Loss>,
}

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Of this stream only; loss records are wanted all the same.
    pub stream: Option<StreamId>,
    /// Observed from the first to before the second, in microseconds.
    pub observed: Option<Range<i64>>,
    /// Of these categories only; loss records are wanted all the same.
    pub categories: Option<BTreeSet<String>>,
    /// The file is one of ours, so that its rows are sorted.
    pub sorted: bool,
}

/// Reads `file` and holds it against `stats`.
///
/// # Errors
/// [`ParquetError`]: what the store said ([`ParquetError::External`]), or why this is no sink file as the log has it.
pub(super) async fn read(file: Object, stats: Option<&FileStats>, wanted: &Wanted) -> ParquetResult<FileRows> {
    let columns = ["timestamp", "observed_timestamp", "category", "host", "stream", "seq"];
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
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let mut batches =
        builder.with_projection(mask).with_row_groups(groups.clone()).with_batch_size(BATCH_ROWS).build()?;
    let mut reading = Reading::new(wanted, stats);
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
            reading.row(&columns, row)?;
        }
    }
    let mut rows = reading.end();
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

fn wrong(reason: impl Into<String>) -> ParquetError {
    ParquetError::General(reason.into())
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

/// The columns of a batch.
struct Columns<'a> {
    timestamp: &'a [i64],
    observed: &'a [i64],
    category: &'a arrow_array::StringArray,
    host: &'a arrow_array::StringArray,
    stream: &'a arrow_array::StringArray,
    seq: &'a [i64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> ParquetResult<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| wrong(format!("it has no column `{name}`")))?;
            match column.null_count() {
                0 => Ok(column),
                _ => Err(wrong(format!("there are nulls in its column `{name}`"))),
            }
        };
        let other = |name: &str| wrong(format!("its column `{name}` has another type"));
        let instants = |name: &str| {
            let column = column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| other(name))?;
            Ok::<_, ParquetError>(&column.values()[..])
        };
        let texts = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| other(name));
        Ok(Self {
            timestamp: instants("timestamp")?,
            observed: instants("observed_timestamp")?,
            category: texts("category")?,
            host: texts("host")?,
            stream: texts("stream")?,
            seq: column("seq")?.as_primitive_opt::<Int64Type>().ok_or_else(|| other("seq"))?.values(),
        })
    }
}

/// A pass over the rows of a file.
struct Reading<'a> {
    wanted: &'a Wanted,
    stats: Option<&'a FileStats>,
    numbers: HashMap<String, usize>,
    parts: Vec<(StreamId, Part)>,
    /// Text and number of the stream of the row before.
    stream: (String, usize),
    /// Category and time of the row before.
    place: (String, i64),
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a Wanted, stats: Option<&'a FileStats>) -> Self {
        Self {
            wanted,
            stats,
            numbers: HashMap::new(),
            parts: Vec::new(),
            stream: (String::new(), 0),
            place: (String::new(), i64::MIN),
        }
    }

    fn row(&mut self, columns: &Columns<'_>, row: usize) -> ParquetResult<()> {
        let (timestamp, observed) = (columns.timestamp[row], columns.observed[row]);
        if self.wanted.sorted {
            self.check_order(columns.category.value(row), timestamp)?;
        }
        self.check_bounds(columns, row)?;
        let number = self.stream_number(columns, row, observed)?;
        let (id, part) = &mut self.parts[number];
        let category = columns.category.value(row);
        if self.wanted.stream.is_some_and(|stream| stream != *id)
            || self.wanted.categories.as_ref().is_some_and(|wanted| !wanted.contains(category))
        {
            return Ok(());
        }
        let seq = u64::try_from(columns.seq[row]).map_err(|_| wrong("a sequence number is negative"))?;
        if !part.seqs.insert(seq) {
            part.doubled.insert(seq);
        }
        part.times = (part.times.0.min(observed), part.times.1.max(observed));
        if self.wanted.observed.as_ref().is_none_or(|range| range.contains(&observed)) {
            let (least, greatest) = part.within.unwrap_or((seq, seq));
            part.within = Some((least.min(seq), greatest.max(seq)));
        }
        Ok(())
    }

    fn check_order(&mut self, category: &str, timestamp: i64) -> ParquetResult<()> {
        if self.place.0 != category {
            if *self.place.0 > *category {
                return Err(wrong(format!("its rows are not sorted: `{category}` comes after `{}`", self.place.0)));
            }
            self.place = (category.to_owned(), timestamp);
        } else if self.place.1 > timestamp {
            return Err(wrong(format!("its rows are not sorted by time within `{category}`")));
        }
        self.place.1 = timestamp;
        Ok(())
    }

    fn check_bounds(&self, columns: &Columns<'_>, row: usize) -> ParquetResult<()> {
        let Some(stats) = self.stats else { return Ok(()) };
        let instant = |bounds: Option<(i64, i64)>, value: i64| bounds.is_none_or(|(a, b)| a <= value && value <= b);
        let text = |bounds: &Option<(String, String)>, value: &str| {
            bounds.as_ref().is_none_or(|(a, b)| a.as_str() <= value && value <= b.as_str())
        };
        let wrong_one = match () {
            () if !instant(stats.timestamp, columns.timestamp[row]) => "timestamp",
            () if !instant(stats.observed_timestamp, columns.observed[row]) => "observed_timestamp",
            () if !text(&stats.category, columns.category.value(row)) => "category",
            () if !text(&stats.host, columns.host.value(row)) => "host",
            () => return Ok(()),
        };
        Err(wrong(format!("a row lies outside of the bounds that the log has for `{wrong_one}`: readers pass it over")))
    }

    fn stream_number(&mut self, columns: &Columns<'_>, row: usize, observed: i64) -> ParquetResult<usize> {
        let (stream, host) = (columns.stream.value(row), columns.host.value(row));
        let number = match &self.stream {
            (text, number) if text == stream && !self.parts.is_empty() => *number,
            _ => match self.numbers.get(stream) {
                Some(number) => *number,
                None => {
                    let id = stream.parse().map_err(|_| wrong(format!("`{stream}` is no stream")))?;
                    let part = Part {
                        host: host.to_owned(),
                        seqs: Seqs::default(),
                        doubled: Seqs::default(),
                        times: (observed, observed),
                        within: None,
                    };
                    self.parts.push((id, part));
                    self.numbers.insert(stream.to_owned(), self.parts.len() - 1);
                    self.parts.len() - 1
                }
            },
        };
        if self.stream.1 != number || self.stream.0 != stream {
            self.stream = (stream.to_owned(), number);
        }
        match self.parts[number].1.host == host {
            true => Ok(number),
            false => {
                Err(wrong(format!("stream {stream} is of two hosts, `{}` and `{host}`", self.parts[number].1.host)))
            }
        }
    }

    fn end(self) -> FileRows {
        let parts = self.parts.into_iter().filter(|(_, part)| !part.seqs.is_empty());
        let parts = parts.map(|(id, mut part)| {
            part.seqs.optimize();
            (id, part)
        });
        FileRows { parts: parts.collect(), losses: Vec::new() }
    }
}

/// Reads the loss records among `rows` of a file that has `records`.
async fn read_losses(file: Object, rows: Vec<Range<usize>>, records: usize) -> ParquetResult<Vec<Loss>> {
    let builder = builder(file).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["host", "source", "attributes"]);
    let selection = RowSelection::from_consecutive_ranges(rows.into_iter(), records);
    let mut batches = builder.with_projection(mask).with_row_selection(selection).build()?;
    let mut losses = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (Some(hosts), Some(sources)) = (text("host"), text("source")) else {
            return Err(wrong("its columns `host` and `source` are not as they should be"));
        };
        let attributes = batch.column_by_name("attributes").and_then(|column| column.as_map_opt());
        let attributes = attributes.ok_or_else(|| wrong("its column `attributes` is not as it should be"))?;
        for row in 0..batch.num_rows() {
            if sources.value(row) != loss::SOURCE || !attributes.is_valid(row) {
                continue;
            }
            let entries = attributes.value(row);
            let (Some(keys), Some(values)) =
                (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
            else {
                continue;
            };
            let attribute = |name: &str| {
                let at = (0..keys.len()).find(|at| keys.value(*at) == name)?;
                values.is_valid(at).then(|| values.value(at))
            };
            losses.extend(loss_of(hosts.value(row), attribute));
        }
    }
    Ok(losses)
}

/// What a loss record says; `None` if it makes no sense.
fn loss_of<'a>(host: &str, attribute: impl Fn(&str) -> Option<&'a str>) -> Option<Loss> {
    let number = |name: &str| attribute(name)?.parse::<u64>().ok();
    let numbered = match attribute(loss::STREAM) {
        Some(stream) => {
            let (first, last) = (number(loss::FIRST_SEQ)?, number(loss::LAST_SEQ)?);
            (first <= last && last < u64::MAX).then_some(())?;
            Some(Numbered { stream: stream.parse().ok()?, first, last })
        }
        None => None,
    };
    let records = number(loss::RECORDS)?;
    Some(Loss { host: host.to_owned(), reason: attribute(loss::REASON)?.to_owned(), records, numbered })
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
    let columns = ["timestamp", "observed_timestamp", "category", "host", "stream", "seq"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let mut batches = builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS).build()?;
    let texts: HashMap<String, (StreamId, &BTreeSet<u64>)> =
        sought.iter().map(|(stream, seqs)| (stream.to_string(), (*stream, seqs))).collect();
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            let Some((stream, seqs)) = texts.get(columns.stream.value(row)) else { continue };
            let seq = columns.seq[row] as u64;
            if seqs.contains(&seq) {
                found.push((*stream, seq, columns.observed[row]));
            }
        }
    }
    Ok(found)
}
