//! The files that were taken out of the table not long ago.
//!
//! Checkpoints remember them for as long as the table's property `delta.deletedFileRetentionDuration` says, commits for
//! as long as they are there. Queries and time travel may still need them; vacuum asks here.

use std::collections::HashMap;

use super::actions::Action;
use super::log::Log;
use super::view::Listed;
use super::{TableOptions, checkpoint_file};
use crate::paths::{self, Name};
use crate::{Error, Store};

/// What a tombstone is made of.
const COLUMNS: [&str; 3] = ["remove.path", "remove.deletionTimestamp", "remove.dataChange"];

/// Paths (relative to the table's root, not encoded) of removed files, with when they were removed, in milliseconds
/// of their remover's clock; `i64::MAX` if that is not said.
///
/// # Errors
/// If the log cannot be read, or was cleaned up while it was read.
pub async fn tombstones(store: &Store, options: &TableOptions) -> Result<HashMap<String, i64>, Error> {
    let log = Log { store: store.clone(), timing: options.timing.clone() };
    let listed = Listed::new(log.list(None).await?);
    let mut tombstones = HashMap::new();
    let mut note = |actions: Vec<Action>| {
        for action in actions {
            if let Action::Remove(remove) = action
                && let Some(path) = paths::from_uri(&remove.path)
            {
                tombstones.insert(path, remove.deletion_timestamp.unwrap_or(i64::MAX));
            }
        }
    };
    let checkpoint = listed.checkpoint.as_ref().map(|(version, _)| *version);
    for (name, meta) in listed.checkpoint.iter().flat_map(|(_, parts)| parts) {
        note(checkpoint_file::read(&log, *name, meta.size, &COLUMNS).await?);
    }
    for version in listed.commits.into_iter().filter(|version| checkpoint.is_none_or(|at| *version > at)) {
        let gone = || Error::bad_log(Name::Commit(version), "it was there and is gone; the log is being cleaned up");
        note(log.read(version).await?.ok_or_else(gone)?.actions);
    }
    Ok(tombstones)
}
