//! `SELECT category, count(*) … GROUP BY category`, answered without looking at each record.
//!
//! A row group of one category counts as a whole, by its bounds. Of one that several share, the category column is read as
//! the dictionary that it is stored as, and its keys are counted. Takes over only where nothing but the date is filtered.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::datasource::{TableType, provider_as_source, source_as_provider};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableScan, col};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};

use crate::columns::with_dictionaries;
use crate::table::{LogTable, is_about_date};

const CATEGORY: &str = "category";
const RECORDS: &str = "records";
/// Files whose footers are fetched at once.
const FILES_AT_ONCE: usize = 16;
const BATCH_ROWS: usize = 64 << 10;

/// Replaces such an aggregation by a sum over [`Counts`].
#[derive(Debug)]
pub(crate) struct CountByCategory;

impl OptimizerRule for CountByCategory {
    fn name(&self) -> &str {
        "count_by_category"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        match replacement(aggregate)? {
            Some(replacement) => Ok(Transformed::yes(replacement)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

fn replacement(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::TableScan(scan) = aggregate.input.as_ref() else { return Ok(None) };
    let [Expr::Column(group)] = &aggregate.group_expr[..] else { return Ok(None) };
    let counts_all = !aggregate.aggr_expr.is_empty() && aggregate.aggr_expr.iter().all(is_count_of_all);
    if group.name != CATEGORY || !counts_all || scan.fetch.is_some() || !scan.filters.iter().all(is_about_date) {
        return Ok(None);
    }
    let Some(counts) = Counts::of(scan) else { return Ok(None) };
    let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), provider_as_source(Arc::new(counts)), None)?;
    let summed = scan.aggregate(vec![Expr::Column(group.clone())], vec![sum(col(RECORDS))])?;
    let total = Column::from(summed.schema().qualified_field(1));
    let names = aggregate.schema.fields().iter().skip(1);
    let totals = names.map(|field| Expr::Column(total.clone()).alias(field.name()));
    let columns: Vec<_> = std::iter::once(Expr::Column(group.clone())).chain(totals).collect();
    Ok(Some(summed.project(columns)?.build()?))
}

/// `count(*)`, which the planner has made `count(1)` of.
fn is_count_of_all(expr: &Expr) -> bool {
    let Expr::AggregateFunction(function) = expr else { return false };
    let params = &function.params;
    let plain = !params.distinct && params.filter.is_none() && params.order_by.is_empty();
    let all = matches!(&params.args[..], [Expr::Literal(value, _)] if !value.is_null());
    function.func.name() == "count" && plain && all
}

/// Counts by category, in as many rows for each as it takes.
#[derive(Debug)]
struct Counts {
    table: Arc<dyn TableProvider>,
    filters: Vec<Expr>,
    schema: SchemaRef,
}

impl Counts {
    fn of(scan: &TableScan) -> Option<Self> {
        let table = source_as_provider(&scan.source).ok()?;
        (table.as_ref() as &dyn std::any::Any).downcast_ref::<LogTable>()?;
        let fields = vec![Field::new(CATEGORY, DataType::Utf8View, false), Field::new(RECORDS, DataType::Int64, false)];
        // As a table is given them: without its name.
        let filters = unnormalize_cols(scan.filters.clone());
        Some(Self { table, filters, schema: Arc::new(Schema::new(fields)) })
    }
}

#[async_trait]
impl TableProvider for Counts {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = (self.table.as_ref() as &dyn std::any::Any).downcast_ref::<LogTable>();
        let table = table.ok_or_else(|| DataFusionError::Internal("it was the table of logs".to_owned()))?;
        let readers: Arc<dyn ParquetFileReaderFactory> = Arc::new(table.readers(state, false));
        let files = table.prune(state, &self.filters)?;
        let counts: Vec<BTreeMap<String, i64>> = stream::iter(files)
            .map(|file| {
                let readers = readers.clone();
                // On all cores.
                async move {
                    let counted = tokio::spawn(async move { count(readers.as_ref(), file).await }).await;
                    counted.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?
                }
            })
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let categories: StringViewArray = counts.iter().flatten().map(|(category, _)| Some(category)).collect();
        let records: Int64Array = counts.iter().flatten().map(|(_, records)| Some(*records)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(categories), Arc::new(records)])?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema.clone(), projection.cloned())?)
    }
}

/// The records of each category in a file.
async fn count(readers: &dyn ParquetFileReaderFactory, file: PartitionedFile) -> Result<BTreeMap<String, i64>> {
    let hint = file.metadata_size_hint;
    let mut reader: Box<dyn AsyncFileReader> = readers.create_reader(0, file, hint, &ExecutionPlanMetricsSet::new())?;
    let options = ArrowReaderOptions::new();
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
    let mut counts = BTreeMap::new();
    let mut mixed = Vec::new();
    for (index, only) in only_category(&metadata)?.into_iter().enumerate() {
        match only {
            Some(category) => *counts.entry(category).or_default() += metadata.metadata().row_group(index).num_rows(),
            None => mixed.push(index),
        }
    }
    if mixed.is_empty() {
        return Ok(counts);
    }
    let options = options.with_schema(with_dictionaries(metadata.schema()));
    let metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)?;
    // Of a file that somebody else wrote it may be of another type.
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mask = ProjectionMask::columns(metadata.parquet_schema(), [CATEGORY]);
    let mut batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
        .with_row_groups(mixed)
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()?;
    while let Some(batch) = batches.try_next().await? {
        let column = cast(batch.column(0), &dictionary)?;
        let column = column.as_dictionary::<Int32Type>();
        let mut by_key = vec![0; column.values().len()];
        column.keys().iter().flatten().for_each(|key| by_key[key as usize] += 1);
        let values: &StringArray = column.values().as_string();
        for (key, records) in by_key.into_iter().enumerate().filter(|(_, records)| *records > 0) {
            *counts.entry(values.value(key).to_owned()).or_default() += records;
        }
    }
    Ok(counts)
}

/// Of each row group the one category that all of its records have, if that is known.
fn only_category(file: &ArrowReaderMetadata) -> Result<Vec<Option<String>>> {
    let groups = file.metadata().row_groups();
    let statistics = StatisticsConverter::try_new(CATEGORY, file.schema(), file.parquet_schema())?;
    let least = cast(&statistics.row_group_mins(groups)?, &DataType::Utf8)?;
    let greatest = cast(&statistics.row_group_maxes(groups)?, &DataType::Utf8)?;
    let (least, greatest) = (least.as_string::<i32>(), greatest.as_string::<i32>());
    let exact = (statistics.row_group_is_min_value_exact(groups)?, statistics.row_group_is_max_value_exact(groups)?);
    let nulls = statistics.row_group_null_counts(groups)?;
    let is_only = |row: usize| {
        let known = least.is_valid(row) && greatest.is_valid(row) && nulls.is_valid(row) && nulls.value(row) == 0;
        known && exact.0.value(row) && exact.1.value(row) && least.value(row) == greatest.value(row)
    };
    Ok((0..groups.len()).map(|row| is_only(row).then(|| least.value(row).to_owned())).collect())
}
