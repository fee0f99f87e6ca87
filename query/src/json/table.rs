//! The table `logs` over JSON files.
//!
//! Owns which indexes and which runs a query fetches. A filter on the date is answered by the indexes, for good; any other
//! prunes and is asked of every row again.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use logboom_sink::schema::{PARTITION_COLUMN, file_schema, table_schema};
use object_store::ObjectStore;

use super::bounds::MemberBounds;
use super::indexes::Indexes;
use super::runs::Run;
use super::scan::RunSource;
use crate::table::{LogTable, bounds_predicate, deal, empty, files_for, statistics_of};

/// A snapshot of a JSON table as DataFusion scans it, through the store of one query.
#[derive(Debug)]
pub(crate) struct JsonTable {
    indexes: Arc<Indexes>,
    /// Only to be pruned.
    files: LogTable,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
}

impl JsonTable {
    /// `url` must be registered with the runtime, but what is read is read through `store`.
    pub(crate) fn new(indexes: Arc<Indexes>, store: Arc<dyn ObjectStore>, url: ObjectStoreUrl) -> Self {
        let files = LogTable::new(indexes.files().clone(), store.clone(), url.clone());
        Self { indexes, files, store, url }
    }
}

#[async_trait]
impl TableProvider for JsonTable {
    fn schema(&self) -> SchemaRef {
        table_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.files.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let indexes = self.indexes.members(&self.files.prune(state, filters)?, &*self.store).await?;
        let predicate = bounds_predicate(state, filters, self.schema())?;
        let mut runs = Vec::new();
        for index in indexes {
            let kept = match &predicate {
                Some(predicate) => predicate.prune(&MemberBounds(&index.members))?,
                None => vec![true; index.members.len()],
            };
            let members = index.members.iter().zip(kept).filter(|(_, keep)| *keep).map(|(member, _)| member.clone());
            runs.extend(Run::of(members).into_iter().map(|run| run.into_file(index.file.date)));
        }
        runs.sort_by_key(|(newest, _)| std::cmp::Reverse(*newest));
        let mut files: Vec<_> = runs.into_iter().map(|(_, file)| file).collect();
        // A limit is given to the scan only if no row is filtered out after it.
        if let Some(limit) = limit {
            files.truncate(files_for(limit, &files));
        }
        if files.is_empty() {
            return empty(projection, self.schema());
        }
        let date = Arc::new(table_schema().field_with_name(PARTITION_COLUMN)?.clone());
        let schema = TableSchema::builder(file_schema()).with_table_partition_cols(vec![date]).build();
        let source = RunSource::new(schema, self.store.clone());
        let scan = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_statistics(statistics_of(&files, &self.schema()))
            .with_file_groups(deal(files, state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}
