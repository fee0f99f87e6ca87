//! The commit: the one step that makes sink files visible and moves the marks.
//!
//! The ordering rules, and what breaks otherwise:
//! 1. Sink files are put, durably, before the commit that names them, or a reader finds nothing behind a name.
//! 2. The batch was filtered by the very view it is committed against. A view refreshed in between hides that
//!    another collector has committed one of its blocks, and the block is there twice.
//! 3. Version `view + 1` is put only if it is absent. After any answer but success, the log is read before anything
//!    else is done: an error may hide a commit that landed, and "exists already" one that did not.
//! 4. A view that is too old is opened anew before a commit, and an answer that came too late is believed only if a
//!    view opened anew reads that very commit: the log may have been cleaned up past our version, and what is put
//!    there is seen by nobody.
//! 5. Only then is anything acknowledged. And whatever happens here, no data file is deleted: the outcome that looks
//!    like a failure may not be one.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use jiff::civil::Date;
use logboom_config::FileFormat;
use logboom_wire::StreamId;
use uuid::Uuid;

use super::actions::{self, Action, Add, CommitInfo, Txn};
use super::stats::FileStats;
use super::view::{Next, Seen, View};
use crate::Error;
use crate::paths;
use crate::schema::PARTITION_COLUMN;

/// Whoever loses races again and again waits no longer than after this many.
const LOST_PAUSES_MAX: u32 = 5;

/// A sink file in Parquet, or the index of some in JSON, that is on the store and not yet part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the table's root, not encoded.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Its partition.
    pub date: Date,
    /// What it says about its rows.
    pub stats: FileStats,
}

/// What is committed together: the files hold every block that the marks move past, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The sink files.
    pub files: &'a [DataFile],
    /// The new mark of each stream in the batch: higher than the view's.
    pub marks: &'a [(StreamId, u64)],
}

/// What came of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "blocks may be acknowledged only if they are committed"]
pub enum Outcome {
    /// The batch is part of the table.
    Committed {
        /// With this version.
        version: u64,
    },
    /// The batch is not, or only some of it by another's hand. The view has moved on: filter the blocks by it again.
    /// Those it covers are committed; write the rest into new files and commit them. Leave the old files alone.
    Conflict,
}

/// Commits a batch that was filtered by this view, and takes the view along.
///
/// After an error the outcome is unknown or nothing was tried; the view is still good for [`View::refresh`], after
/// which filter and commit again.
///
/// # Panics
/// If the batch moves no mark, moves one twice, or moves one that is not higher than the view's: then it was not
/// filtered by this view, and committing it could lose or double records.
pub async fn commit(view: &mut View, batch: Batch<'_>) -> Result<Outcome, Error> {
    batch.check(view);
    let txn_id = Uuid::new_v4().to_string();
    let actions = batch.actions(&txn_id, view.clock().now().wall.as_millisecond());
    let body = Bytes::from(actions::write(&actions));
    let timing = view.log().timing.clone();
    let filtered_by: Vec<u64> = batch.marks.iter().map(|(stream, _)| view.mark(*stream)).collect();
    let has_moved = |view: &View| batch.marks.iter().zip(&filtered_by).any(|((s, _), mark)| view.mark(*s) != *mark);
    // Unknown answers in a row, and lost races in a row.
    let (mut unknown, mut lost) = (0, 0);
    'put: loop {
        while view.is_stale() {
            view.reload().await?;
            if has_moved(view) {
                return Ok(Outcome::Conflict);
            }
        }
        let version = view.version() + 1;
        let tried_at = view.clock().now();
        let mut last_error = match view.log().put(version, body.clone()).await {
            Ok(()) => return landed(view, version, &actions, tried_at).await,
            Err(error) => error,
        };
        tracing::debug!(version, error = %last_error, "a commit was not answered with success; reading the log");
        // Look: what is at our version, and at those after it?
        loop {
            match view.next().await {
                Ok(Next::Commit(found)) => match view.compare(&found, &txn_id, batch.marks) {
                    Seen::Ours => return landed(view, view.version() + 1, &actions, tried_at).await,
                    Seen::Conflict => {
                        view.apply(&found)?;
                        return Ok(Outcome::Conflict);
                    }
                    Seen::Other => view.apply(&found)?,
                },
                // Others took our version, and the one after them is free.
                Ok(Next::None) if view.version() >= version => {
                    unknown = 0;
                    timing.pause(lost).await;
                    lost = (lost + 1).min(LOST_PAUSES_MAX);
                    continue 'put;
                }
                // Our version is free: the commit has not landed, or not yet. The same text may safely be put again.
                Ok(Next::None) => {
                    unknown += 1;
                    give_up_after(timing.attempts, unknown, version, last_error)?;
                    timing.pause(unknown).await;
                    continue 'put;
                }
                Ok(Next::Unsure) => continue 'put,
                Err(error @ Error::BadLog { .. }) => return Err(error),
                Err(error) => {
                    unknown += 1;
                    last_error = give_up_after(timing.attempts, unknown, version, error)?;
                    timing.pause(unknown).await;
                }
            }
        }
    }
}

