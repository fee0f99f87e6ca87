//! The answer to one statement: a stream of batches, and what it has cost so far.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::plan_err;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::limit::LimitStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::{EmptyRecordBatchStream, RecordBatchStreamAdapter};
use datafusion::prelude::{SessionContext, col};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::error::Error;
use crate::tables::{Table, total};
use crate::usage::{Meter, Usage};

/// Rows that are sorted in memory.
const SORTED_BYTES_MAX: usize = 1 << 30;

/// The rows of an answer, as they come. Dropping it stops the query.
pub struct Rows {
    stream: SendableRecordBatchStream,
    meter: Arc<Meter>,
    tables: Arc<[Table]>,
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, meter: Arc<Meter>, tables: Arc<[Table]>) -> Self {
        Self { stream, meter, tables }
    }

    /// The columns of the answer, known before its first row.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// What has been read so far; after the last batch, what the query has cost.
    pub fn usage(&self) -> Usage {
        self.watch().usage()
    }

    /// For looking at what is read while the rows are polled elsewhere.
    pub fn watch(&self) -> Watch {
        Watch { meter: self.meter.clone(), tables: self.tables.clone() }
    }

    /// The first `rows` of them; the query stops there.
    pub fn limited(self, rows: usize) -> Self {
        let stream =
            LimitStream::new(self.stream, 0, Some(rows), BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0));
        Self { stream: Box::pin(stream), ..self }
    }

    /// By `timestamp`, which they must have. All of them are in memory for that.
    ///
    /// # Errors
    /// When polled, if they take more than 1 GB.
    pub fn sorted_by_time(self) -> Self {
        let schema = self.stream.schema();
        let mut unsorted = self.stream;
        let sorted = stream::once(async move {
            let (mut batches, mut bytes) = (Vec::new(), 0);
            while let Some(batch) = unsorted.next().await.transpose()? {
                bytes += batch.get_array_memory_size();
                if bytes > SORTED_BYTES_MAX {
                    return plan_err!("the matches are too many to be sorted, more than 1 GB; ask for a shorter time");
                }
                batches.push(batch);
            }
            let context = SessionContext::new();
            if batches.is_empty() {
                return Ok(Box::pin(EmptyRecordBatchStream::new(unsorted.schema())) as SendableRecordBatchStream);
            }
            context.read_batches(batches)?.sort_by(vec![col("timestamp")])?.execute_stream().await
        });
        let stream = Box::pin(RecordBatchStreamAdapter::new(schema, sorted.try_flatten()));
        Self { stream, ..self }
    }
}

/// What a query has read so far, for whoever watches it run.
#[derive(Clone)]
pub struct Watch {
    meter: Arc<Meter>,
    tables: Arc<[Table]>,
}

impl Watch {
    /// What has been read so far.
    pub fn usage(&self) -> Usage {
        let (files, bytes) = total(&self.tables);
        self.meter.usage(files, bytes)
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context).map(|batch| batch.map(|batch| batch.map_err(Error::from)))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema()).field("usage", &self.usage()).finish_non_exhaustive()
    }
}
