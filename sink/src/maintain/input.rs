//! A sink file as a rewrite reads it: rows in order, a window of them at a time.
//!
//! Owns which rows of one file are in memory and which are taken; how a window is read is `parquet`'s and `json`'s.

mod json;
mod parquet;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use logboom_config::FileFormat;

use self::json::JsonRows;
use self::parquet::ParquetRows;
use crate::json::read_index;
use crate::schema::file_schema;
use crate::table::SnapshotFile;
use crate::{Error, Store};

/// What a row takes in memory besides what its encoding says: columns that repeat take next to nothing in a file.
const ROW_OVERHEAD: u64 = 160;
const WINDOW_ROWS_MIN: u64 = 256;
const WINDOW_ROWS_MAX: u64 = 64 << 10;

/// See the module.
pub(super) struct Input {
    source: Source,
    /// The columns of `rows`.
    columns: SchemaRef,
    rows: RecordBatch,
    keys: Keys,
    /// So many of `rows` are taken.
    taken: usize,
    /// Category and time of the last row that was read.
    last: Option<(String, i64)>,
    /// What the window that was read last might take, in bytes.
    window: u64,
}

enum Source {
    Parquet(Box<ParquetRows>),
    Json(Box<JsonRows>),
}

/// The columns that rows are ordered by.
struct Keys {
    category: StringArray,
    timestamp: TimestampMicrosecondArray,
    stream: StringArray,
    seq: Int64Array,
}

impl Keys {
    fn of(rows: &RecordBatch) -> Self {
        Self {
            category: rows["category"].as_string().clone(),
            timestamp: rows["timestamp"].as_primitive::<TimestampMicrosecondType>().clone(),
            stream: rows["stream"].as_string().clone(),
            seq: rows["seq"].as_primitive::<Int64Type>().clone(),
        }
    }

    fn are_sorted_from<'a>(&'a self, least: (&'a str, i64)) -> bool {
        std::iter::once(least).chain((0..self.seq.len()).map(|row| self.get(row))).is_sorted()
    }

    /// Category and time of a row.
    fn get(&self, row: usize) -> (&str, i64) {
        (self.category.value(row), self.timestamp.value(row))
    }
}

impl Input {
    /// Reads the footer of a file in Parquet, or the index of some in JSON. `share`: bytes of memory that it may always
    /// take; columns that are `derived` are not read.
    pub async fn open(
        store: Store,
        format: FileFormat,
        file: SnapshotFile,
        share: u64,
        derived: Arc<[String]>,
    ) -> Result<Self, Error> {
        let source = match format {
            FileFormat::Parquet => Source::Parquet(Box::new(ParquetRows::open(&store, file, share, derived).await?)),
            FileFormat::Json => Source::Json(Box::new(JsonRows::open(&store, &file, share).await?)),
        };
        let rows = RecordBatch::new_empty(file_schema());
        let (columns, keys) = (file_schema(), Keys::of(&rows));
        Ok(Self { source, columns, keys, rows, taken: 0, last: None, window: share })
    }

    fn path(&self) -> &str {
        match &self.source {
            Source::Parquet(source) => source.path(),
            Source::Json(source) => source.path(),
        }
    }

    /// Whether its rows have this column.
    pub fn has_column(&self, name: &str) -> bool {
        match &self.source {
            Source::Parquet(source) => source.has_column(name),
            Source::Json(_) => file_schema().field_with_name(name).is_ok(),
        }
    }

    /// Says which columns rows are to have: those of every table, and others, which are null where the file lacks them.
    /// Before anything is read.
    pub fn set_columns(&mut self, columns: &SchemaRef) {
        self.columns = columns.clone();
        self.rows = RecordBatch::new_empty(columns.clone());
    }

    /// Rows of the whole file.
    pub fn rows_total(&self) -> u64 {
        match &self.source {
            Source::Parquet(source) => source.rows_total(),
            Source::Json(source) => source.rows_total(),
        }
    }

    /// Compressed bytes of all rows.
    pub fn bytes_total(&self) -> u64 {
        match &self.source {
            Source::Parquet(source) => source.bytes_total(),
            Source::Json(source) => source.bytes_total(),
        }
    }

    /// Whether what is in memory is all that is left.
    pub fn is_read(&self) -> bool {
        match &self.source {
            Source::Parquet(source) => source.is_read(),
            Source::Json(source) => source.is_read(),
        }
    }

    /// Whether there is nothing left.
    pub fn is_done(&self) -> bool {
        self.is_read() && self.taken == self.rows.num_rows()
    }

