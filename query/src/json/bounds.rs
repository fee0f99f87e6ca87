//! The bounds of many members side by side, as DataFusion's pruning asks for them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray, UInt64Array};
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics;
use datafusion::scalar::ScalarValue;
use logboom_sink::json::Member;
use logboom_sink::schema::table_schema;

/// One row per member. Columns that an index says nothing of are not known, which keeps a member.
pub(super) struct MemberBounds<'a>(pub(super) &'a [Member]);

/// Which end of the bounds.
#[derive(Clone, Copy)]
enum End {
    Least,
    Greatest,
}

impl End {
    fn of<T>(self, bounds: &Option<(T, T)>) -> Option<&T> {
        let (least, greatest) = bounds.as_ref()?;
        Some(match self {
            Self::Least => least,
            Self::Greatest => greatest,
        })
    }
}

impl MemberBounds<'_> {
    fn values(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let stats = self.0.iter().map(|member| &member.stats);
        let instants = |values: Int64Array| -> ArrayRef {
            Arc::new(values.reinterpret_cast::<TimestampMicrosecondType>().with_timezone("UTC"))
        };
        Some(match column.name() {
            "timestamp" => instants(stats.map(|stats| end.of(&stats.timestamp).copied()).collect()),
            "observed_timestamp" => instants(stats.map(|stats| end.of(&stats.observed_timestamp).copied()).collect()),
            "category" => Arc::new(stats.map(|stats| end.of(&stats.category)).collect::<StringArray>()),
            "host" => Arc::new(stats.map(|stats| end.of(&stats.host)).collect::<StringArray>()),
            _ => return None,
        })
    }
}

impl PruningStatistics for MemberBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, End::Least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, End::Greatest)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let schema = table_schema();
        let field = schema.field_with_name(column.name()).ok()?;
        (!field.is_nullable()).then(|| Arc::new(UInt64Array::from(vec![0; self.0.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.0.iter().map(|member| member.stats.records))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
