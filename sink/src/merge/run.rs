//! One decoded run: its columns, checked, and how far the merge has come in it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{
    Array, BinaryArray, FixedSizeBinaryArray, Int64Array, MapArray, RecordBatch, StringArray, UInt8Array,
};
use arrow_schema::DataType;
use logboom_wire::{Block, BlockError, RunKey, StreamId, attributes_type, column};

/// A row of one of the runs that are held.
#[derive(Clone, Copy, Debug)]
pub struct RowRef {
    /// ns since 1970.
    pub timestamp: i64,
    /// Index of the run among those held.
    pub run: u32,
    /// Row in the run.
    pub row: u32,
}

/// A decoded run. Its columns have the right types, no nulls where none may be, and as many rows as announced.
pub struct DecodedRun {
    pub key: Arc<RunKey>,
    pub host: String,
    pub stream: String,
    pub first_record: u64,
    pub observed: Int64Array,
    pub body: BinaryArray,
    pub severity_number: Option<UInt8Array>,
    pub severity_text: Option<StringArray>,
    pub attributes: Option<MapArray>,
    pub trace_id: Option<FixedSizeBinaryArray>,
    pub span_id: Option<FixedSizeBinaryArray>,
    timestamp: Int64Array,
    stream_id: StreamId,
    /// Rows by timestamp, where they do not lie so already.
    order: Option<Vec<u32>>,
    taken: usize,
}

impl DecodedRun {
    /// Decodes run `index` of `block`; its first record has the sequence number `first_record`.
    pub fn decode(block: &Block, index: usize, first_record: u64) -> Result<Self, BlockError> {
        let batch = block.decode_run(index)?;
        let header = block.header();
        let run = &header.runs[index];
        let wrong = |reason: String| BlockError::Payload { run: index, reason };
        let columns = Columns { batch: &batch };
        let observed = columns.required(column::OBSERVED_TIMESTAMP, &DataType::Int64).map_err(wrong)?;
        let observed = observed.as_primitive::<Int64Type>().clone();
        let timestamp = match columns.optional(column::TIMESTAMP, &DataType::Int64).map_err(wrong)? {
            Some(column) if column.null_count() > 0 => return Err(wrong("nulls in its timestamps".into())),
            Some(column) => column.as_primitive::<Int64Type>().clone(),
            None => observed.clone(),
        };
        let body = columns.required(column::BODY, &DataType::Binary).map_err(wrong)?.as_binary::<i32>().clone();
        let text = columns.optional(column::SEVERITY_TEXT, &DataType::Utf8).map_err(wrong)?;
        let number = columns.optional(column::SEVERITY_NUMBER, &DataType::UInt8).map_err(wrong)?;
        let attributes = columns.optional(column::ATTRIBUTES, &attributes_type()).map_err(wrong)?;
        let trace_id = columns.optional(column::TRACE_ID, &DataType::FixedSizeBinary(16)).map_err(wrong)?;
        let span_id = columns.optional(column::SPAN_ID, &DataType::FixedSizeBinary(8)).map_err(wrong)?;
        let times = timestamp.values();
        let range = (times.iter().min().copied(), times.iter().max().copied());
        // The merge relies on it: a run that begins earlier than it says would come too late.
        if range != (Some(run.time_min), Some(run.time_max)) {
            return Err(wrong("its timestamps are not in the range that its header gives".into()));
        }
        let order = (!times.is_sorted()).then(|| {
            let mut order: Vec<u32> = (0..times.len() as u32).collect();
            order.sort_by_key(|&row| times[row as usize]);
            order
        });
        Ok(Self {
            key: run.key.clone(),
            host: header.host.clone(),
            stream: header.stream.to_string(),
            stream_id: header.stream,
            first_record,
            severity_number: number.map(|column| column.as_primitive::<UInt8Type>().clone()),
            severity_text: text.map(|column| column.as_string::<i32>().clone()),
            attributes: attributes.map(|column| column.as_map().clone()),
            trace_id: trace_id.map(|column| column.as_fixed_size_binary().clone()),
            span_id: span_id.map(|column| column.as_fixed_size_binary().clone()),
            observed,
            body,
            timestamp,
            order,
            taken: 0,
        })
    }

    /// Orders the runs of one category: rows of equal time come by stream, then by sequence number.
    pub fn place(&self) -> (StreamId, u64) {
        (self.stream_id, self.first_record)
    }

    /// Rows that the merge has not taken.
    pub fn rows_left(&self) -> usize {
        self.timestamp.len() - self.taken
    }

    /// Takes all rows with a timestamp before `bound` (all there are for `None`), in order of time.
    pub fn take_before(&mut self, bound: Option<i64>, run: u32, into: &mut Vec<RowRef>) {
        let times = self.timestamp.values();
        let row_at = |at: usize| self.order.as_ref().map_or(at as u32, |order| order[at]);
        let end = match bound {
            None => times.len(),
            Some(bound) => {
                let left = self.taken..times.len();
                self.taken + partition_point(left, |at| times[row_at(at) as usize] < bound)
            }
        };
        into.reserve(end - self.taken);
        for at in self.taken..end {
            let row = row_at(at);
            into.push(RowRef { timestamp: times[row as usize], run, row });
        }
        self.taken = end;
    }
}

/// How many indices at the front of `range` fulfil `pred`, which no index after a false one does.
fn partition_point(range: std::ops::Range<usize>, pred: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        match pred(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low - range.start
}

struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn optional(&self, name: &str, data_type: &DataType) -> Result<Option<&'a dyn Array>, String> {
        let Some(column) = self.batch.column_by_name(name) else { return Ok(None) };
        if column.data_type() != data_type {
            return Err(format!("its column {name} is {} where {data_type} is expected", column.data_type()));
        }
        Ok(Some(column.as_ref()))
    }

    fn required(&self, name: &str, data_type: &DataType) -> Result<&'a dyn Array, String> {
        let column = self.optional(name, data_type)?.ok_or_else(|| format!("it has no column {name}"))?;
        match column.null_count() {
            0 => Ok(column),
            _ => Err(format!("nulls in its column {name}")),
        }
    }
}
