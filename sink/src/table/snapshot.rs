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
use jiff::Timestamp;
use jiff::civil::Date;
use object_store::ObjectMeta;

use super::Timing;
use super::kernel;
use super::log::Log;
use super::stats::FileStats;
use crate::paths::{self, Name};
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

struct Row {
    path: String,
    size: i64,
    date: Option<String>,
    has_deletions: bool,
    stats: Option<String>,
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
