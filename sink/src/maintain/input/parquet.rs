//! The rows of a file in Parquet.
//!
//! Owns what is in memory of it besides the rows: its footer, and the bytes of a small file, which is fetched as a whole.
//! Checks that the file is what a sink file should be; its columns are found by name.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use futures::{FutureExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::statistics::Statistics;

use super::{ROW_OVERHEAD, WINDOW_ROWS_MAX, WINDOW_ROWS_MIN};
use crate::object::Object;
use crate::table::SnapshotFile;
use crate::{Error, Store};

/// See the module.
pub(super) struct ParquetRows {
    path: String,
    object: Object,
    metadata: ArrowReaderMetadata,
    /// Columns that the writer makes anew.
    derived: Arc<[String]>,
    row_group: usize,
    /// The next row to be read, in the row group.
    next: u64,
    /// Category and time that no row of the row group comes before.
    floor: Option<(String, i64)>,
    /// Compressed bytes of one of the rows.
    bytes_per_row: f64,
}

impl ParquetRows {
    /// Reads the footer; a file of less than half of `share` as a whole.
    pub async fn open(store: &Store, file: SnapshotFile, share: u64, derived: Arc<[String]>) -> Result<Self, Error> {
        let bad = |error: ParquetError| bad_file(&file.path, error);
        let mut object = Object::new(store.objects().clone(), file.path.as_str().into(), file.size);
        if file.size < share / 2 {
            object.fetch().await.map_err(bad)?;
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = guarded(ArrowReaderMetadata::load_async(&mut object, options)).await.map_err(bad)?;
        let path = file.path.clone();
        let floor = floor(&metadata, 0);
        let rows = Self { path, object, metadata, derived, row_group: 0, next: 0, floor, bytes_per_row: 0.0 };
        if let Some(known) = &file.stats
            && known.records != rows.rows_total()
        {
            let reason = format!("it has {} rows, the table's log says {}", rows.rows_total(), known.records);
            return Err(Error::BadFile { path: rows.path, reason });
        }
        Ok(rows)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn floor(&self) -> Option<(&str, i64)> {
        self.floor.as_ref().map(|(category, timestamp)| (category.as_str(), *timestamp))
    }

    pub fn has_column(&self, name: &str) -> bool {
        self.metadata.schema().field_with_name(name).is_ok()
    }

    pub fn rows_total(&self) -> u64 {
        let metadata = self.metadata.metadata();
        metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    pub fn bytes_total(&self) -> u64 {
        let metadata = self.metadata.metadata();
        metadata.row_groups().iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).sum()
    }

    pub fn bytes_per_row(&self) -> f64 {
        self.bytes_per_row
    }

    pub fn is_read(&self) -> bool {
        self.row_group >= self.metadata.metadata().num_row_groups()
    }

    /// Rows that take about this many bytes of memory.
    pub fn window_rows(&self, memory: u64) -> u64 {
        let metadata = self.metadata.metadata();
        let group = metadata.row_group(self.row_group.min(metadata.num_row_groups() - 1));
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        if metadata.offset_index().is_none() {
            // Whoever wrote it gave no index of pages: less than a row group would be read many times over.
            return rows;
        }
        let row = u64::try_from(group.total_byte_size()).unwrap_or(0) / rows + ROW_OVERHEAD;
        (memory / row).clamp(WINDOW_ROWS_MIN, WINDOW_ROWS_MAX)
    }

    /// The next rows, with these columns, that take about this many bytes of memory.
    pub async fn read_window(&mut self, columns: &SchemaRef, memory: u64) -> Result<RecordBatch, Error> {
        let window = self.window_rows(memory);
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
            self.floor = floor(&self.metadata, self.row_group);
        }
        let conformed: Result<Vec<_>, String> =
            batches.iter().map(|rows| conform(rows, columns, &self.derived)).collect();
        let conformed = conformed.map_err(|reason| Error::BadFile { path: self.path.clone(), reason })?;
        concat_batches(columns, &conformed).map_err(Error::encoding)
    }
}

/// Category and time that no row of this row group comes before, by its statistics, if it has them.
fn floor(metadata: &ArrowReaderMetadata, row_group: usize) -> Option<(String, i64)> {
    let group = metadata.metadata().row_groups().get(row_group)?;
    let least = |name: &str| {
        group.columns().iter().find(|column| column.column_path().string() == name).and_then(|it| it.statistics())
    };
    let (Statistics::ByteArray(categories), Statistics::Int64(timestamps)) = (least("category")?, least("timestamp")?)
    else {
        return None;
    };
    let category = categories.min_opt()?.as_utf8().ok()?;
    Some((category.to_owned(), *timestamps.min_opt()?))
}

/// The columns of these rows as they are written: those that an older file lacks are null, those that are derived from
/// others are left out.
fn conform(rows: &RecordBatch, schema: &SchemaRef, derived: &[String]) -> Result<RecordBatch, String> {
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
