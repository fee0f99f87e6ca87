//! One decoded run, or the rows of it that a window of time wants: its columns, checked, and how far the merge has come
//! in it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{
    Array, BinaryArray, FixedSizeBinaryArray, Int64Array, MapArray, RecordBatch, StringArray, StringViewArray,
    UInt8Array, UInt32Array,
};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use logboom_wire::{Block, BlockError, RunKey, StreamId, attributes_type, column};

/// The rows that are wanted: those with a timestamp from `from` on and before `until`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// ns since 1970.
    pub from: i64,
    /// ns since 1970; no end for `None`.
    pub until: Option<i64>,
}

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

/// The attributes that the rows of a run have in common, as columns.
pub struct Constants {
    pub keys: StringArray,
    pub values: StringArray,
    /// Whether some row has an attribute of its own by one of these keys.
    pub overridden: bool,
    bytes: usize,
}

impl Constants {
    fn new(key: &RunKey, own: Option<&MapArray>) -> Self {
        let keys = StringArray::from_iter_values(key.attributes.iter().map(|(key, _)| key));
        let values = StringArray::from_iter_values(key.attributes.iter().map(|(_, value)| value));
        let mut own = own.into_iter().flat_map(|map| map.keys().as_string::<i32>().iter().flatten());
        let overridden = !keys.is_empty() && own.any(|own| key.attributes.iter().any(|(key, _)| key == own));
        Self { bytes: keys.value_data().len() + values.value_data().len(), keys, values, overridden }
    }
}

/// The attributes that the rows of a run have each for itself, and their parts at hand: a map is slow to ask for them.
pub struct OwnAttributes {
    map: MapArray,
    pub keys: StringArray,
    pub values: StringArray,
}

impl OwnAttributes {
    fn new(map: &MapArray) -> Self {
        let (keys, values) = (map.keys().as_string().clone(), map.values().as_string().clone());
        Self { map: map.clone(), keys, values }
    }

    /// Where those of a row end, and in the first place where those of the first begin.
    pub fn ends(&self) -> &[i32] {
        self.map.value_offsets()
    }

    /// Which entries are those of these rows.
    pub fn entries(&self, rows: Range<usize>) -> Range<usize> {
        let ends = self.ends();
        ends[rows.start] as usize..ends[rows.end] as usize
    }

    fn bytes(&self, rows: Range<usize>) -> usize {
        let entries = self.entries(rows);
        let bytes = |texts: &StringArray| {
            let offsets = texts.value_offsets();
            (offsets[entries.end] - offsets[entries.start]) as usize
        };
        bytes(&self.keys) + bytes(&self.values)
    }
}

/// The bodies of a run.
pub struct Bodies {
    /// As text, with U+FFFD for what is none.
    pub texts: StringViewArray,
    /// As they came, where they are not text; null where they are. There is no column where all are.
    pub originals: Option<BinaryArray>,
}

impl Bodies {
    fn new(bodies: &BinaryArray) -> Self {
        if let Ok(texts) = StringArray::try_from_binary(bodies.clone()) {
            return Self { texts: StringViewArray::from(&texts), originals: None };
        }
        let mut texts = StringViewBuilder::with_capacity(bodies.len());
        let mut originals = BinaryBuilder::new();
        for body in bodies.iter().map(Option::unwrap_or_default) {
            let text = String::from_utf8_lossy(body);
            originals.append_option(matches!(text, Cow::Owned(_)).then_some(body));
            texts.append_value(text);
        }
        Self { texts: texts.finish(), originals: Some(originals.finish()) }
    }
}

/// A decoded run. Its columns have the right types, no nulls where none may be, and as many rows as announced.
pub struct DecodedRun {
    pub key: Arc<RunKey>,
    pub host: String,
    pub stream: String,
    pub observed: Int64Array,
    pub bodies: Bodies,
    pub severity_number: Option<UInt8Array>,
    pub severity_text: Option<StringArray>,
    pub attributes: Option<OwnAttributes>,
    pub trace_id: Option<FixedSizeBinaryArray>,
    pub span_id: Option<FixedSizeBinaryArray>,
    /// Bytes of the block that a row came from, on average.
    pub block_bytes_per_row: f64,
    pub constants: Constants,
    first_record: u64,
    timestamp: Int64Array,
    stream_id: StreamId,
    /// Rows by timestamp, where they do not lie so already.
    order: Option<Vec<u32>>,
    /// Which rows of the run these are, where they are not all.
    numbers: Option<UInt32Array>,
    taken: usize,
    bytes: usize,
}