/// Our commit is at `version`. Is it where readers find it?
async fn landed(view: &mut View, version: u64, actions: &[Action], tried_at: super::Moment) -> Result<Outcome, Error> {
    assert_eq!(version, view.version() + 1, "a commit lands right after its view");
    if !view.is_stale() {
        view.apply(actions)?;
        view.certain_at(tried_at);
        return Ok(Outcome::Committed { version });
    }
    tracing::warn!(version, "the store took very long to answer a commit; opening the table anew");
    view.reload().await?;
    // Read one by one from its checkpoint on, the log has our commit at our version: readers see it as we do.
    // At or below the checkpoint it may be one that came after the clean-up. The marks will tell.
    let seen = version <= view.version() && view.checkpoint().is_none_or(|checkpoint| checkpoint < version);
    Ok(if seen { Outcome::Committed { version } } else { Outcome::Conflict })
}

fn give_up_after(attempts_max: u32, attempts: u32, version: u64, source: Error) -> Result<Error, Error> {
    if attempts < attempts_max {
        return Ok(source);
    }
    Err(Error::OutcomeUnknown { version, attempts, source: Box::new(source) })
}

impl Batch<'_> {
    fn check(self, view: &View) {
        assert!(!self.marks.is_empty(), "a batch moves at least one mark");
        let mut streams = HashSet::new();
        for (stream, mark) in self.marks {
            assert!(streams.insert(stream), "stream {stream} is in the batch twice");
            let before = view.mark(*stream);
            assert!(*mark > before, "stream {stream} is at {before} already, the batch ends at {mark}");
        }
        let mut paths = HashSet::new();
        for file in self.files {
            assert!(paths.insert(&file.path), "file {} is in the batch twice", file.path);
            let format = if file.stats.members.is_some() { FileFormat::Json } else { FileFormat::Parquet };
            assert_eq!(format, view.format(), "file {} is none of this table", file.path);
        }
    }

    fn actions(self, txn_id: &str, now_ms: i64) -> Vec<Action> {
        let mut actions = vec![Action::CommitInfo(CommitInfo::new(txn_id, "WRITE", now_ms))];
        actions.extend(self.marks.iter().map(|(stream, mark)| {
            Action::Txn(Txn {
                app_id: stream.to_string(),
                version: i64::try_from(*mark).expect("no stream has so many blocks"),
                last_updated: Some(now_ms),
            })
        }));
        actions.extend(self.files.iter().map(|file| {
            Action::Add(Add {
                path: paths::to_uri(&file.path),
                partition_values: BTreeMap::from([(PARTITION_COLUMN.to_owned(), Some(file.date.to_string()))]),
                size: i64::try_from(file.size).expect("no object is so large"),
                modification_time: now_ms,
                data_change: true,
                stats: Some(file.stats.to_json()),
            })
        }));
        actions
    }
}
