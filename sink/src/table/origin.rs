//! Which commit brought a file, and of which streams: what the log still knows of a file that cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use logboom_wire::StreamId;

use super::Timing;
use super::actions::Action;
use super::log::Log;
use crate::paths::{self, Name};
use crate::{Error, Store};

/// So many commits are fetched at a time.
const FETCHES: usize = 16;

/// For each of `files` the streams of the commit that added it, newest commits first, up to `version`. A file of which the
/// log has forgotten the commit is not in the answer; one that maintenance wrote has no streams.
pub(crate) async fn streams_of(
    store: &Store,
    version: u64,
    files: BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<StreamId>>, Error> {
    let log = Log { store: store.clone(), timing: Timing::default() };
    let mut versions: Vec<u64> = log.list(None).await?.into_iter().filter_map(|(name, _)| commit_of(name)).collect();
    versions.retain(|other| *other <= version);
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let reads = versions.into_iter().map(|version| log.read(version));
    let mut commits = futures::stream::iter(reads).buffered(FETCHES);
    let (mut left, mut found) = (files, BTreeMap::new());
    while !left.is_empty()
        && let Some(commit) = commits.try_next().await?
    {
        let commit = commit.map(|found| found.actions).unwrap_or_default();
        let streams = commit.iter().filter_map(|action| match action {
            Action::Txn(txn) => txn.app_id.parse().ok(),
            _ => None,
        });
        let streams: Vec<StreamId> = streams.collect();
        for action in &commit {
            if let Action::Add(add) = action
                && let Some(path) = paths::from_uri(&add.path)
                && left.remove(&path)
            {
                found.insert(path, streams.clone());
            }
        }
    }
    Ok(found)
}

fn commit_of(name: Name) -> Option<u64> {
    match name {
        Name::Commit(version) => Some(version),
        _ => None,
    }
}
