//! The rows that an index lists, read from files in JSON.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{ROW_OVERHEAD, WINDOW_ROWS_MAX};
use crate::json::{Member, MemberReader, read_index};
use crate::schema::file_schema;
use crate::table::SnapshotFile;
use crate::{Error, Store};

/// What a reader may hold where nothing else is held.
const MEMORY: u64 = 16 << 20;

/// See the module.
pub(super) struct JsonRows {
    reader: MemberReader,
    rows_total: u64,
    bytes_total: u64,
    rows_read: u64,
    /// Category and time that no row comes before.
    floor: Option<(String, i64)>,
    path: String,
}

impl JsonRows {
    /// Reads the index.
    pub async fn open(store: &Store, file: &SnapshotFile, share: u64) -> Result<Self, Error> {
        let members = read_index(&**store.objects(), &file.path, file.size).await?;
        let sum = |value: fn(&Member) -> u64| members.iter().map(value).sum::<u64>();
        let (rows_total, bytes_total) = (sum(|member| member.stats.records), sum(|member| member.length));
        let raw = sum(|member| member.raw_length);
        // What a row is as a line is about what it is in memory, but for what its columns take.
        let memory = share * raw / (raw + rows_total * ROW_OVERHEAD).max(1);
        let reader = MemberReader::new(store.objects().clone(), &members, file_schema(), WINDOW_ROWS_MAX, memory);
        let floor = members.first().and_then(|first| {
            let ((category, _), (timestamp, _)) = (first.stats.category.as_ref()?, first.stats.timestamp?);
            Some((category.clone(), timestamp))
        });
        Ok(Self { reader, rows_total, bytes_total, rows_read: 0, floor, path: file.path.clone() })
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn floor(&self) -> Option<(&str, i64)> {
        self.floor.as_ref().map(|(category, timestamp)| (category.as_str(), *timestamp))
    }

    pub fn rows_total(&self) -> u64 {
        self.rows_total
    }

    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    pub fn bytes_per_row(&self) -> f64 {
        self.bytes_total as f64 / self.rows_total.max(1) as f64
    }

    pub fn is_read(&self) -> bool {
        self.rows_read == self.rows_total
    }

    pub fn window_rows(&self) -> u64 {
        self.reader.batch_rows()
    }

    /// # Errors
    /// Also at the last rows, if the bytes after them are not as they should be.
    pub async fn read_window(&mut self) -> Result<RecordBatch, Error> {
        let Some(rows) = self.reader.next().await? else { return Err(self.bad()) };
        self.rows_read += rows.num_rows() as u64;
        match self.rows_read.cmp(&self.rows_total) {
            Ordering::Less => Ok(rows),
            Ordering::Equal if self.reader.next().await?.is_none() => Ok(rows),
            Ordering::Equal | Ordering::Greater => Err(self.bad()),
        }
    }

    fn bad(&self) -> Error {
        let reason = format!("its index says {} records, and there are others", self.rows_total);
        Error::BadFile { path: self.path.clone(), reason }
    }
}

/// Calls `each` with batches of these columns of the records of the index at `path`.
pub(super) async fn read_columns(
    store: &Store,
    members: &[Member],
    path: &str,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), Error> {
    let schema = file_schema();
    let indices: Vec<usize> = columns.iter().map(|name| schema.index_of(name).expect("it is a column")).collect();
    let wanted = Arc::new(schema.project(&indices).expect("indices of its own"));
    let mut reader = MemberReader::new(store.objects().clone(), members, wanted, WINDOW_ROWS_MAX, MEMORY);
    while let Some(rows) = reader.next().await? {
        each(&rows).map_err(|reason| Error::BadFile { path: path.to_owned(), reason })?;
    }
    Ok(())
}
