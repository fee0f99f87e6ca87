//! Search for a pattern in bodies, past SQL.
//!
//! ```text
//!  log's statistics ─► files ─► footers ─► row groups, pages ─► conditions ─► bodies ─► columns of the matches
//! ```
//! Each step reads only what the one before it has left over; row groups are searched on all cores and their matches
//! come in the order of files (the oldest first) and of rows in them. Owns what is searched and in which order; how a
//! pattern is found is `matcher`'s, what cannot match is `prune`'s, and reading is `scan`'s.

mod json;
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

use crate::rows::Rows;
use crate::session::Session;
use crate::table::Files;
use crate::tables::{Contents, Table};
use crate::usage::Meter;
use crate::when::TimeRange;
use json::JsonSource;
use scan::{ParquetSource, Source};

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
    pub fn grep(&self, grep: Grep) -> Rows {
        let meter = Arc::new(Meter::default());
        let schema = grep.wanted.schema();
        let grep = Arc::new(grep);
        let mut files: Vec<(Source, SnapshotFile)> = Vec::new();
        for table in self.tables().iter() {
            let (of_table, source) = source(table, &meter, &grep);
            let may_match = of_table.snapshot().iter().filter(|file| prune::file_may_match(&grep, file));
            files.extend(may_match.map(|file| (source.clone(), file.clone())));
        }
        files.sort_by_key(|(_, file)| file.stats.as_ref().and_then(|stats| stats.timestamp).map(|bounds| bounds.0));
        let parts = stream::iter(files)
            .map(move |(source, file)| {
                // On a task of its own, so that footers are parsed while others are searched.
                async move { tokio::spawn(source.parts(file)).await.map_err(lost)? }
            })
            .buffered(FOOTERS_AHEAD)
            .map_ok(|parts| stream::iter(parts.into_iter().map(Ok)))
            .try_flatten();
        let batches = RecordBatchStreamAdapter::new(schema.clone(), scan::run(parts.boxed(), schema));
        Rows::new(Box::pin(batches), meter, self.tables().clone())
    }
}

/// The files of a table, and what searches them.
fn source<'a>(table: &'a Table, meter: &Arc<Meter>, grep: &Arc<Grep>) -> (&'a Files, Source) {
    let (store, grep) = (table.counted(meter), grep.clone());
    match &table.contents {
        Contents::Parquet(files) => {
            let readers: Arc<dyn ParquetFileReaderFactory> = Arc::new(DefaultParquetFileReaderFactory::new(store));
            (files, Source::Parquet(ParquetSource { files: readers, grep }))
        }
        Contents::Json(indexes) => {
            (indexes.files(), Source::Json(JsonSource { indexes: indexes.clone(), store, grep }))
        }
    }
}

fn lost(error: tokio::task::JoinError) -> DataFusionError {
    DataFusionError::ExecutionJoin(Box::new(error))
}
