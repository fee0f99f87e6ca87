//! The answer to one statement: a stream of batches, and what it has cost so far.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::{Stream, StreamExt};

use crate::error::Error;
use crate::session::Contents;
use crate::usage::{Meter, Usage};

/// The rows of an answer, as they come. Dropping it stops the query.
pub struct Rows {
    stream: SendableRecordBatchStream,
    meter: Arc<Meter>,
    contents: Contents,
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, meter: Arc<Meter>, contents: Contents) -> Self {
        Self { stream, meter, contents }
    }

    /// The columns of the answer, known before its first row.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// What has been read so far; after the last batch, what the query has cost.
    pub fn usage(&self) -> Usage {
        let (files, bytes) = self.contents.total();
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
