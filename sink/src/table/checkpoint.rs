//! Checkpoints, and the clean-up of the log behind them.
//!
//! Both are a service to readers and to the next start; a commit depends on neither. A failing checkpoint is an error
//! to log, and nothing more. Data files are never deleted here.

use std::time::Duration;

use delta_kernel::snapshot::CheckpointWriteResult;
use logboom_config::planted;
use object_store::ObjectMeta;

use super::log::Log;
use super::{TableOptions, kernel};
use crate::paths::Name;
use crate::{Error, Store};

/// Whether a checkpoint is to be written after this commit.
pub fn checkpoint_due(version: u64, interval: u64) -> bool {
    version > 0 && interval > 0 && version.is_multiple_of(interval)
}

/// Writes a checkpoint of the newest version. Returns that version; one that is there already is as good.
pub async fn write_checkpoint(store: &Store) -> Result<u64, Error> {
    kernel::with_snapshot(store, "the checkpoint", None, |snapshot, engine| {
        let version = snapshot.version();
        let (result, _) = snapshot.checkpoint(engine, None)?;
        if let CheckpointWriteResult::AlreadyExists = result {
            tracing::debug!(version, "the checkpoint was there already");
        }
        Ok(version)
    })
    .await
}

/// What a clean-up has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanUp {
    /// Every version from this one on can still be read. `None`: nothing is old enough to go.
    pub kept_from: Option<u64>,
    /// So many objects of the log were deleted.
    pub deleted: usize,
}

/// Deletes commits and checkpoints that are older than the log's retention and that no version that is kept needs.
///
/// Ages are differences between times that the store itself gave: nothing is older than the newest object of the log
/// says. A clock that runs ahead would otherwise take away commits that others are about to read, and what they then put
/// in their place nobody would.
pub async fn clean_up(store: &Store, options: &TableOptions) -> Result<CleanUp, Error> {
    let log = Log { store: store.clone(), timing: options.timing.clone() };
    let objects = log.list(None).await?;
    let newest_ms = objects.iter().map(|(_, meta)| meta.last_modified.timestamp_millis()).max().unwrap_or(i64::MIN);
    let ours_ms = options.clock.now().wall.as_millisecond();
    let now_ms = if planted::bug("clean_up_by_own_clock") { ours_ms } else { ours_ms.min(newest_ms) };
    let Some(kept_from) = kept_from(&objects, now_ms, options.log_retention) else {
        return Ok(CleanUp::default());
    };
    let doomed: Vec<Name> =
        objects.iter().map(|(name, _)| *name).filter(|name| version_of(*name).is_some_and(|v| v < kept_from)).collect();
    let deleted = doomed.len();
    if deleted > 0 {
        log.delete(doomed).await?;
    }
    Ok(CleanUp { kept_from: Some(kept_from), deleted })
}

/// The checkpoint below which everything can go: the newest that is not above the oldest version to be kept.
fn kept_from(objects: &[(Name, ObjectMeta)], now_ms: i64, retention: Duration) -> Option<u64> {
    let checkpoints = || {
        objects.iter().filter_map(|(name, _)| match name {
            Name::Checkpoint(version) => Some(*version),
            _ => None,
        })
    };
    let newest = checkpoints().max()?;
    let cutoff_ms = now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let oldest_kept = objects
        .iter()
        .filter_map(|(name, meta)| match name {
            Name::Commit(version) if meta.last_modified.timestamp_millis() >= cutoff_ms => Some(*version),
            _ => None,
        })
        .min()
        .unwrap_or(newest)
        .min(newest);
    checkpoints().filter(|version| *version <= oldest_kept).max()
}

fn version_of(name: Name) -> Option<u64> {
    match name {
        Name::Commit(version)
        | Name::Checkpoint(version)
        | Name::CheckpointPart { version, .. }
        | Name::Checksum(version) => Some(version),
        Name::LastCheckpoint
        | Name::Data { .. }
        | Name::Json { .. }
        | Name::Lease(_)
        | Name::Probe { .. }
        | Name::Rejected { .. } => None,
    }
}
