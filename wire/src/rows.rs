//! Columns of records: what a source fills and a block holds.
//!
//! [`Rows`] grows column by column, so that a plain line costs one copy of its bytes and three integers, and no
//! allocation of its own. Columns beyond body and observed time exist only from the first record that needs them.
//! Knows nothing of blocks or categories.

use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{Array, ArrayRef, BinaryArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

/// Names of the columns in a block. All but `observed_timestamp` and `body` are absent where no record has them.
pub mod column {
    /// When the event happened, in nanoseconds since 1970 (UTC); absent: the observed time.
    pub const TIMESTAMP: &str = "timestamp";
    /// When the adaptor took the record in, in nanoseconds since 1970 (UTC).
    pub const OBSERVED_TIMESTAMP: &str = "observed_timestamp";
    /// OpenTelemetry severity number, 1 to 24; 0 for none.
    pub const SEVERITY_NUMBER: &str = "severity_number";
    /// The severity as the source wrote it.
    pub const SEVERITY_TEXT: &str = "severity_text";
    /// The record's text, byte for byte.
    pub const BODY: &str = "body";
    /// Attributes, text to text.
    pub const ATTRIBUTES: &str = "attributes";
    /// W3C trace id, 16 bytes.
    pub const TRACE_ID: &str = "trace_id";
    /// W3C span id, 8 bytes.
    pub const SPAN_ID: &str = "span_id";
}

/// One record on its way into [`Rows`]. Borrowed: nothing is kept of it but copies in the columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// When the event happened, ns since 1970; `None`: when it was observed.
    pub timestamp: Option<i64>,
    /// When it was taken in, ns since 1970.
    pub observed: i64,
    /// OpenTelemetry severity number, 1 to 24; 0 for none.
    pub severity_number: u8,
    /// Severity as the source wrote it; empty for none.
    pub severity_text: &'a str,
    /// The text, byte for byte; need not be UTF-8.
    pub body: &'a [u8],
    /// Attributes; a later key replaces an equal earlier one only if the source sees to it.
    pub attributes: &'a [(&'a str, &'a str)],
    /// W3C trace id; all zero counts as none.
    pub trace_id: Option<[u8; 16]>,
    /// W3C span id; all zero counts as none.
    pub span_id: Option<[u8; 8]>,
}

/// A column of byte strings in Arrow's layout: one buffer and the offsets into it.
#[derive(Debug, Clone)]
struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.bytes.len() as i32);
    }

    fn push_empty(&mut self, count: usize) {
        let end = self.bytes.len() as i32;
        self.offsets.resize(self.offsets.len() + count, end);
    }

    fn append(&mut self, other: &Texts) {
        let base = self.bytes.len() as i32;
        self.bytes.extend_from_slice(&other.bytes);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| base + offset));
    }

    fn into_buffers(self) -> (OffsetBuffer<i32>, Buffer) {
        (OffsetBuffer::new(ScalarBuffer::from(self.offsets)), Buffer::from_vec(self.bytes))
    }

    /// A text is null where it is empty.
    fn null_where_empty(&self) -> NullBuffer {
        NullBuffer::from_iter(self.offsets.windows(2).map(|pair| pair[0] != pair[1]))
    }
}

/// The columns that a plain line does not need.
#[derive(Debug, Clone, Default)]
struct Details {
    timestamp: Vec<i64>,
    severity_number: Vec<u8>,
    severity_text: Texts,
    attribute_ends: Vec<i32>,
    attribute_keys: Texts,
    attribute_values: Texts,
    trace_id: Vec<[u8; 16]>,
    span_id: Vec<[u8; 8]>,
}

impl Details {
    /// Details of records that had none.
    fn of_plain(observed: &[i64]) -> Self {
        let rows = observed.len();
        let mut details = Self {
            timestamp: observed.to_vec(),
            severity_number: vec![0; rows],
            attribute_ends: vec![0; rows],
            trace_id: vec![[0; 16]; rows],
            span_id: vec![[0; 8]; rows],
            ..Self::default()
        };
        details.severity_text.push_empty(rows);
        details
    }

    fn push(&mut self, record: &Record<'_>) {
        self.timestamp.push(record.timestamp.unwrap_or(record.observed));
        self.severity_number.push(record.severity_number);
        self.severity_text.push(record.severity_text.as_bytes());
        for (key, value) in record.attributes {
            self.attribute_keys.push(key.as_bytes());
            self.attribute_values.push(value.as_bytes());
        }
        self.attribute_ends.push(self.attribute_keys.offsets.len() as i32 - 1);
        self.trace_id.push(record.trace_id.unwrap_or_default());
        self.span_id.push(record.span_id.unwrap_or_default());
    }

    fn append(&mut self, other: &Details) {
        let base = self.attribute_keys.offsets.len() as i32 - 1;
        self.timestamp.extend_from_slice(&other.timestamp);
        self.severity_number.extend_from_slice(&other.severity_number);
        self.severity_text.append(&other.severity_text);
        self.attribute_ends.extend(other.attribute_ends.iter().map(|end| base + end));
        self.attribute_keys.append(&other.attribute_keys);
        self.attribute_values.append(&other.attribute_values);
        self.trace_id.extend_from_slice(&other.trace_id);
        self.span_id.extend_from_slice(&other.span_id);
    }
}

/// Records of one category and source, as columns.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    observed: Vec<i64>,
    body: Texts,
    details: Option<Box<Details>>,
}

impl Rows {
    /// Count of records.
    pub fn len(&self) -> usize {
        self.observed.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.observed.is_empty()
    }