    /// Rows in memory that are not taken.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.taken..self.rows.num_rows()
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.rows
    }

    pub fn category(&self, row: usize) -> &str {
        self.keys.category.value(row)
    }

    pub fn timestamp(&self, row: usize) -> i64 {
        self.keys.timestamp.value(row)
    }

    pub fn stream(&self, row: usize) -> &str {
        self.keys.stream.value(row)
    }

    pub fn seq(&self, row: usize) -> i64 {
        self.keys.seq.value(row)
    }

    /// Compressed bytes of a row, about.
    pub fn bytes_per_row(&self) -> f64 {
        match &self.source {
            Source::Parquet(source) => source.bytes_per_row(),
            Source::Json(source) => source.bytes_per_row(),
        }
    }

    /// Category and time of the first row in memory that is not taken.
    pub fn first_key(&self) -> Option<(&str, i64)> {
        (!self.rows().is_empty()).then(|| self.keys.get(self.taken))
    }

    /// A category and a time that no row comes before that is still to be read.
    pub fn floor(&self) -> (&str, i64) {
        let of_source = match &self.source {
            Source::Parquet(source) => source.floor(),
            Source::Json(source) => source.floor(),
        };
        let of_last = self.last.as_ref().map(|(category, timestamp)| (category.as_str(), *timestamp));
        of_source.max(of_last).unwrap_or(("", i64::MIN))
    }

    /// What the window that was read last might take, in bytes.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// The first row in memory, not taken, whose category and time come after `bound`; at it as well with `or_at`.
    pub fn end_before(&self, bound: (&str, i64), or_at: bool) -> usize {
        let (mut low, mut high) = (self.taken, self.rows.num_rows());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match self.keys.get(middle).cmp(&bound) {
                Ordering::Less => true,
                Ordering::Equal => or_at,
                Ordering::Greater => false,
            };
            if before { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// All rows before this one are taken.
    pub fn take_until(&mut self, row: usize) {
        self.taken = row;
    }

    /// Gives up the memory of a window of which all rows are taken.
    pub fn release(&mut self) {
        if self.rows().is_empty() && self.taken > 0 {
            self.rows = RecordBatch::new_empty(self.columns.clone());
            (self.keys, self.taken) = (Keys::of(&self.rows), 0);
        }
    }

    /// Whether there is more to be read, and room for it: nothing is left in memory, or less than a window, of one time.
    pub fn may_read(&self) -> bool {
        let left = self.rows();
        let is_of_one_time = || self.keys.get(left.start) == self.keys.get(left.end - 1);
        !self.is_read() && (left.is_empty() || (is_of_one_time() && (left.len() as u64) < self.window_rows()))
    }

    /// Reads a window that takes about this many bytes of memory, besides what is left.
    ///
    /// # Errors
    /// If the store fails, or the file is damaged or not in order.
    pub async fn read(&mut self, memory: u64) -> Result<(), Error> {
        let floor = (self.floor().0.to_owned(), self.floor().1);
        let next = match &mut self.source {
            Source::Parquet(source) => source.read_window(&self.columns, memory).await?,
            Source::Json(source) => source.read_window().await?,
        };
        let keys = Keys::of(&next);
        if !keys.are_sorted_from((&floor.0, floor.1)) {
            let reason = "its rows are not sorted by category and time, as those of every sink file are".to_owned();
            return Err(Error::BadFile { path: self.path().to_owned(), reason });
        }
        if let Some(last) = next.num_rows().checked_sub(1) {
            let (category, timestamp) = keys.get(last);
            self.last = Some((category.to_owned(), timestamp));
        }
        let left = self.rows();
        (self.rows, self.keys) = match left.len() {
            0 => (next, keys),
            _ => {
                let rest = self.rows.slice(left.start, left.len());
                let rows = concat_batches(&self.columns, [&rest, &next]).map_err(Error::encoding)?;
                let keys = Keys::of(&rows);
                (rows, keys)
            }
        };
        (self.taken, self.window) = (0, memory);
        Ok(())
    }

    fn window_rows(&self) -> u64 {
        match &self.source {
            Source::Parquet(source) => source.window_rows(self.window),
            Source::Json(source) => source.window_rows(),
        }
    }
}

/// Calls `each` with windows of these columns of a whole file. Returns the bytes that its records take.
pub(super) async fn read_columns(
    store: &Store,
    format: FileFormat,
    path: &str,
    size: u64,
    columns: &[&str],
    each: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<u64, Error> {
    match format {
        FileFormat::Parquet => {
            parquet::read_columns(store, path, size, columns, each).await?;
            Ok(size)
        }
        FileFormat::Json => {
            let members = read_index(&**store.objects(), path, size).await?;
            json::read_columns(store, &members, path, columns, each).await?;
            Ok(members.iter().map(|member| member.length).sum())
        }
    }
}
