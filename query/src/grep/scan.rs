//! Reading: row groups on all cores, each column only for the rows that those before have left over.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use logboom_config::Globs;
use logboom_sink::schema::file_schema;
use logboom_sink::table::SnapshotFile;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter,
};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::file::metadata::PageIndexPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Grep;
use super::json::{JsonSource, RunPart};
use super::prune::{self, Condition, RowGroup};
use crate::columns::with_dictionaries;
use crate::file::partitioned;

/// Batches of a row group that wait for those before them. Then its search waits too.
const BATCHES_WAITING: usize = 4;

/// Files of either format.
#[derive(Clone)]
pub(super) enum Source {
    Parquet(ParquetSource),
    Json(JsonSource),
}

impl Source {
    /// What of a file may match: reads its footer, or the index that it is.
    pub(super) async fn parts(self, file: SnapshotFile) -> Result<Vec<Part>> {
        Ok(match self {
            Self::Parquet(source) => source.parts(file).await?.into_iter().map(Part::RowGroup).collect(),
            Self::Json(source) => source.parts(file).await?.into_iter().map(Part::Run).collect(),
        })
    }
}

/// What is searched by one task.
pub(super) enum Part {
    RowGroup(RowGroupPart),
    Run(RunPart),
}

/// What is searched, and for what.
#[derive(Clone)]
pub(super) struct ParquetSource {
    pub files: Arc<dyn ParquetFileReaderFactory>,
    pub grep: Arc<Grep>,
}

type Reader = Box<dyn AsyncFileReader>;

/// A row group of a file that may match.
pub(super) struct RowGroupPart {
    source: ParquetSource,
    reader: Reader,
    metadata: ArrowReaderMetadata,
    group: RowGroup,
}

impl ParquetSource {
    /// Reads the footer of a file.
    async fn parts(self, file: SnapshotFile) -> Result<Vec<RowGroupPart>> {
        let file = partitioned(&file, &file_schema());
        let hint = file.metadata_size_hint;
        let open = || self.files.create_reader(0, file.clone(), hint, &ExecutionPlanMetricsSet::new());
        let mut reader: Reader = open()?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
        let groups = prune::row_groups(&self.grep, &metadata)?;
        let schema = with_dictionaries(metadata.schema());
        let metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options.with_schema(schema))?;
        let part =
            |group| Ok(RowGroupPart { source: self.clone(), reader: open()?, metadata: metadata.clone(), group });
        groups.into_iter().map(part).collect()
    }
}

/// Searches the parts on all cores. Matches come in the order of the parts.
pub(super) fn run(
    parts: BoxStream<'static, Result<Part>>,
    schema: SchemaRef,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    struct Running {
        schema: SchemaRef,
        parts: Option<BoxStream<'static, Result<Part>>>,
        tasks: JoinSet<()>,
        answers: VecDeque<mpsc::Receiver<Result<RecordBatch>>>,
    }
    // One more than there are cores, so that none waits while the first one's matches are printed.
    let width = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    // Dropping it stops the tasks.
    let running = Running { schema, parts: Some(parts), tasks: JoinSet::new(), answers: VecDeque::new() };
    stream::unfold(running, move |mut running| async move {
        loop {
            while running.answers.len() < width
                && let Some(parts) = &mut running.parts
            {
                match parts.next().await {
                    Some(Ok(part)) => {
                        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
                        running.tasks.spawn(part.search(running.schema.clone(), sender));
                        running.answers.push_back(receiver);
                    }
                    Some(Err(error)) => return Some((Err(error), running)),
                    None => running.parts = None,
                }
            }
            match running.answers.front_mut()?.recv().await {
                Some(batch) => return Some((batch, running)),
                None => drop(running.answers.pop_front()),
            }
            while let Some(ended) = running.tasks.try_join_next() {
                if let Err(error) = ended {
                    return Some((Err(super::lost(error)), running));
                }
            }
        }
    })
}

