//! The table `logs`: one committed snapshot, pruned by what its log knows, read by DataFusion's own Parquet scan.
//!
//! Owns which files a query opens. Row groups, pages and rows inside a file are pruned by the scan, which gets the
//! filters pushed down. Declares no sort order: a file is sorted by category, files overlap in time.

use std::sync::Arc;

use arrow_array::{BooleanArray, Date32Array, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use logboom_sink::schema::PARTITION_COLUMN;
use logboom_sink::table::{Snapshot, SnapshotFile};
use object_store::ObjectStore;

use crate::bounds::FileBounds;
use crate::columns::Columns;
use crate::file::{days, newest, partitioned, records};
use crate::footers::Readers;

/// The committed files of one snapshot, the newest first.
#[derive(Debug)]
pub(crate) struct Files {
    snapshot: Vec<SnapshotFile>,
    files: Vec<PartitionedFile>,
    dates: Date32Array,
    bytes: u64,
    columns: Columns,
}

impl Files {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let columns = Columns::with(&snapshot.columns);
        Self::with_columns(snapshot.files, columns)
    }

    /// The files of a table with these columns.
    pub(crate) fn with_columns(mut files: Vec<SnapshotFile>, columns: Columns) -> Self {
        files.sort_by_key(|file| std::cmp::Reverse(newest(file)));
        Self {
            dates: files.iter().map(|file| Some(days(file.date))).collect(),
            bytes: files.iter().map(|file| file.size).sum(),
            files: files.iter().map(|file| partitioned(file, &columns.file)).collect(),
            snapshot: files,
            columns,
        }
    }

    /// The same files, read without views.
    #[cfg(feature = "remote")]
    pub(crate) fn without_views(&self) -> Self {
        Self::with_columns(self.snapshot.clone(), self.columns.without_views())
    }

    /// The files as the sink knows them.
    pub(crate) fn snapshot(&self) -> &[SnapshotFile] {
        &self.snapshot
    }

    pub(crate) fn count(&self) -> u64 {
        self.files.len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A snapshot as DataFusion scans it, through the store of one query.
#[derive(Debug)]
pub(crate) struct LogTable {
    files: Arc<Files>,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
}

impl LogTable {
    /// `url` must be registered with the runtime, but what is read is read through `store`.
    pub(crate) fn new(files: Arc<Files>, store: Arc<dyn ObjectStore>, url: ObjectStoreUrl) -> Self {
        Self { files, store, url }
    }

    /// Opens the files of one scan.
    pub(crate) fn readers(&self, state: &dyn Session, with_page_index: bool) -> Readers {
        let metadata = state.runtime_env().cache_manager.get_file_metadata_cache();
        Readers::new(CachedParquetFileReaderFactory::new(self.store.clone(), metadata), with_page_index)
    }

    /// The files that may hold a matching record.
    pub(crate) fn prune(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let by_date = self.keep_by_date(state, filters)?;
        let by_bounds = self.keep_by_bounds(state, filters)?;
        let kept = self.files.files.iter().zip(by_date.iter().zip(by_bounds));
        Ok(kept.filter(|(_, (date, bounds))| *date == Some(true) && *bounds).map(|(file, _)| file.clone()).collect())
    }

    /// Filters on the date alone are answered here, for good: no row is asked again.
    fn keep_by_date(&self, state: &dyn Session, filters: &[Expr]) -> Result<BooleanArray> {
        let all = BooleanArray::from(vec![true; self.files.files.len()]);
        let Some(filter) = conjunction(filters.iter().filter(|filter| is_about_date(filter)).cloned()) else {
            return Ok(all);
        };
        let schema = Arc::new(Schema::new(vec![self.files.columns.date.clone()]));
        let days = RecordBatch::try_new(schema.clone(), vec![Arc::new(self.files.dates.clone())])?;
        let filter = state.create_physical_expr(filter, &DFSchema::try_from(schema)?)?;
        let keep = filter.evaluate(&days)?.into_array(days.num_rows())?;
        as_boolean_array(&keep).cloned()
    }

    /// Filters that no record between a file's bounds can pass.
    fn keep_by_bounds(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<bool>> {
        let all = vec![true; self.files.files.len()];
        match bounds_predicate(state, filters, self.schema())? {
            Some(predicate) => {
                predicate.prune(&FileBounds { files: &self.files.files, schema: &self.files.columns.table })
            }
            None => Ok(all),
        }
    }
}

/// What bounds can say about the filters. `None`: nothing.
pub(crate) fn bounds_predicate(
    state: &dyn Session,
    filters: &[Expr],
    schema: SchemaRef,
) -> Result<Option<Arc<PruningPredicate>>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(None) };
    let filter = state.create_physical_expr(filter, &DFSchema::try_from(schema.clone())?)?;
    Ok(PruningPredicateBuilder::new().with_file_schema(schema).build(filter))
}

/// The answer where no file is left.
pub(crate) fn empty(projection: Option<&Vec<usize>>, schema: SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = match projection {
        Some(columns) => Arc::new(schema.project(columns)?),
        None => schema,
    };
    Ok(Arc::new(EmptyExec::new(schema)))
}

#[async_trait]
impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        self.files.columns.table.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        use TableProviderFilterPushDown::{Exact, Inexact};
        Ok(filters.iter().map(|filter| if is_about_date(filter) { Exact } else { Inexact }).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics_of(&self.files.files, &self.files.columns.table))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut files = self.prune(state, filters)?;
        // A limit is given to the scan only if no row is filtered out after it.
        if let Some(limit) = limit {
            files.truncate(files_for(limit, &files));
        }
        if files.is_empty() {
            return empty(projection, self.schema());
        }

        let options =
            TableParquetOptions { global: state.config_options().execution.parquet.clone(), ..Default::default() };
        let Columns { file, date, .. } = self.files.columns.clone();
        let schema = TableSchema::builder(file).with_table_partition_cols(vec![date]).build();
        let source = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(self.readers(state, !filters.is_empty())));
        let scan = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_statistics(statistics_of(&files, &self.files.columns.table))
            .with_file_groups(deal(files, state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

pub(crate) fn is_about_date(filter: &Expr) -> bool {
    expr_applicable_for_cols(&[PARTITION_COLUMN], filter)
}

/// How many of the first files are sure to hold `limit` records together; all of them if that is not known.
pub(crate) fn files_for(limit: usize, files: &[PartitionedFile]) -> usize {
    let mut sure = 0_usize;
    for (index, file) in files.iter().enumerate() {
        if sure >= limit {
            return index;
        }
        sure = sure.saturating_add(records(file).unwrap_or(0));
    }
    files.len()
}

/// Records and bytes of the files together, and on purpose no bounds: see [`crate::file`].
pub(crate) fn statistics_of(files: &[PartitionedFile], schema: &Schema) -> Statistics {
    let rows: Option<usize> = files.iter().map(records).sum();
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = rows.map_or(Precision::Absent, Precision::Exact);
    statistics.total_byte_size = Precision::Inexact(bytes as usize);
    statistics
}

/// Deals the files out like cards, so that every partition starts with one of the newest.
pub(crate) fn deal(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let mut groups = vec![Vec::new(); partitions.clamp(1, files.len())];
    let hands = groups.len();
    for (index, file) in files.into_iter().enumerate() {
        groups[index % hands].push(file);
    }
    groups.into_iter().map(FileGroup::new).collect()
}
