//! Search for a pattern in bodies, past SQL.
//!
//! ```text
//!  log's statistics ─► files ─► footers ─► row groups, pages ─► conditions ─► bodies ─► columns of the matches
//! ```
//! Each step reads only what the one before it has left over; row groups are searched on all cores and their matches
//! come in the order of files (the oldest first) and of rows in them. Owns what is searched and in which order; how a
//! pattern is found is `matcher`'s, what cannot match is `prune`'s, and reading is `scan`'s.

mod matcher;
mod prune;
mod scan;

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::datasource::physical_plan::parquet::{DefaultParquetFileReaderFactory, ParquetFileReaderFactory};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, StreamExt, TryStreamExt};
use logboom_config::{Globs, Severities};
use logboom_sink::schema::file_schema;
use logboom_sink::table::SnapshotFile;

pub use matcher::{MatchOptions, Matcher};

use crate::error::Error;
use crate::rows::Rows;
use crate::session::{Contents, Session};
use crate::store::CountingStore;
use crate::usage::Meter;
use crate::when::TimeRange;
use scan::Source;

/// Footers that are fetched ahead of the search.
const FOOTERS_AHEAD: usize = 16;

/// What is searched for, and where.
#[derive(Debug)]
pub struct Grep {
    /// What a body must match.
    pub pattern: Matcher,
    /// Categories; `None` is all.
    pub categories: Option<Globs>,
    /// Hosts; `None` is all.
    pub hosts: Option<Globs>,
    /// Severities; `None` is all, and records without one.
    pub severities: Option<Severities>,
    /// By the records' own timestamp.
    pub time: TimeRange,
    /// What is wanted of the matches.
    pub wanted: Wanted,
}

/// What is wanted of the records that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Only how many there are: batches without columns.
    Count,
    /// What a line shows: `timestamp`, `host`, `category` and `body`.
    Lines,
    /// All columns of a sink file.
    Records,
}

impl Wanted {
    fn schema(self) -> SchemaRef {
        let schema = file_schema();
        let columns: &[&str] = match self {
            Self::Count => &[],
            Self::Lines => &["timestamp", "host", "category", "body"],
            Self::Records => return schema,
        };
        let indices: Vec<_> =
            columns.iter().map(|name| schema.index_of(name).expect("a column of the schema")).collect();
        Arc::new(schema.project(&indices).expect("indices of its own"))
    }
}

impl Session {
    /// Searches the snapshot. Reads nothing until the answer is polled, and no further than it is polled.
    ///
    /// # Errors
    /// The table's files are in JSON.
    pub fn grep(&self, grep: Grep) -> Result<Rows, Error> {
        let Contents::Parquet(files) = self.contents() else {
            let fix =
                "the files of this table are in JSON, which only `logboom query` reads: SELECT … WHERE body LIKE '%…%'";
            return Err(DataFusionError::Plan(fix.to_owned()).into());
        };
        let meter = Arc::new(Meter::default());
        let store = Arc::new(CountingStore::new(self.objects(), meter.clone(), self.gap()));
        let readers: Arc<dyn ParquetFileReaderFactory> = Arc::new(DefaultParquetFileReaderFactory::new(store));
        let schema = grep.wanted.schema();
        let grep = Arc::new(grep);
        let mut files: Vec<SnapshotFile> = files.snapshot().to_vec();
        files.retain(|file| prune::file_may_match(&grep, file));
        files.sort_by_key(|file| file.stats.as_ref().and_then(|stats| stats.timestamp).map(|bounds| bounds.0));
        let parts = stream::iter(files)
            .map(move |file| {
                let source = Source { files: readers.clone(), grep: grep.clone() };
                // On a task of its own, so that footers are parsed while others are searched.
                async move { tokio::spawn(source.parts(file)).await.map_err(lost)? }
            })
            .buffered(FOOTERS_AHEAD)
            .map_ok(|parts| stream::iter(parts.into_iter().map(Ok)))
            .try_flatten();
        let batches = RecordBatchStreamAdapter::new(schema, scan::run(parts.boxed()));
        Ok(Rows::new(Box::pin(batches), meter, self.contents().clone()))
    }
}

fn lost(error: tokio::task::JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}
