//! A sink file as a rewrite reads it: rows in order, a window of them at a time.
//!
//! Owns what is in memory of one file: its footer, one window of decoded rows, and the bytes of a small file, which is
//! fetched as a whole. Checks that the file is what a sink file should be; its columns are found by name.

use std::cmp::Ordering;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow_select::concat::concat_batches;
use futures::{FutureExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::PageIndexPolicy;

use crate::object::Object;
use crate::schema::file_schema;
use crate::table::SnapshotFile;
use crate::{Error, Store};

/// What a row takes in memory besides what its encoding says: columns that repeat take next to nothing in a file.
const ROW_OVERHEAD: u64 = 160;
const WINDOW_ROWS_MIN: u64 = 256;
const WINDOW_ROWS_MAX: u64 = 64 << 10;

/// See the module.
pub(super) struct Input {
    path: String,
    object: Object,
    metadata: ArrowReaderMetadata,
    /// About the most bytes that a window may take.
    memory: u64,
    /// Columns that the writer makes anew.
    derived: Arc<[String]>,
    row_group: usize,
    /// The next row to be read, in the row group.
    next: u64,
    rows: RecordBatch,
    keys: Keys,
    /// So many of `rows` are taken.
    taken: usize,
    /// Compressed bytes of one of the rows.
    bytes_per_row: f64,
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
}

impl Input {
    /// Reads the footer; a file of less than half of `memory` as a whole.
    pub async fn open(store: Store, file: SnapshotFile, memory: u64, derived: Arc<[String]>) -> Result<Self, Error> {
        let bad = |error: ParquetError| bad_file(&file.path, error);
        let mut object = Object::new(store.objects().clone(), file.path.as_str().into(), file.size);
        if file.size < memory / 2 {
            object.fetch().await.map_err(bad)?;
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = guarded(ArrowReaderMetadata::load_async(&mut object, options)).await.map_err(bad)?;
        let rows = RecordBatch::new_empty(file_schema());
        let keys = Keys::of(&rows);
        let path = file.path.clone();
        let input = Self {
            path,
            object,
            metadata,
            memory,
            derived,
            row_group: 0,
            next: 0,
            rows,
            keys,
            taken: 0,
            bytes_per_row: 0.0,
        };
        if let Some(known) = &file.stats
            && known.records != input.rows_total()
        {
            let reason = format!("it has {} rows, the table's log says {}", input.rows_total(), known.records);
            return Err(Error::BadFile { path: input.path, reason });
        }
        Ok(input)
    }

    /// Rows of the whole file.
    pub fn rows_total(&self) -> u64 {
        let metadata = self.metadata.metadata();
        metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    /// Compressed bytes of all rows.
    pub fn bytes_total(&self) -> u64 {
        let metadata = self.metadata.metadata();
        metadata.row_groups().iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).sum()
    }

    /// Whether what is in memory is all that is left.
    pub fn is_read(&self) -> bool {
        self.row_group >= self.metadata.metadata().num_row_groups()
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
        self.bytes_per_row
    }

    /// Category and time of the last row in memory.
    pub fn last_key(&self) -> (&str, i64) {
        let last = self.rows.num_rows() - 1;
        (self.category(last), self.timestamp(last))
    }

    /// The first row in memory, not taken, whose category and time come after `bound`; at it as well with `or_at`.
    pub fn end_before(&self, bound: (&str, i64), or_at: bool) -> usize {
        let (mut low, mut high) = (self.taken, self.rows.num_rows());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match (self.category(middle), self.timestamp(middle)).cmp(&bound) {
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

    /// Reads on if all rows in memory are taken, or none is left whose place is certain before the next are known.
    pub async fn fill(&mut self) -> Result<(), Error> {
        while !self.is_read() {
            let left = self.rows();
            let undecided = |row: usize| (self.category(row), self.timestamp(row)) == self.last_key();
            if !left.is_empty() && (!undecided(left.start) || left.len() as u64 >= self.window_rows()) {
                break;
            }
            let next = self.read_window().await?;
            let rest = self.rows.slice(left.start, left.len());
            self.rows = match rest.num_rows() {
                0 => next,
                _ => concat_batches(&file_schema(), [&rest, &next]).map_err(Error::encoding)?,
            };
            self.keys = Keys::of(&self.rows);
            self.taken = 0;
        }
        Ok(())
    }

    fn window_rows(&self) -> u64 {
        let metadata = self.metadata.metadata();
        let group = metadata.row_group(self.row_group.min(metadata.num_row_groups() - 1));
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        if metadata.offset_index().is_none() {
            // Whoever wrote it gave no index of pages: less than a row group would be read many times over.
            return rows;
        }
        let row = u64::try_from(group.total_byte_size()).unwrap_or(0) / rows + ROW_OVERHEAD;
        (self.memory / row).clamp(WINDOW_ROWS_MIN, WINDOW_ROWS_MAX)
    }

    async fn read_window(&mut self) -> Result<RecordBatch, Error> {
        let window = self.window_rows();
        let group = self.metadata.metadata().row_group(self.row_group);
        let (rows, compressed) = (u64::try_from(group.num_rows()).unwrap_or(0), group.compressed_size());
        let count = window.min(rows - self.next);
        let selection = RowSelection::from(vec![
            RowSelector::skip(self.next as usize),
            RowSelector::select(count as usize),
            RowSelector::skip((rows - self.next - count) as usize),
        ]);
        let read = ParquetRecordBatchStreamBuilder::new_with_metadata(self.object.clone(), self.metadata.clone())
            .with_row_groups(vec![self.row_group])
            .with_row_selection(selection)
            .with_batch_size(count as usize)
            .build();
        let read = async { read?.try_collect::<Vec<_>>().await };
        let batches = guarded(read).await.map_err(|error| bad_file(&self.path, error))?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found as u64 != count {
            let reason = format!("{count} rows were asked for, {found} came");
            return Err(Error::BadFile { path: self.path.clone(), reason });
        }
        self.bytes_per_row = compressed as f64 / rows.max(1) as f64;
        self.next += count;
        if self.next >= rows {
            (self.row_group, self.next) = (self.row_group + 1, 0);
        }
        let conformed: Result<Vec<_>, String> = batches.iter().map(|rows| conform(rows, &self.derived)).collect();
        let conformed = conformed.map_err(|reason| Error::BadFile { path: self.path.clone(), reason })?;
        concat_batches(&file_schema(), &conformed).map_err(Error::encoding)
    }
}

/// The columns of these rows as they are written: those that an older file lacks are null, those that are derived from
/// others are left out.
fn conform(rows: &RecordBatch, derived: &[String]) -> Result<RecordBatch, String> {
    let schema = file_schema();
    let is_known = |name: &String| schema.field_with_name(name).is_ok() || derived.contains(name);
    if let Some(field) = rows.schema().fields().iter().find(|field| !is_known(field.name())) {
        return Err(format!("its column `{}` would be lost", field.name()));
    }
    let column = |field: &arrow_schema::FieldRef| match rows.column_by_name(field.name()) {
        Some(column) => Ok(column.clone()),
        None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
        None => Err(format!("it has no column `{}`", field.name())),
    };
    let columns: Result<Vec<_>, String> = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema.clone(), columns?).map_err(|error| error.to_string())
}

/// Calls `each` with windows of these columns of a whole file.
pub(super) async fn read_columns(
    store: &Store,
    path: &str,
    size: u64,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), Error> {
    let object = Object::new(store.objects().clone(), path.into(), size);
    let read = async {
        let builder = ParquetRecordBatchStreamBuilder::new(object).await?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let mut batches = builder.with_projection(columns).with_batch_size(WINDOW_ROWS_MAX as usize).build()?;
        while let Some(batch) = batches.try_next().await? {
            each(&batch).map_err(ParquetError::General)?;
        }
        Ok(())
    };
    guarded(read).await.map_err(|error| bad_file(path, error))
}

/// The decoder panics on some damaged files. It owns all it works on, so there is nothing left half done.
async fn guarded<T>(work: impl Future<Output = ParquetResult<T>>) -> ParquetResult<T> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(ParquetError::General("the decoder cannot make sense of it".into())))
}

fn bad_file(path: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) if error.is::<object_store::Error>() => {
            Error::store("reading", path, *error.downcast().expect("checked"))
        }
        error => Error::BadFile { path: path.to_owned(), reason: error.to_string() },
    }
}
