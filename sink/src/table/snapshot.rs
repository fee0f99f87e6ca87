//! The files of the table at one version: what a query reads.
//!
//! The log is replayed by the Delta library. The statistics are taken from its rows as text, because the library's own
//! visitor gives away only the number of records.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StructArray};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::StatsOptions;
use delta_kernel::{KernelError, KernelResult};
use jiff::civil::Date;

use super::change::COMPACTED_TAG;
use super::kernel;
use super::stats::FileStats;
use crate::checksum;
use crate::paths;
use crate::schema::PARTITION_COLUMN;
use crate::{Error, Store};

/// The committed state of the table at one version.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The version.
    pub version: u64,
    /// The sink files, in no particular order.
    pub files: Vec<SnapshotFile>,
}

/// A sink file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Relative to the table's root, not encoded.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Its partition.
    pub date: Date,
    /// What it says about its rows, if it does.
    pub stats: Option<FileStats>,
    /// CRC32C of its bytes, if its writer took it.
    pub crc32c: Option<u32>,
    /// It was written by a compaction of its whole day.
    pub compacted: bool,
}

impl Snapshot {
    /// The newest version.
    pub async fn load(store: &Store) -> Result<Self, Error> {
        Self::load_version(store, None).await
    }

    /// This version, if the log still has it.
    pub async fn load_at(store: &Store, version: u64) -> Result<Self, Error> {
        Self::load_version(store, Some(version)).await
    }

    async fn load_version(store: &Store, version: Option<u64>) -> Result<Self, Error> {
        let loaded = kernel::with_snapshot(store, "the snapshot", version, |snapshot, engine| {
            let version = snapshot.version();
            let scan = snapshot.scan_builder().with_stats(StatsOptions::json_only()).build()?;
            let mut rows = Vec::new();
            for metadata in scan.scan_metadata(engine)? {
                let selected = metadata?.scan_files.apply_selection_vector()?;
                let data = ArrowEngineData::try_from_engine_data(selected)?;
                read_rows(data.record_batch(), &mut rows)?;
            }
            Ok((version, rows))
        });
        let (version, rows) = loaded.await?;
        let files: Result<_, _> = rows.into_iter().map(Row::into_file).collect();
        let files = files.map_err(|reason| Error::ForeignTable { url: store.url().to_string(), reason })?;
        Ok(Self { version, files })
    }
}

struct Row {
    path: String,
    size: i64,
    date: Option<String>,
    has_deletions: bool,
    stats: Option<String>,
    crc32c: Option<String>,
    compacted: bool,
}

impl Row {
    fn into_file(self) -> Result<SnapshotFile, String> {
        let of = |what: &str| format!("its file `{}` {what}", self.path);
        if self.has_deletions {
            return Err(of("has a deletion vector"));
        }
        let path = paths::from_uri(&self.path).ok_or_else(|| of("has no valid path"))?;
        if path.contains("://") || path.starts_with('/') {
            return Err(of("lies outside of the table"));
        }
        Ok(SnapshotFile {
            size: u64::try_from(self.size).map_err(|_| of("has a negative size"))?,
            date: self.date.as_deref().and_then(paths::parse_date).ok_or_else(|| of("has no partition date"))?,
            stats: self.stats.as_deref().and_then(FileStats::from_json),
            crc32c: self.crc32c.as_deref().and_then(checksum::from_text),
            compacted: self.compacted,
            path,
        })
    }
}

fn read_rows(batch: &RecordBatch, rows: &mut Vec<Row>) -> KernelResult<()> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| no_column(name));
    let path = column("path")?.as_string_opt::<i32>().ok_or_else(|| no_column("path"))?;
    let size = column("size")?.as_primitive_opt::<Int64Type>().ok_or_else(|| no_column("size"))?;
    let stats = column("stats")?.as_string_opt::<i32>().ok_or_else(|| no_column("stats"))?;
    let deletions = column("deletionVector")?.as_struct_opt().ok_or_else(|| no_column("deletionVector"))?;
    let deletions = child(deletions, "storageType")?;
    let constants = column("fileConstantValues")?.as_struct_opt().ok_or_else(|| no_column("fileConstantValues"))?;
    let partitions = child(constants, "partitionValues")?.as_map_opt().ok_or_else(|| no_column("partitionValues"))?;
    let tags = child(constants, "tags")?.as_map_opt().ok_or_else(|| no_column("tags"))?;
    for row in 0..batch.num_rows() {
        rows.push(Row {
            path: path.value(row).to_owned(),
            size: size.value(row),
            date: value(partitions, row, PARTITION_COLUMN),
            has_deletions: deletions.is_valid(row),
            stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
            crc32c: value(tags, row, checksum::TAG),
            compacted: value(tags, row, COMPACTED_TAG).is_some(),
        });
    }
    Ok(())
}

/// The text behind `key` in the map of this row.
fn value(maps: &MapArray, row: usize, key: &str) -> Option<String> {
    if !maps.is_valid(row) {
        return None;
    }
    let entries = maps.value(row);
    let keys = entries.column(0).as_string_opt::<i32>()?;
    let values = entries.column(1).as_string_opt::<i32>()?;
    let at = (0..keys.len()).find(|at| keys.value(*at) == key)?;
    values.is_valid(at).then(|| values.value(at).to_owned())
}

fn child<'a>(of: &'a StructArray, name: &str) -> KernelResult<&'a ArrayRef> {
    of.column_by_name(name).ok_or_else(|| no_column(name))
}

fn no_column(name: &str) -> KernelError {
    KernelError::generic(format!("the rows of a scan have no column `{name}` as expected"))
}
