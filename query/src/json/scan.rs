//! Runs as DataFusion scans them: one request for each, unpacked as it comes.
//!
//! DataFusion's own scan of JSON takes whole files, and would cut them at any byte; here a run is never cut.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::apply_expression_roots;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::{self, BoxStream, StreamExt};
use logboom_sink::Error;
use logboom_sink::json::Decoder;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

use super::runs::Run;

/// Reads runs of the columns of `schema` through `store`.
#[derive(Clone)]
pub(super) struct RunSource {
    schema: TableSchema,
    store: Arc<dyn ObjectStore>,
    batch_size: usize,
    projection: SplitProjection,
    metrics: ExecutionPlanMetricsSet,
}

impl RunSource {
    pub(super) fn new(schema: TableSchema, store: Arc<dyn ObjectStore>) -> Self {
        let projection = SplitProjection::unprojected(&schema);
        Self { schema, store, batch_size: 8192, projection, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl FileSource for RunSource {
    fn create_file_opener(&self, _: Arc<dyn ObjectStore>, _: &FileScanConfig, _: usize) -> Result<Arc<dyn FileOpener>> {
        let columns = Arc::new(self.schema.file_schema().project(&self.projection.file_indices)?);
        let opener = RunOpener { store: self.store.clone(), columns, batch_size: self.batch_size };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), self.schema.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_size, ..self.clone() })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "json"
    }

    /// A run has no other bytes to be cut at than the ends of its members.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.projection.source.iter(), f)
    }
}

struct RunOpener {
    store: Arc<dyn ObjectStore>,
    columns: SchemaRef,
    batch_size: usize,
}

impl FileOpener for RunOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (store, columns, batch_size) = (self.store.clone(), self.columns.clone(), self.batch_size);
        Ok(Box::pin(async move {
            let run = file.extensions.get::<Run>().expect("every file of this scan is a run");
            read_run(&*store, run, columns, batch_size).await
        }))
    }
}

/// Fetches the columns of the records of a run, and unpacks them as they come.
pub(crate) async fn read_run(
    store: &dyn ObjectStore,
    run: &Run,
    columns: SchemaRef,
    batch_size: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let decoder = Decoder::new(run.members().iter().cloned(), columns, batch_size);
    let path = Path::from(&*run.members()[0].path);
    let (place, range) = (Place { path: path.to_string(), range: run.range() }, run.range());
    let get = store.get_opts(&path, GetOptions::new().with_range(Some(range))).await;
    let bytes = get.map_err(|error| place.failed(error))?.into_stream();
    let bytes = bytes.map(move |bytes| bytes.map_err(|error| place.failed(error))).boxed();
    Ok(stream::try_unfold(Some(Rows { bytes, decoder }), Rows::next).boxed())
}

/// Where in the table bytes are fetched.
struct Place {
    path: String,
    range: Range<u64>,
}

impl Place {
    fn failed(&self, error: object_store::Error) -> DataFusionError {
        let Range { start, end } = self.range;
        DataFusionError::Execution(format!("reading bytes {start} to {end} of `{}`: {error}", self.path))
    }
}

/// The rows of a run, as its bytes come.
struct Rows {
    bytes: BoxStream<'static, Result<Bytes>>,
    decoder: Decoder,
}

impl Rows {
    async fn next(rows: Option<Self>) -> Result<Option<(RecordBatch, Option<Self>)>> {
        let Some(mut rows) = rows else { return Ok(None) };
        loop {
            if let Some(batch) = rows.decoder.next_batch().map_err(damaged)? {
                return Ok(Some((batch, Some(rows))));
            }
            match rows.bytes.next().await.transpose()? {
                Some(bytes) => rows.decoder.push(bytes),
                None => return Ok(rows.decoder.finish().map_err(damaged)?.map(|batch| (batch, None))),
            }
        }
    }
}

fn damaged(error: Error) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}
