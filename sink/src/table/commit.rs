//! The commit: the one step that makes sink files visible, moves the marks, and puts files in the place of others.
//!
//! The ordering rules, and what breaks otherwise:
//! 1. Sink files are put, durably, before the commit that names them, or a reader finds nothing behind a name.
//! 2. The batch was filtered by the very view it is committed against. A view refreshed in between hides that
//!    another collector has committed one of its blocks, and the block is there twice.
//! 3. Version `view + 1` is put only if it is absent. After any answer but success, the log is read before anything
//!    else is done: an error may hide a commit that landed, and "exists already" one that did not.
//! 4. A view that is too old is opened anew before a commit, and a commit that landed too late is believed only if a
//!    view opened anew reads that very commit: the log may have been cleaned up past our version, and what is put
//!    there is seen by nobody. When it landed is for the store to say: the clocks of a machine that is resumed may
//!    not know yet that it slept.
//! 5. Files that were written too long ago are not committed: vacuum may have taken them for garbage. They are judged
//!    right before each put. Who sleeps between the two loses the version, because vacuum takes one itself before it
//!    deletes anything. Who meets that version, or whose view has come past where it was when the files were begun and
//!    so may have passed it, judges them again, by the store's clock.
//! 6. What a rewrite removes is known to be part of the table at the very version of the view, and a winner that
//!    touches any of it is a conflict; or two who rewrite the same files both land, and every row is there twice.
//! 7. Only then is anything acknowledged. And whatever happens here, no data file is deleted: the outcome that looks
//!    like a failure may not be one.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use logboom_config::planted;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::actions::{self, Action};
use super::change::{Change, Operation, Seen};
use super::log::{Found, Log};
use super::view::{Next, View};
use crate::Error;
use crate::paths::{Name, new_id};

/// Pauses of whoever loses races double no more often than this: up to 200 ms, if the first is up to 50. With longer
/// ones those who lose starve beside those who win.
const LOST_PAUSES_MAX: u32 = 2;
/// Files of blocks are committed within this, however long the grace: writing them anew costs little, and so collectors
/// that were told of different graces do no harm.
const BLOCKS_AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// So many files are looked at at a time.
const LOOKS: usize = 16;
/// A rewrite whose view gets too old again while it is checked gives way after this many times.
const REWRITE_RELOADS_MAX: u32 = 3;

/// What came of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "blocks may be acknowledged only if they are committed"]
pub enum Outcome {
    /// The change is part of the table.
    Committed {
        /// With this version.
        version: u64,
    },
    /// The change is not, or only some of it by another's hand. The view has moved on.
    ///
    /// Of a batch: filter the blocks by the view again. Those it covers are committed; write the rest into new files
    /// and commit them. Of a rewrite: begin again with a new snapshot. Leave the old files alone.
    Conflict,
}