impl DecodedRun {
    /// Decodes run `index` of `block`; its first record has the sequence number `first_record`. Rows outside of `window`
    /// are let go.
    pub fn decode(block: &Block, index: usize, first_record: u64, window: Window) -> Result<Self, BlockError> {
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
        let body = columns.required(column::BODY, &DataType::Binary).map_err(wrong)?.as_binary::<i32>();
        let text = columns.optional(column::SEVERITY_TEXT, &DataType::Utf8).map_err(wrong)?;
        let number = columns.optional(column::SEVERITY_NUMBER, &DataType::UInt8).map_err(wrong)?;
        let attributes = columns.optional(column::ATTRIBUTES, &attributes_type()).map_err(wrong)?;
        if attributes.is_some_and(|column| column.as_map().entries().columns().iter().any(|c| c.null_count() > 0)) {
            return Err(wrong("nulls in its attributes".into()));
        }
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
        let mut decoded = Self {
            constants: Constants::new(&run.key, attributes.map(|column| column.as_map())),
            key: run.key.clone(),
            host: header.host.clone(),
            stream: header.stream.to_string(),
            stream_id: header.stream,
            first_record,
            severity_number: number.map(|column| column.as_primitive::<UInt8Type>().clone()),
            severity_text: text.map(|column| column.as_string::<i32>().clone()),
            attributes: attributes.map(|column| OwnAttributes::new(column.as_map())),
            trace_id: trace_id.map(|column| column.as_fixed_size_binary().clone()),
            span_id: span_id.map(|column| column.as_fixed_size_binary().clone()),
            block_bytes_per_row: f64::from(run.compressed_bytes) / f64::from(run.rows),
            observed,
            bodies: Bodies::new(body),
            timestamp,
            order,
            numbers: None,
            taken: 0,
            bytes: run.raw_bytes as usize,
        };
        decoded.taken = decoded.rows_before(Some(window.from));
        decoded.keep_before(window.until).map_err(|error| wrong(error.to_string()))?;
        Ok(decoded)
    }

    /// Orders the runs of one category: rows of equal time come by stream, then by sequence number.
    pub fn place(&self) -> (StreamId, u64) {
        (self.stream_id, self.first_record)
    }

    /// Sequence number of a row.
    pub fn seq(&self, row: usize) -> u64 {
        self.first_record + self.numbers.as_ref().map_or(row as u64, |numbers| u64::from(numbers.value(row)))
    }

    /// Bytes of the texts of a row: its body and its attributes.
    pub fn row_bytes(&self, row: usize) -> usize {
        // The length of what is viewed is in the view's first half.
        self.constants.bytes + self.own_attribute_bytes(row..row + 1) + self.bodies.texts.views()[row] as u32 as usize
    }

    /// Bytes of the attributes that these rows have each for itself.
    pub fn own_attribute_bytes(&self, rows: Range<usize>) -> usize {
        self.attributes.as_ref().map_or(0, |own| own.bytes(rows))
    }

    /// Rows that the merge has not taken.
    pub fn rows_left(&self) -> usize {
        self.timestamp.len() - self.taken
    }

    /// About the bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that the merge has not taken with a timestamp before `bound` (all there are for `None`).
    pub fn rows_before(&self, bound: Option<i64>) -> usize {
        let left = self.taken..self.timestamp.len();
        bound.map_or(left.len(), |bound| partition_point(left, |at| self.time_at(at) < bound))
    }

    /// Every `step`th timestamp of the rows that the merge has not taken, in order.
    pub fn times_left(&self, step: usize) -> impl Iterator<Item = i64> {
        (self.taken..self.timestamp.len()).step_by(step).map(|at| self.time_at(at))
    }

    /// Takes all rows with a timestamp before `bound` (all there are for `None`), in order of time.
    pub fn take_before(&mut self, bound: Option<i64>, run: u32, into: &mut Vec<RowRef>) {
        let end = self.taken + self.rows_before(bound);
        into.reserve(end - self.taken);
        for at in self.taken..end {
            let row = self.row_at(at) as u32;
            into.push(RowRef { timestamp: self.timestamp.values()[row as usize], run, row });
        }
        self.taken = end;
    }

    /// Lets go of rows that the merge has taken and of those from `bound` on: what is kept is copied, the rest freed.
    pub fn keep_before(&mut self, bound: Option<i64>) -> Result<(), ArrowError> {
        let kept = self.rows_before(bound);
        let held = self.timestamp.len();
        if kept == held {
            return Ok(());
        }
        let rows = UInt32Array::from_iter_values((self.taken..self.taken + kept).map(|at| self.row_at(at) as u32));
        let numbers = rows.values().iter().map(|&row| (self.seq(row as usize) - self.first_record) as u32);
        self.numbers = Some(UInt32Array::from_iter_values(numbers));
        self.timestamp = take(&self.timestamp, &rows, None)?.as_primitive::<Int64Type>().clone();
        self.observed = take(&self.observed, &rows, None)?.as_primitive::<Int64Type>().clone();
        // Views alone would keep all that they were of.
        self.bodies.texts = take(&self.bodies.texts, &rows, None)?.as_string_view().gc();
        if let Some(column) = &mut self.bodies.originals {
            *column = take(column, &rows, None)?.as_binary().clone();
        }
        if let Some(column) = &mut self.severity_number {
            *column = take(column, &rows, None)?.as_primitive::<UInt8Type>().clone();
        }
        if let Some(column) = &mut self.severity_text {
            *column = take(column, &rows, None)?.as_string::<i32>().clone();
        }
        if let Some(own) = &mut self.attributes {
            *own = OwnAttributes::new(take(&own.map, &rows, None)?.as_map());
        }
        for column in [&mut self.trace_id, &mut self.span_id].into_iter().flatten() {
            *column = take(column, &rows, None)?.as_fixed_size_binary().clone();
        }
        self.bytes = (self.bytes as u64 * kept as u64 / held as u64) as usize;
        self.order = None;
        self.taken = 0;
        Ok(())
    }

    /// The row that is at this place in the order of time.
    fn row_at(&self, at: usize) -> usize {
        self.order.as_ref().map_or(at, |order| order[at] as usize)
    }

    fn time_at(&self, at: usize) -> i64 {
        self.timestamp.values()[self.row_at(at)]
    }
}

/// How many indices at the front of `range` fulfil `pred`, which no index after a false one does.
fn partition_point(range: Range<usize>, pred: impl Fn(usize) -> bool) -> usize {
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
