//! The files of the table at one version: what a query reads.
//!
//! The log is replayed by the Delta library. The statistics are taken from its rows as text, because the library's own
//! visitor gives away only the number of records.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::StatsOptions;
use delta_kernel::schema::{DataType as DeltaType, StructField};
use delta_kernel::{KernelError, KernelResult};
use jiff::Timestamp;
use jiff::civil::Date;
use logboom_config::FileFormat;
use object_store::ObjectMeta;

use super::Timing;
use super::change::COMPACTED_TAG;
use super::contract::{self, FORMAT_PROPERTY};
use super::kernel;
use super::log::Log;
use super::stats::FileStats;
use crate::checksum;
use crate::paths::{self, Name};
use crate::schema::{PARTITION_COLUMN, table_schema};
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
    /// The table's columns besides those of [`table_schema`], in its order: promoted
    /// attributes, and those of later versions. A file may lack them; then they are null. Columns of a type that
    /// Logboom has no use for are left out.
    pub columns: Vec<FieldRef>,
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

    /// The newest version that was committed at `instant` or before it.
    ///
    /// A commit is as old as its object in the log, which is what the Delta protocol goes by for tables without commit
    /// times of their own; where clocks disagree, no commit counts as older than the one before it.
    ///
    /// # Errors
    /// [`Error::TooOld`] if the log does not go back so far: it names the oldest instant that it still has.
    pub async fn load_as_of(store: &Store, instant: Timestamp) -> Result<Self, Error> {
        let log = Log { store: store.clone(), timing: Timing::default() };
        let commits = history(&log.list(None).await?);
        let Some((_, oldest)) = commits.first().copied() else {
            return Err(Error::NoTable { url: store.url().to_string() });
        };
        match commits.iter().rev().find(|(_, at)| *at <= instant) {
            Some((version, _)) => Self::load_at(store, *version).await,
            None => Err(Error::TooOld { url: store.url().to_string(), instant, oldest }),
        }
    }

    async fn load_version(store: &Store, version: Option<u64>) -> Result<Self, Error> {
        let loaded = kernel::with_snapshot(store, "the snapshot", version, |snapshot, engine| {
            let version = snapshot.version();
            let columns = snapshot.schema().fields().filter_map(extra_column).collect();
            let format = snapshot.table_properties().unknown_properties.get(FORMAT_PROPERTY).cloned();
            let scan = snapshot.scan_builder().with_stats(StatsOptions::json_only()).build()?;
            let mut rows = Vec::new();
            for metadata in scan.scan_metadata(engine)? {
                let selected = metadata?.scan_files.apply_selection_vector()?;
                let data = ArrowEngineData::try_from_engine_data(selected)?;
                read_rows(data.record_batch(), &mut rows)?;
            }
            Ok((version, format, columns, rows))
        });
        let (version, format, columns, rows): (_, _, Vec<FieldRef>, Vec<Row>) = loaded.await?;
        let foreign = |reason| Error::ForeignTable { url: store.url().to_string(), reason };
        let format = contract::format(format.as_deref()).map_err(foreign)?;
        let files: Result<_, _> = rows.into_iter().map(|row| row.into_file(format)).collect();
        // The columns of an index are no columns of records.
        let columns = if format == FileFormat::Parquet { columns } else { Vec::new() };
        Ok(Self { version, format, files: files.map_err(foreign)?, columns })
    }
}

/// The versions that can still be read, with their times, both ascending.
fn history(log: &[(Name, ObjectMeta)]) -> Vec<(u64, Timestamp)> {
    let mut commits: Vec<_> = log
        .iter()
        .filter_map(|(name, meta)| match name {
            Name::Commit(version) => Some((*version, meta.last_modified.timestamp_micros())),
            _ => None,
        })
        .collect();
    commits.sort_unstable();
    // A clean-up that was cut short leaves a gap: what is before it cannot be read.
    let gap = commits.windows(2).rposition(|pair| pair[0].0 + 1 < pair[1].0);
    commits.drain(..gap.map_or(0, |at| at + 1));
    // The library starts at the first commit of all or at a checkpoint.
    let is_start = |version: u64| {
        version == 0
            || log.iter().any(|(name, _)| {
                matches!(name, Name::Checkpoint(at) | Name::CheckpointPart { version: at, .. } if *at == version)
            })
    };
    let start = commits.iter().position(|(version, _)| is_start(*version)).unwrap_or(commits.len());
    let mut newest = i64::MIN;
    let readable = commits.into_iter().skip(start).map(|(version, at)| {
        newest = newest.max(at);
        (version, Timestamp::from_microsecond(newest).unwrap_or(Timestamp::MAX))
    });
    readable.collect()
}

/// A column that not every table has.
fn extra_column(field: &StructField) -> Option<FieldRef> {
    if table_schema().field_with_name(field.name()).is_ok() {
        return None;
    }
    let data_type = match *field.data_type() {
        DeltaType::STRING => DataType::Utf8,
        DeltaType::INTEGER => DataType::Int32,
        DeltaType::LONG => DataType::Int64,
        DeltaType::DOUBLE => DataType::Float64,
        DeltaType::BOOLEAN => DataType::Boolean,
        DeltaType::BINARY => DataType::Binary,
        DeltaType::DATE => DataType::Date32,
        DeltaType::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    };
    Some(Arc::new(Field::new(field.name(), data_type, true)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: Name, second: i64) -> (Name, ObjectMeta) {
        let last_modified = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second as u64);
        let meta = ObjectMeta {
            location: name.path(),
            last_modified: last_modified.into(),
            size: 1,
            e_tag: None,
            version: None,
        };
        (name, meta)
    }

    fn versions(log: &[(Name, ObjectMeta)]) -> Vec<(u64, i64)> {
        history(log).into_iter().map(|(version, at)| (version, at.as_second())).collect()
    }

    #[test]
    fn no_commit_counts_as_older_than_the_one_before_it() {
        let log = [object(Name::Commit(2), 30), object(Name::Commit(0), 10), object(Name::Commit(1), 40)];
        assert_eq!(versions(&log), [(0, 10), (1, 40), (2, 40)]);
    }

    #[test]
    fn commits_before_the_oldest_checkpoint_can_be_read_only_from_the_first_commit_on() {
        let mut log = vec![
            object(Name::Commit(4), 40),
            object(Name::Commit(5), 50),
            object(Name::Checkpoint(5), 51),
            object(Name::Commit(6), 60),
        ];
        assert_eq!(versions(&log), [(5, 50), (6, 60)]);
        log.extend((0..4).map(|version| object(Name::Commit(version), version as i64)));
        assert_eq!(versions(&log).len(), 7);
        assert_eq!(versions(&log[..2]), [], "nothing to start from");
    }

    #[test]
    fn commits_before_a_gap_cannot_be_read() {
        let mut log: Vec<_> = [0, 1, 4, 5, 6].map(|version| object(Name::Commit(version), version as i64)).into();
        log.push(object(Name::Checkpoint(5), 9));
        assert_eq!(versions(&log), [(5, 5), (6, 6)]);
    }
}