/// Commits a batch that was filtered by this view, or a rewrite, and takes the view along.
///
/// After an error the outcome is unknown or nothing was tried; the view is still good for [`View::refresh`], after
/// which filter and commit again. After [`Error::FilesTooOld`] the files have to be written anew.
///
/// # Panics
/// If a batch moves no mark, moves one twice, or moves one that is not higher than the view's: then it was not
/// filtered by this view, and committing it could lose or double records. If a file is in the change twice.
pub async fn commit<'a>(view: &mut View, change: impl Into<Change<'a>>) -> Result<Outcome, Error> {
    let change: Change<'a> = change.into();
    change.check(view);
    let txn_id = new_id().to_string();
    let actions = change.actions(&txn_id, view.clock().now().wall.as_millisecond(), view.next_stamp());
    let body = Bytes::from(actions::write(&actions));
    let timing = view.log().timing.clone();
    let filtered_by: Vec<u64> = match &change {
        Change::Blocks(batch) => batch.marks.iter().map(|(stream, _)| view.mark(*stream)).collect(),
        Change::Rewrite(_) => Vec::new(),
    };
    if let Change::Rewrite(rewrite) = &change {
        if view.version() < rewrite.begun.version {
            view.refresh().await?;
        }
        if view.version() != rewrite.begun.version && !change.still_fits(view, &[]).await? {
            return Ok(Outcome::Conflict);
        }
    }
    // Unknown answers in a row, lost races in a row, and views that were too old.
    let (mut unknown, mut lost, mut reloads) = (0, 0, 0);
    // A vacuum may have taken a version since the files were begun.
    let mut vacuumed = view.version() != change.begun().version;
    'put: loop {
        while view.is_stale() {
            reloads += 1;
            if reloads > REWRITE_RELOADS_MAX && matches!(change, Change::Rewrite(_)) {
                return Ok(Outcome::Conflict);
            }
            view.reload().await?;
            if !change.still_fits(view, &filtered_by).await? {
                return Ok(Outcome::Conflict);
            }
            vacuumed = true;
        }
        if vacuumed {
            check_age_on_store(view, &change).await?;
            vacuumed = false;
        }
        let version = view.version() + 1;
        let tried_at = view.clock().now();
        check_age(view, &change, tried_at)?;
        let mut last_error = match view.log().put(version, body.clone()).await {
            Ok(()) => {
                // Nobody knows when: too late to be believed.
                let landed_ms =
                    view.log().put_at(&Name::Commit(version).path()).await.ok().flatten().unwrap_or(i64::MAX);
                return landed(view, version, Found { actions, landed_ms }, tried_at).await;
            }
            Err(Error::Store { source: object_store::Error::AlreadyExists { .. }, .. })
                if planted::bug("trust_already_exists") =>
            {
                let landed_ms = view.landed_ms();
                return landed(view, version, Found { actions, landed_ms }, tried_at).await;
            }
            Err(error) => error,
        };
        tracing::debug!(version, error = %last_error, "a commit was not answered with success; reading the log");
        if planted::bug("delete_files_after_error") {
            for file in change.files() {
                let _ = view.log().store.objects().delete(&file.path.as_str().into()).await;
            }
        }
        // Look: what is at our version, and at those after it?
        let mut paused = false;
        loop {
            match view.next().await {
                Ok(Next::Commit(found)) => match change.compare(&found.actions, &txn_id) {
                    Seen::Ours => return landed(view, view.version() + 1, found, tried_at).await,
                    Seen::Conflict if planted::bug("ignore_lost_race") => view.apply(&found)?,
                    Seen::Conflict => {
                        view.apply(&found)?;
                        return Ok(Outcome::Conflict);
                    }
                    Seen::Other => {
                        vacuumed |= is_fence(&found.actions);
                        view.apply(&found)?;
                    }
                },
                // Others took our version, and the one after them is free. Once says only that the view was behind.
                // Again says that there is a race: spread out, and look again, because whoever puts right after a
                // pause puts where others have been meanwhile.
                Ok(Next::None) if view.version() >= version && lost > 0 && !paused => {
                    timing.pause((lost - 1).min(LOST_PAUSES_MAX)).await;
                    paused = true;
                }
                Ok(Next::None) if view.version() >= version => {
                    unknown = 0;
                    lost += 1;
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
async fn landed(view: &mut View, version: u64, found: Found, tried_at: super::Moment) -> Result<Outcome, Error> {
    assert_eq!(version, view.version() + 1, "a commit lands right after its view");
    if !view.is_stale() && view.follows(found.landed_ms) || planted::bug("believe_late_answer") {
        view.apply(&found)?;
        view.certain_at(tried_at);
        return Ok(Outcome::Committed { version });
    }
    tracing::debug!(version, "a commit came long after the one before it; opening the table anew");
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

/// Files that are too old are no longer committed; see rule 5.
fn check_age(view: &View, change: &Change<'_>, now: super::Moment) -> Result<(), Error> {
    if change.files().is_empty() {
        return Ok(());
    }
    judge_age(now.since(change.begun().at), age_max(view, change))
}

/// The same by the store's clock, and whether they are still there.
async fn check_age_on_store(view: &View, change: &Change<'_>) -> Result<(), Error> {
    let max = age_max(view, change);
    let looks: Vec<_> = change.files().iter().map(|file| put_at(view.log().clone(), &file.path)).collect();
    let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS);
    while let Some(put_ms) = looks.try_next().await? {
        let Some(put_ms) = put_ms else { return Err(Error::FilesTooOld { age: max, max }) };
        let age = view.landed_ms().saturating_sub(put_ms).max(0).unsigned_abs();
        judge_age(Duration::from_millis(age), max)?;
    }
    Ok(())
}

fn put_at(log: Log, path: &str) -> impl Future<Output = Result<Option<i64>, Error>> + use<> {
    let path = Path::from(path);
    async move { log.put_at(&path).await }
}

fn judge_age(age: Duration, max: Duration) -> Result<(), Error> {
    if age > max && !planted::bug("commit_old_files") {
        return Err(Error::FilesTooOld { age, max });
    }
    Ok(())
}

fn age_max(view: &View, change: &Change<'_>) -> Duration {
    match change {
        Change::Blocks(_) => view.file_age_max().min(BLOCKS_AGE_MAX),
        Change::Rewrite(_) => view.file_age_max(),
    }
}

/// Whether a vacuum has taken this version for itself.
fn is_fence(found: &[Action]) -> bool {
    let fence = Operation::Fence.name();
    found.iter().any(|action| matches!(action, Action::CommitInfo(info) if info.operation() == Some(fence)))
}
