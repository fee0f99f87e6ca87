//! Compaction: a day's files become few large ones, sorted over the whole day, so that a category is one range.
//!
//! Steps, and what a crash leaves: snapshot, read and write (files that nothing refers to), read back, commit (all or
//! nothing). Another pass begins anew from what the table says. Two who compact the same files: one of them is told that
//! it lost, by [`crate::table::commit()`].

use arrow_schema::FieldRef;
use jiff::civil::Date;

use super::plan::{Job, plan};
use super::rewrite::{Order, Rewritten, rewrite};
use super::sizes::Sizes;
use super::{Control, Settings, open};
use crate::table::{Operation, Outcome, Rewrite, Snapshot, View, checkpoint_due, commit, write_checkpoint};
use crate::thread::on_own_thread;
use crate::{Error, Store};

/// A pass gives up on what is left after so many lost races: somebody else is at it.
const CONFLICTS_MAX: u32 = 3;

/// Which days are to be compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Days {
    /// Those that need it.
    #[default]
    Due,
    /// This one, whether it is over or not.
    One(Date),
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Commits.
    pub commits: u64,
    /// Files that it took the place of; of a table in JSON, indexes.
    pub files_before: u64,
    /// Files that took their place.
    pub files_after: u64,
    /// What its records took before, in bytes.
    pub bytes_before: u64,
    /// What they take after, in bytes.
    pub bytes_after: u64,
    /// Rows, the same before and after.
    pub rows: u64,
    /// Races that others won; their files are left to vacuum.
    pub conflicts: u32,
}

/// What would be compacted now.
///
/// # Errors
/// If the table cannot be read.
pub async fn compaction_due(store: &Store, settings: &Settings, days: Days) -> Result<Vec<Job>, Error> {
    let snapshot = Snapshot::load(store).await?;
    Ok(jobs(store, &snapshot, settings, days).await)
}

async fn jobs(store: &Store, snapshot: &Snapshot, settings: &Settings, days: Days) -> Vec<Job> {
    let only = match days {
        Days::Due => None,
        Days::One(date) => Some(date),
    };
    let sizes = Sizes::of(store, snapshot).await;
    plan(&snapshot.files, &sizes, settings.table.clock.now().wall, settings.compact_file_size, only)
}

/// Compacts until nothing is due.
///
/// A day with a damaged file is left as it is, and does not hold up the others.
///
/// # Errors
/// If the table cannot be read or written; at the end, if a file was damaged. What was committed before stays.
pub async fn compact(store: &Store, settings: &Settings, days: Days, control: &Control) -> Result<Compacted, Error> {
    let mut done = Compacted::default();
    let mut damaged: Vec<(Date, Error)> = Vec::new();
    loop {
        let (view, settings) = open(store, settings).await?;
        let snapshot = Snapshot::load_at(store, view.version()).await?;
        let mut jobs = jobs(store, &snapshot, &settings, days).await;
        jobs.retain(|job| damaged.iter().all(|(date, _)| *date != job.date));
        let is_last = jobs.iter().all(|job| job.of_day);
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            control.check()?;
            // From the very version that the inputs were live at: the commit looks at each that came since.
            match run(store, &settings, view.clone(), &snapshot.columns, &job, control).await {
                Ok((Outcome::Committed { .. }, Rewritten { files, bytes })) => {
                    done.commits += 1;
                    done.files_before += job.inputs.len() as u64;
                    done.files_after += files.len() as u64;
                    done.bytes_before += job.bytes;
                    done.bytes_after += bytes;
                    done.rows += files.iter().map(|file| file.stats.records).sum::<u64>();
                }
                Ok((Outcome::Conflict, _)) => {
                    done.conflicts += 1;
                    if done.conflicts >= CONFLICTS_MAX {
                        return Ok(done);
                    }
                }
                Err(error @ (Error::BadFile { .. } | Error::BadIndex { .. } | Error::BadMember { .. })) => {
                    tracing::error!(date = %job.date, %error, "a day cannot be compacted");
                    damaged.push((job.date, error));
                }
                Err(error) => return Err(error),
            }
        }
        if is_last && days != Days::Due {
            break;
        }
    }
    damaged.into_iter().next().map_or(Ok(done), |(_, error)| Err(error))
}

async fn run(
    store: &Store,
    settings: &Settings,
    mut view: View,
    columns: &[FieldRef],
    job: &Job,
    control: &Control,
) -> Result<(Outcome, Rewritten), Error> {
    let begun = view.begin_files();
    let (inputs, date, pieces) = (job.inputs.clone(), job.date, job.pieces);
    let (on, with, columns, by) = (store.clone(), settings.clone(), columns.to_vec(), control.clone());
    let rewritten = on_own_thread(async move {
        let order = Order { inputs: &inputs, date, columns: &columns, keep: None, pieces };
        rewrite(&on, &with, &order, &by).await
    });
    let rewritten = rewritten.await?;
    let change = Rewrite {
        operation: Operation::Compact,
        remove: &job.inputs,
        add: &rewritten.files,
        compacted: job.of_day,
        begun,
    };
    let outcome = commit(&mut view, change).await?;
    committed(store, settings, &view, outcome).await;
    Ok((outcome, rewritten))
}

/// A checkpoint where one is due: whoever commits that version writes it.
pub(super) async fn committed(store: &Store, settings: &Settings, view: &View, outcome: Outcome) {
    let Outcome::Committed { version } = outcome else { return };
    if checkpoint_due(version, settings.table.checkpoint_interval)
        && view.may_write_checkpoint()
        && let Err(error) = write_checkpoint(store).await
    {
        tracing::warn!(%error, "cannot write a checkpoint; the next one will cover it");
    }
}
