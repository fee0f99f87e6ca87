//! A source's way into the adaptor: hands records over and counts what becomes of them.

use std::sync::Arc;

use logboom_config::Source;
use tracing::warn;

use super::net::Seldom;
use super::{Context, Funnel};
use crate::counters::Counters;
use crate::intake::{Chunk, Receipt, Refused};

/// A batch begins another chunk after this many bytes, so that a block is not much larger than it should be…
const CHUNK_BYTES: usize = 1 << 20;
/// …and after this many runs and bytes of their keys, because the header of a block is bounded.
const CHUNK_KEYS: usize = 1000;
const CHUNK_KEY_BYTES: usize = 256 << 10;

/// What the connections of a source share.
pub(crate) struct Inlet {
    source: Arc<Source>,
    context: Context,
    funnel: Funnel,
    full: Seldom,
}

/// The records of one message of a protocol, which are taken or refused together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ended: Vec<Chunk>,
    open: Chunk,
    open_bytes: usize,
}

impl Batch {
    /// Where the next record goes, which has about `bytes` bytes. Ask for each record.
    pub(crate) fn chunk(&mut self, bytes: usize) -> &mut Chunk {
        let crowded = self.open.keys() >= CHUNK_KEYS || self.open.key_bytes() >= CHUNK_KEY_BYTES;
        if self.open_bytes > 0 && (crowded || self.open_bytes + bytes > CHUNK_BYTES) {
            self.ended.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += bytes + 1;
        &mut self.open
    }

    /// Bytes that the records take in memory.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.ended.iter().chain([&self.open]).map(Chunk::raw_bytes).sum()
    }

    /// Whether it has grown past one chunk: what can be handed over in parts had better be now.
    pub(crate) fn is_full(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Count of records.
    pub(crate) fn records(&self) -> usize {
        self.ended.iter().chain([&self.open]).map(Chunk::records).sum()
    }
}

impl Inlet {
    pub(crate) fn new(source: Source, context: Context) -> Arc<Self> {
        let funnel = Funnel::new(&source, &context, None);
        Arc::new(Self { source: Arc::new(source), context, funnel, full: Seldom::default() })
    }

    /// Name of the source.
    pub(crate) fn name(&self) -> &str {
        &self.source.name
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.context.counters
    }

    /// A funnel for one connection.
    pub(crate) fn funnel(&self) -> Funnel {
        self.funnel.clone()
    }

    /// Hands `chunk` over.
    ///
    /// # Errors
    /// As [`crate::intake::Intake::append`].
    pub(crate) async fn append(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        let (records, bytes) = (chunk.records() as u64, chunk.body_bytes() as u64);
        let taken = self.context.intake.append(chunk).await;
        match taken {
            Ok(_) => self.context.count_taken(records, bytes),
            Err(Refused::Full) => self.count_refused(records),
            Err(Refused::Closed) => {}
        }
        taken
    }

    /// Hands over a whole batch and waits until it is on disk: then its producer may be told so.
    ///
    /// # Errors
    /// [`Refused::Full`]: the producer is to be told to come again later; nothing was taken, or, of a batch of several
    /// MiB, in rare cases a part. [`Refused::Closed`]: the outcome is unknown, so the producer must be told neither yes
    /// nor no, but to come again.
    pub(crate) async fn store(&self, batch: Batch) -> Result<(), Refused> {
        match self.append_all(batch).await? {
            Some(receipt) => receipt.durable().await,
            None => Ok(()),
        }
    }

    /// Hands over a whole batch. The receipt, which covers all of it, is there unless the batch is empty.
    ///
    /// # Errors
    /// As [`Inlet::store`].
    pub(crate) async fn append_all(&self, batch: Batch) -> Result<Option<Receipt>, Refused> {
        self.append_chunks(batch, None).await
    }

    /// Hands over more of what `receipt` was given for; the new receipt covers both.
    ///
    /// # Errors
    /// As [`Inlet::store`]; with [`Refused::Full`] what was handed over before is taken all the same.
    pub(crate) async fn append_more(&self, batch: Batch, receipt: Receipt) -> Result<Option<Receipt>, Refused> {
        self.append_chunks(batch, Some(receipt)).await
    }

    async fn append_chunks(&self, batch: Batch, mut receipt: Option<Receipt>) -> Result<Option<Receipt>, Refused> {
        let chunks = batch.ended.into_iter().chain([batch.open]).filter(|chunk| !chunk.is_empty());
        for chunk in chunks {
            let (records, bytes) = (chunk.records() as u64, chunk.body_bytes() as u64);
            match self.context.intake.append_asked(chunk).await {
                Ok(taken) => {
                    self.context.count_taken(records, bytes);
                    match &mut receipt {
                        Some(receipt) => receipt.join(taken),
                        None => receipt = Some(taken),
                    }
                }
                Err(refused) => {
                    if refused == Refused::Full {
                        self.count_refused(records);
                    }
                    return Err(refused);
                }
            }
        }
        Ok(receipt)
    }

    /// Counts records that are refused because the spool is full, and says so now and then.
    pub(crate) fn count_refused(&self, records: u64) {
        self.counters().records_refused_full.add(records);
        if self.full.now() {
            warn!(
                source = self.name(),
                "the spool is full: records are refused until a collector has taken some of it"
            );
        }
    }
}