impl Part {
    /// Sends the matches, with the columns of `schema`.
    async fn search(self, schema: SchemaRef, into: mpsc::Sender<Result<RecordBatch>>) {
        let opened = match self {
            Self::RowGroup(part) => part.matches(),
            Self::Run(part) => part.matches().await,
        };
        let mut matches = match opened {
            Ok(matches) => matches,
            Err(error) => return drop(into.send(Err(error)).await),
        };
        while let Some(batch) = matches.next().await {
            let batch = batch.and_then(|batch| conform(&batch, &schema));
            if batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0) {
                continue;
            }
            if into.send(batch).await.is_err() {
                return;
            }
        }
    }
}

impl RowGroupPart {
    fn matches(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let rows = self.open()?;
        Ok(rows.map(|rows| rows.map_err(DataFusionError::from)).boxed())
    }

    fn open(self) -> Result<ParquetRecordBatchStream<Reader>> {
        let grep = &self.source.grep;
        let columns = |names: &[&str]| ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied());
        let mut filters: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        for condition in self.group.open.iter().copied() {
            let grep = grep.clone();
            let test = move |batch: RecordBatch| holds(&grep, condition, batch.columns().first(), batch.num_rows());
            filters.push(Box::new(ArrowPredicateFn::new(columns(&[condition.column()]), test)));
        }
        let asked = grep.clone();
        let bodies = move |batch: RecordBatch| match batch.columns().first() {
            Some(bodies) => Ok(asked.pattern.select(cast(bodies, &DataType::Utf8)?.as_string())),
            None => Ok(BooleanArray::new(BooleanBuffer::new_unset(batch.num_rows()), None)),
        };
        filters.push(Box::new(ArrowPredicateFn::new(columns(&["body"]), bodies)));
        let schema = grep.wanted.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mask = columns(&names);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader, self.metadata)
            .with_row_groups(vec![self.group.index])
            .with_projection(mask)
            .with_row_filter(RowFilter::new(filters));
        if let Some(rows) = self.group.rows {
            builder = builder.with_row_selection(rows);
        }
        Ok(builder.build()?)
    }
}

/// Of which rows the condition holds. A file that has no such column has it null.
pub(super) fn holds(
    grep: &Grep,
    condition: Condition,
    column: Option<&ArrayRef>,
    rows: usize,
) -> Result<BooleanArray, ArrowError> {
    let none = || Ok(BooleanArray::new(BooleanBuffer::new_unset(rows), None));
    let Some(column) = column else { return none() };
    match condition {
        Condition::Category => grep.categories.as_ref().map_or_else(none, |globs| matching(globs, column)),
        Condition::Host => grep.hosts.as_ref().map_or_else(none, |globs| matching(globs, column)),
        Condition::Time => {
            let instants = cast(column, file_schema().field_with_name("timestamp")?.data_type())?;
            let instants = instants.as_primitive::<TimestampMicrosecondType>();
            let since = grep.time.since.map(|since| since.as_microsecond());
            let until = grep.time.until.map(|until| until.as_microsecond());
            Ok(BooleanArray::from_unary(instants, |at| {
                since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
            }))
        }
        Condition::Severity => {
            let Some(wanted) = &grep.severities else { return none() };
            let numbers = cast(column, &DataType::Int32)?;
            let numbers = numbers.as_primitive::<Int32Type>();
            // A record without a severity has the number 0 there.
            let number = |row| if numbers.is_valid(row) { numbers.value(row) } else { 0 };
            let wanted = |row| u8::try_from(number(row)).is_ok_and(|number| wanted.contains(number));
            Ok(BooleanArray::from(BooleanBuffer::collect_bool(numbers.len(), wanted)))
        }
    }
}

fn matching(globs: &Globs, column: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    if let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() {
        let values: Vec<bool> = dictionary
            .values()
            .as_string::<i32>()
            .iter()
            .map(|value| value.is_some_and(|v| globs.matches(v)))
            .collect();
        let keys = dictionary.keys();
        let wanted = |row| keys.is_valid(row) && values[keys.value(row) as usize];
        return Ok(BooleanArray::from(BooleanBuffer::collect_bool(keys.len(), wanted)));
    }
    let texts = cast(column, &DataType::Utf8)?;
    let wanted = texts.as_string::<i32>().iter().map(|text| Some(text.is_some_and(|text| globs.matches(text))));
    Ok(wanted.collect())
}

/// The columns of a batch under the names and types of `schema`.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
}
