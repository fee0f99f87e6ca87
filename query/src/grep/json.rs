//! Search in files of JSON: members that may match, one request for those that lie side by side.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use datafusion::arrow::compute::{and, filter_record_batch};
use datafusion::error::Result;
use futures::stream::{BoxStream, StreamExt};
use logboom_sink::schema::file_schema;
use logboom_sink::table::SnapshotFile;
use object_store::ObjectStore;

use super::Grep;
use super::prune::{self, Condition};
use super::scan::holds;
use crate::json::{Indexes, Run, read_run};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8192;

/// What is searched, and for what.
#[derive(Clone)]
pub(super) struct JsonSource {
    pub indexes: Arc<Indexes>,
    pub store: Arc<dyn ObjectStore>,
    pub grep: Arc<Grep>,
}

/// Members that lie side by side and may match.
pub(super) struct RunPart {
    source: JsonSource,
    run: Run,
}

impl JsonSource {
    /// Reads an index.
    pub(super) async fn parts(self, index: SnapshotFile) -> Result<Vec<RunPart>> {
        let members = self.indexes.index(index, &*self.store).await?.members;
        let asked = members.iter().filter(|member| prune::may_match(&self.grep, &member.stats)).cloned();
        Ok(Run::of(asked).into_iter().map(|run| RunPart { source: self.clone(), run }).collect())
    }
}

impl RunPart {
    /// The matches, with the columns that are wanted and those that they were found by.
    pub(super) async fn matches(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Self { source: JsonSource { store, grep, .. }, run } = self;
        // A member has one category, which was asked already.
        let open = [Condition::Time, Condition::Severity, Condition::Host];
        let open: Vec<_> = open.into_iter().filter(|condition| prune::is_asked(&grep, *condition)).collect();
        let rows = read_run(&*store, &run, columns(&grep, &open)?, BATCH_ROWS).await?;
        Ok(rows.map(move |rows| matching(&grep, &open, &rows?)).boxed())
    }
}

fn columns(grep: &Grep, open: &[Condition]) -> Result<SchemaRef> {
    let wanted = grep.wanted.schema();
    let is_read = |name: &str| {
        name == "body" || wanted.index_of(name).is_ok() || open.iter().any(|condition| condition.column() == name)
    };
    let fields = file_schema().fields().iter().filter(|field| is_read(field.name())).cloned().collect::<Vec<_>>();
    Ok(Arc::new(Schema::new(fields)))
}

fn matching(grep: &Grep, open: &[Condition], rows: &RecordBatch) -> Result<RecordBatch> {
    let mut keep: BooleanArray = grep.pattern.select(rows["body"].as_string());
    for condition in open {
        let column = rows.column_by_name(condition.column());
        keep = and(&keep, &holds(grep, *condition, column, rows.num_rows())?)?;
    }
    Ok(filter_record_batch(rows, &keep)?)
}
