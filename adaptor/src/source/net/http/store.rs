//! The records of a request: taken together, and answered when they are on disk.

use std::sync::Arc;
use std::time::Duration;

use logboom_config::OnLongLine;
use logboom_wire::Record;
use tokio::time::timeout;

use super::{Ask, KEY_BYTES_MAX, KEYS_MAX, RECORDS_MAX, Refusal};
use crate::counters::Counters;
use crate::intake::Refused;
use crate::source::{Batch, Funnel, Inlet, observed_now};

/// How long records may take to become durable. Most clients give up after ten seconds; they are told before that.
const STORE_TIMEOUT: Duration = Duration::from_secs(8);

/// Takes the records of one request.
pub(in crate::source) struct Taker {
    funnel: Funnel,
    batch: Batch,
    /// When the request came, ns since 1970.
    pub(in crate::source) observed: i64,
    given: usize,
    /// Those of them that were dropped.
    rejected: usize,
    /// A longer body is dropped.
    body_max: Option<usize>,
    /// Categories with their attributes, each time that one is new to a chunk, and their bytes.
    keys: usize,
    key_bytes: usize,
    counters: Arc<Counters>,
}

impl Taker {
    pub(in crate::source) fn new(inlet: &Inlet) -> Self {
        let source = inlet.source();
        Self {
            funnel: inlet.funnel(),
            batch: Batch::default(),
            observed: observed_now(),
            given: 0,
            rejected: 0,
            body_max: (source.on_long_line == OnLongLine::Drop).then_some(source.max_line),
            keys: 0,
            key_bytes: 0,
            counters: inlet.context().counters.clone(),
        }
    }

    /// Gives the records that follow these attributes in common.
    pub(in crate::source) fn set_common<'a>(&mut self, common: impl Iterator<Item = (&'a str, &'a str)>) {
        self.funnel.set_common(common);
    }

    /// Takes a record, which had `bytes` bytes in the request. Whether it is kept: not one that is too long, where the
    /// source says so.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub(in crate::source) fn take(
        &mut self,
        category: Option<&str>,
        record: &Record<'_>,
        bytes: usize,
    ) -> Result<bool, Refusal> {
        if self.given == RECORDS_MAX || self.keys > KEYS_MAX || self.key_bytes > KEY_BYTES_MAX {
            return Err(Refusal::TooMany);
        }
        self.given += 1;
        let chunk = self.batch.chunk(bytes.max(record.body.len()));
        let (keys, key_bytes) = (chunk.keys(), chunk.key_bytes());
        self.funnel.record(category, record, chunk);
        self.keys += chunk.keys() - keys;
        self.key_bytes += chunk.key_bytes() - key_bytes;
        let kept = self.body_max.is_none_or(|max| record.body.len() <= max);
        self.rejected += usize::from(!kept);
        Ok(kept)
    }

    /// Counts attributes that were left out before they came here.
    pub(in crate::source) fn count_left_out(&self, attributes: u64) {
        self.counters.attributes_dropped.add(attributes);
    }

    /// Records that will be stored, of those that were given.
    pub(in crate::source) fn records(&self) -> usize {
        self.given - self.rejected
    }

    /// Records that were given and will not be stored, because they are too long.
    pub(in crate::source) fn rejected(&self) -> usize {
        self.rejected
    }

    /// What would be stored.
    #[cfg(test)]
    pub(in crate::source) fn into_batch(self) -> Batch {
        self.batch
    }

    /// Returns when all are on disk: then they may be acknowledged. `ask` is whose they are.
    ///
    /// # Errors
    /// [`Refusal::Full`] and [`Refusal::Busy`]: nothing was taken. [`Refusal::Later`]: that is not known.
    pub(in crate::source) async fn store(self, inlet: &Inlet, ask: &mut Ask) -> Result<(), Refusal> {
        ask.take_room(self.batch.raw_bytes() + self.key_bytes).await?;
        match timeout(STORE_TIMEOUT, inlet.store(self.batch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refused::Full)) => Err(Refusal::Full),
            Ok(Err(Refused::Closed)) | Err(_) => Err(Refusal::Later),
        }
    }
}
