//! The commits that the log still has, as people want to see them.

use futures::{StreamExt, TryStreamExt};

use logboom_config::FileFormat;

use super::TableOptions;
use super::actions::{Action, CommitInfo};
use super::log::Log;
use super::stats::FileStats;
use super::view::{Listed, stream_of};
use crate::{Error, Store};

/// So many commits are fetched at a time.
const FETCHES: usize = 16;

/// One commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its version.
    pub version: u64,
    /// When it was made by its writer's clock, in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// What its writer says that it did: `WRITE`, `OPTIMIZE`, `DELETE` …
    pub operation: Option<String>,
    /// Files that became part of the table.
    pub files_added: u64,
    /// Files that no longer are.
    pub files_removed: u64,
    /// Rows of the files that were added; of a table in JSON, of its indexes.
    pub rows_added: u64,
    /// Bytes of the files that were added.
    pub bytes_added: u64,
    /// Streams whose mark moved.
    pub streams: u64,
}

impl Entry {
    fn of(version: u64, actions: &[Action]) -> Self {
        let mut entry = Self { version, ..Self::default() };
        for action in actions {
            match action {
                Action::CommitInfo(info) => entry.take_info(info),
                Action::Txn(txn) => entry.streams += u64::from(stream_of(txn).is_some()),
                Action::Add(add) => {
                    entry.files_added += 1;
                    entry.bytes_added += u64::try_from(add.size).unwrap_or(0);
                    let stats = add.stats.as_deref().and_then(|text| FileStats::from_json(text, FileFormat::Parquet));
                    entry.rows_added += stats.map_or(0, |stats| stats.records);
                }
                Action::Remove(_) => entry.files_removed += 1,
                _ => {}
            }
        }
        entry
    }

    fn take_info(&mut self, info: &CommitInfo) {
        self.timestamp_ms = info.timestamp_ms();
        self.operation = info.operation().map(str::to_owned);
    }
}

/// The newest `limit` commits, the newest first.
///
/// # Errors
/// If the log cannot be read. A commit that is cleaned up meanwhile is left out.
pub async fn history(store: &Store, options: &TableOptions, limit: usize) -> Result<Vec<Entry>, Error> {
    let log = Log { store: store.clone(), timing: options.timing.clone() };
    let mut versions = Listed::new(log.list(None).await?).commits;
    if versions.is_empty() {
        return Err(Error::NoTable { url: store.url().to_string() });
    }
    versions.reverse();
    versions.truncate(limit);
    let log = &log;
    let read = |version| async move {
        let found = log.read(version).await?;
        Ok::<_, Error>(found.map(|found| Entry::of(version, &found.actions)))
    };
    let entries = futures::stream::iter(versions.into_iter().map(read)).buffered(FETCHES);
    Ok(entries.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}
