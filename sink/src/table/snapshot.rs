//! The files of the table at one version: what a query reads.
//!
//! The log is replayed by the Delta library. The statistics are taken from its rows as text, because the library's own
//! visitor gives away only the number of records.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::StatsOptions;
use delta_kernel::{KernelError, KernelResult};
use jiff::civil::Date;
use logboom_config::FileFormat;

use super::contract::{self, FORMAT_PROPERTY};
use super::kernel;
use super::stats::FileStats;
use crate::paths;
use crate::schema::PARTITION_COLUMN;
use crate::{Error, Store};

/// The committed state of the table at one version.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The version.
    pub version: u64,
    /// What its sink files are written in.
    pub format: FileFormat,
    /// What its log names, in no particular order: sink files in Parquet, or indexes of those in JSON
    /// ([`crate::json`]).
    pub files: Vec<SnapshotFile>,
}

/// A sink file of a snapshot, or an index of some.
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
            let format = snapshot.table_properties().unknown_properties.get(FORMAT_PROPERTY).cloned();
            let scan = snapshot.scan_builder().with_stats(StatsOptions::json_only()).build()?;
            let mut rows = Vec::new();
            for metadata in scan.scan_metadata(engine)? {
                let selected = metadata?.scan_files.apply_selection_vector()?;
                let data = ArrowEngineData::try_from_engine_data(selected)?;
                read_rows(data.record_batch(), &mut rows)?;
            }
            Ok((version, format, rows))
        });
        let (version, format, rows) = loaded.await?;
        let foreign = |reason| Error::ForeignTable { url: store.url().to_string(), reason };
        let format = contract::format(format.as_deref()).map_err(foreign)?;
        let files: Result<_, _> = rows.into_iter().map(|row| row.into_file(format)).collect();
        Ok(Self { version, format, files: files.map_err(foreign)? })
    }
}

struct Row {
    path: String,
    size: i64,
    date: Option<String>,
    has_deletions: bool,
    stats: Option<String>,
}

impl Row {
    fn into_file(self, format: FileFormat) -> Result<SnapshotFile, String> {
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
            stats: self.stats.as_deref().and_then(|text| FileStats::from_json(text, format)),
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
    for row in 0..batch.num_rows() {
        let date = partitions.is_valid(row).then(|| {
            let entries = partitions.value(row);
            let keys = entries.column(0).as_string_opt::<i32>()?;
            let values = entries.column(1).as_string_opt::<i32>()?;
            let at = (0..keys.len()).find(|at| keys.value(*at) == PARTITION_COLUMN)?;
            values.is_valid(at).then(|| values.value(at).to_owned())
        });
        rows.push(Row {
            path: path.value(row).to_owned(),
            size: size.value(row),
            date: date.flatten(),
            has_deletions: deletions.is_valid(row),
            stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
        });
    }
    Ok(())
}

fn child<'a>(of: &'a StructArray, name: &str) -> KernelResult<&'a ArrayRef> {
    of.column_by_name(name).ok_or_else(|| no_column(name))
}

fn no_column(name: &str) -> KernelError {
    KernelError::generic(format!("the rows of a scan have no column `{name}` as expected"))
}
