//! Loss records: what this adaptor gave up, told in records like any others ([`logboom_wire::loss`]).
//!
//! Two kinds, which differ in what may be lost of them:
//! - records that had a number (dropped segments, damage): the spool keeps them until the table has the loss record
//!   (`spool/losses.rs`), and here the block that has it also carries the position that settles it;
//! - records that never had one (rules, limits, refusals): counts in memory, told of every minute and at the end. What a
//!   crash takes of them is lost.
//!
//! Loss records pass no rules, so no rule drops them. They wait for room in the spool like lines of files do, whatever
//! the policy. One that is dropped with its segment is a number that is missing like any other, and what it told of is
//! told of again; so there is at most one for each dropped segment, and never one for its own sake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use logboom_wire::{Position, Record, RunKey, loss};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::intake::{Chunk, Intake, Receipt, Refused};
use crate::route::Routes;
use crate::source::observed_now;
use crate::sources::Sources;
use crate::spool::{Loss, Spool};

/// Losses of a moment share records: a loss is told of so long after it happened.
const GATHER: Duration = Duration::from_secs(1);
/// How often what had no number is told of.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end may take.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Losses that are told of at once: positions of a block are bounded.
const LOSSES_AT_ONCE: usize = 256;

/// Tells of losses.
pub struct Losses {
    intake: Intake,
    spool: Arc<Spool>,
    sources: Arc<Sources>,
    routes: Arc<Routes>,
    key: Arc<RunKey>,
    /// What was told of so far, by reason.
    told: BTreeMap<String, u64>,
}

impl Losses {
    /// Tells `intake` of what `spool`, `sources` and `routes` gave up, in records with these labels.
    pub fn new(
        intake: Intake,
        spool: Arc<Spool>,
        sources: Arc<Sources>,
        routes: Arc<Routes>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let (category, source) = (loss::CATEGORY.to_owned(), loss::SOURCE.to_owned());
        let key = Arc::new(RunKey { category, source, attributes: labels.into_iter().collect() });
        Self { intake, spool, sources, routes, key, told: BTreeMap::new() }
    }

    /// Tells until it is stopped, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let telling = stop.run_until_cancelled(self.tell_forever()).await;
        if telling.is_none() && timeout(END_TIMEOUT, self.tell_all()).await.is_err() {
            warn!("no room for the last loss records; what the spool remembers of them is told of at the next start");
        }
    }

    /// Ends when the intake is closed.
    async fn tell_forever(&mut self) {
        let mut counted = Instant::now();
        loop {
            if self.tell_owed().await.is_err() {
                return;
            }
            if counted.elapsed() >= COUNT_INTERVAL {
                counted = Instant::now();
                if self.tell_counts().await.is_err() {
                    return;
                }
            }
            let _ = timeout(COUNT_INTERVAL.saturating_sub(counted.elapsed()), self.spool.more_losses()).await;
            sleep(GATHER).await;
        }
    }

    async fn tell_all(&mut self) {
        let _ = self.tell_counts().await;
        let _ = self.tell_owed().await;
    }

    /// Tells of what the spool owes, and waits until that is durable: from then on it is not owed.
    async fn tell_owed(&self) -> Result<(), Refused> {
        loop {
            let mut owed = self.spool.owed_losses();
            if owed.is_empty() {
                return Ok(());
            }
            owed.truncate(LOSSES_AT_ONCE);
            self.append(self.chunk_of(&owed)).await?.durable().await?;
        }
    }

    fn chunk_of(&self, owed: &[Loss]) -> Chunk {
        let mut chunk = Chunk::default();
        for owed in owed {
            let (reason, records) = (owed.reason.name(), owed.last - owed.first + 1);
            let (stream, first, last) = (owed.stream.to_string(), owed.first.to_string(), owed.last.to_string());
            let body = format!("{records} records may be missing from stream {stream}, {first} to {last}: {reason}");
            let numbers = [(loss::STREAM, &*stream), (loss::FIRST_SEQ, &first), (loss::LAST_SEQ, &last)];
            self.push(&body, reason, records, &numbers, &mut chunk);
            chunk.set_position(Position { key: owed.key(), value: String::new() });
        }
        chunk
    }

    /// Tells how many records were given up, since the last time, that never had a number.
    async fn tell_counts(&mut self) -> Result<(), Refused> {
        let counts = self.counts();
        let mut chunk = Chunk::default();
        for (reason, count) in &counts {
            let records = count.saturating_sub(self.told.get(reason).copied().unwrap_or(0));
            if records > 0 {
                let body = format!("{records} records were given up before they had a number: {reason}");
                self.push(&body, reason, records, &[], &mut chunk);
            }
        }
        if !chunk.is_empty() {
            let _receipt = self.append(chunk).await?;
        }
        self.told = counts;
        Ok(())
    }

    /// Records that never had a number, by reason.
    fn counts(&self) -> BTreeMap<String, u64> {
        let totals = self.sources.totals();
        let rules =
            self.routes.dropped().map(|(rule, reason, records)| (format!("rule:{rule}/{}", reason.name()), records));
        let others =
            [("refused_full", totals.records_refused_full.get()), ("too_long", totals.lines_dropped_too_long.get())];
        rules.chain(others.map(|(reason, records)| (reason.to_owned(), records))).collect()
    }

    fn push(&self, body: &str, reason: &str, records: u64, more: &[(&str, &str)], chunk: &mut Chunk) {
        let records = records.to_string();
        let mut attributes = vec![(loss::REASON, reason), (loss::RECORDS, records.as_str())];
        attributes.extend(more);
        chunk.rows(&self.key).push(&Record {
            observed: observed_now(),
            severity_number: 13,
            severity_text: "WARN",
            body: body.as_bytes(),
            attributes: &attributes,
            ..Record::default()
        });
    }

    async fn append(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        let records = chunk.records() as u64;
        let receipt = self.intake.append_or_wait(chunk).await?;
        self.sources.own().loss_records.add(records);
        Ok(receipt)
    }
}