    /// Bytes of the bodies.
    pub fn body_bytes(&self) -> usize {
        self.body.bytes.len()
    }

    /// Bytes that the columns hold, uncompressed.
    pub fn raw_bytes(&self) -> usize {
        let plain = self.body.bytes.len() + self.len() * 12;
        plain
            + self.details.as_ref().map_or(0, |details| {
                self.len() * 40
                    + details.severity_text.bytes.len()
                    + details.attribute_keys.bytes.len()
                    + details.attribute_values.bytes.len()
                    + details.attribute_keys.offsets.len() * 8
            })
    }

    /// Adds a record that is nothing but a line, observed at `observed` (ns since 1970).
    pub fn push_line(&mut self, observed: i64, line: &[u8]) {
        self.observed.push(observed);
        self.body.push(line);
        if let Some(details) = &mut self.details {
            details.push(&Record { observed, ..Record::default() });
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        let plain = record.timestamp.is_none()
            && record.severity_number == 0
            && record.severity_text.is_empty()
            && record.attributes.is_empty()
            && record.trace_id.is_none()
            && record.span_id.is_none();
        if self.details.is_none() && !plain {
            self.details = Some(Box::new(Details::of_plain(&self.observed)));
        }
        self.observed.push(record.observed);
        self.body.push(record.body);
        if let Some(details) = &mut self.details {
            details.push(record);
        }
    }

    /// Adds all records of `other`, in order.
    pub fn append(&mut self, other: Rows) {
        if self.is_empty() {
            *self = other;
            return;
        }
        match (&mut self.details, &other.details) {
            (Some(mine), Some(theirs)) => mine.append(theirs),
            (Some(mine), None) => mine.append(&Details::of_plain(&other.observed)),
            (None, Some(theirs)) => {
                let mut mine = Details::of_plain(&self.observed);
                mine.append(theirs);
                self.details = Some(Box::new(mine));
            }
            (None, None) => {}
        }
        self.observed.extend_from_slice(&other.observed);
        self.body.append(&other.body);
    }

    /// Earliest and latest timestamp, ns since 1970. `None` where there is no record.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let times = self.details.as_ref().map_or(&self.observed, |details| &details.timestamp);
        Some((*times.iter().min()?, *times.iter().max()?))
    }

    /// The columns as an Arrow record batch, without those that no record needs.
    pub(crate) fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::with_capacity(8);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(8);
        let mut add = |name: &str, column: ArrayRef| {
            fields.push(Field::new(name, column.data_type().clone(), column.null_count() > 0));
            columns.push(column);
        };
        let observed: ScalarBuffer<i64> = self.observed.into();
        if let Some(details) = self.details {
            if details.timestamp[..] != observed[..] {
                add(column::TIMESTAMP, Arc::new(PrimitiveArray::<Int64Type>::new(details.timestamp.into(), None)));
            }
            if details.severity_number.iter().any(|&number| number != 0) {
                let numbers = PrimitiveArray::<UInt8Type>::new(details.severity_number.into(), None);
                add(column::SEVERITY_NUMBER, Arc::new(numbers));
            }
            if !details.severity_text.bytes.is_empty() {
                let nulls = details.severity_text.null_where_empty();
                let (offsets, values) = details.severity_text.into_buffers();
                add(column::SEVERITY_TEXT, Arc::new(StringArray::try_new(offsets, values, Some(nulls))?));
            }
            if details.attribute_keys.offsets.len() > 1 {
                let map = map_array(&details.attribute_ends, details.attribute_keys, details.attribute_values)?;
                add(column::ATTRIBUTES, Arc::new(map));
            }
            if let Some(ids) = id_array(&details.trace_id)? {
                add(column::TRACE_ID, ids);
            }
            if let Some(ids) = id_array(&details.span_id)? {
                add(column::SPAN_ID, ids);
            }
        }
        add(column::OBSERVED_TIMESTAMP, Arc::new(PrimitiveArray::<Int64Type>::new(observed, None)));
        let (offsets, values) = self.body.into_buffers();
        add(column::BODY, Arc::new(BinaryArray::try_new(offsets, values, None)?));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

/// The type of the `attributes` column.
pub fn attributes_type() -> DataType {
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(attribute_fields()), false)), false)
}

fn attribute_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)])
}

fn map_array(ends: &[i32], keys: Texts, values: Texts) -> Result<MapArray, ArrowError> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend_from_slice(ends);
    let mut strings = Vec::with_capacity(2);
    for texts in [keys, values] {
        let (offsets, values) = texts.into_buffers();
        strings.push(Arc::new(StringArray::try_new(offsets, values, None)?) as ArrayRef);
    }
    let entries = StructArray::try_new(attribute_fields(), strings, None)?;
    let DataType::Map(field, sorted) = attributes_type() else { unreachable!("it is a map") };
    MapArray::try_new(field, OffsetBuffer::new(offsets.into()), entries, None, sorted)
}

/// Ids as a column that is null where an id is all zero; `None` where all are.
fn id_array<const N: usize>(ids: &[[u8; N]]) -> Result<Option<ArrayRef>, ArrowError> {
    if ids.iter().all(|id| *id == [0; N]) {
        return Ok(None);
    }
    let mut builder = FixedSizeBinaryBuilder::with_capacity(ids.len(), N as i32);
    for id in ids {
        match *id == [0; N] {
            true => builder.append_null(),
            false => builder.append_value(id)?,
        }
    }
    Ok(Some(Arc::new(builder.finish())))
}
