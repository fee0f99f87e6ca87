//! The statistics of many files side by side, as DataFusion's pruning asks for them.
//!
//! DataFusion's own [`PrunableStatistics`](datafusion::common::pruning::PrunableStatistics) gives up on a column if
//! one file says nothing about it. Here that file is kept, and the others are still pruned.

use std::collections::HashSet;
use std::sync::Arc;

use crate::columns::table_columns;
use arrow_array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::scalar::ScalarValue;

use crate::file::records;

/// One row per file; what a file does not say is null, which keeps it.
pub(crate) struct FileBounds<'a>(pub(crate) &'a [PartitionedFile]);

impl FileBounds<'_> {
    fn values(&self, column: &Column, value: fn(&ColumnStatistics) -> &Precision<ScalarValue>) -> Option<ArrayRef> {
        let index = table_columns().index_of(column.name()).ok()?;
        let unknown = ScalarValue::try_new_null(table_columns().field(index).data_type()).ok()?;
        let values = self.columns(index).map(|column| match column.map(value) {
            Some(Precision::Exact(value)) => value.clone(),
            _ => unknown.clone(),
        });
        ScalarValue::iter_to_array(values).ok()
    }

    fn columns(&self, index: usize) -> impl Iterator<Item = Option<&ColumnStatistics>> {
        self.0.iter().map(move |file| file.statistics.as_ref()?.column_statistics.get(index))
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.min_value)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |column| &column.max_value)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = table_columns().index_of(column.name()).ok()?;
        let nulls = self.columns(index).map(|column| match column?.null_count {
            Precision::Exact(nulls) => Some(nulls as u64),
            _ => None,
        });
        Some(Arc::new(nulls.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.0.iter().map(|file| Some(records(file)? as u64)).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
