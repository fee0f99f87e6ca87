//! Rows of several runs, in the order of the merge, as one record batch of [`given_schema`].
//!
//! Bodies are not copied: the batch has views of them, and with them holds what the runs were decoded to.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, StringBuilder};
use arrow_array::types::ByteArrayType;
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, GenericByteArray, Int32Array, Int64Array, MapArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};
use arrow_select::interleave::interleave;

use super::MergeError;
use super::run::{DecodedRun, RowRef};
use crate::Error;
use crate::parquet::{Labels, given_schema};
use crate::schema::file_schema;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The given rows of `runs`, which are all of one category.
pub fn gather(runs: &[DecodedRun], rows: &[RowRef]) -> Result<RecordBatch, MergeError> {
    let from = Gather::new(runs, rows);
    batch(&from).map_err(|error| MergeError::Store(Error::encoding(error)))
}

fn batch(from: &Gather<'_>) -> Result<RecordBatch, ArrowError> {
    let (body, body_bytes) = from.body()?;
    let columns: Vec<ArrayRef> = vec![
        instants(from.rows.iter().map(|row| row.timestamp)),
        instants(from.each().map(|(run, row)| run.observed.value(row))),
        from.labels(|run| &run.key.category)?,
        from.labels(|run| &run.host)?,
        from.labels(|run| &run.key.source)?,
        from.severity_number(),
        from.severity_text(),
        body,
        body_bytes,
        from.attributes()?,
        from.ids(|run| run.trace_id.as_ref(), 16)?,
        from.ids(|run| run.span_id.as_ref(), 8)?,
        from.labels(|run| &run.stream)?,
        Arc::new(Int64Array::from_iter_values(from.each().map(|(run, row)| run.seq(row) as i64))),
    ];
    RecordBatch::try_new(given_schema(), columns)
}

/// Microseconds, rounded down, so that order and day stay.
fn instants(nanoseconds: impl Iterator<Item = i64>) -> ArrayRef {
    let values = TimestampMicrosecondArray::from_iter_values(nanoseconds.map(|ns| ns.div_euclid(1000)));
    Arc::new(values.with_timezone("UTC"))
}

/// Rows that follow each other in a run and in the order of the merge: they are copied as one.
struct Span {
    run: usize,
    rows: Range<usize>,
}

fn spans(rows: &[RowRef]) -> Vec<Span> {
    let follows = |a: &RowRef, b: &RowRef| a.run == b.run && a.row + 1 == b.row;
    let span = |rows: &[RowRef]| {
        let first = rows[0].row as usize;
        Span { run: rows[0].run as usize, rows: first..first + rows.len() }
    };
    rows.chunk_by(follows).map(span).collect()
}

/// A column of texts that grows by copies of others.
struct Texts {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Texts {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), offsets }
    }

    /// Adds some of other texts.
    fn append_of<T: ByteArrayType<Offset = i32>>(
        &mut self,
        texts: &GenericByteArray<T>,
        rows: Range<usize>,
    ) -> Result<(), ArrowError> {
        let offsets = texts.value_offsets();
        let (from, to, at) = (offsets[rows.start], offsets[rows.end], self.end()?);
        self.bytes.extend_from_slice(&texts.value_data()[from as usize..to as usize]);
        self.end()?;
        self.offsets.extend(offsets[rows.start + 1..=rows.end].iter().map(|offset| offset - from + at));
        Ok(())
    }

    /// How many there are.
    fn count(&self) -> i32 {
        self.offsets.len() as i32 - 1
    }

    fn end(&self) -> Result<i32, ArrowError> {
        i32::try_from(self.bytes.len()).map_err(|_| ArrowError::OffsetOverflowError(self.bytes.len()))
    }

    fn into_texts(self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(StringArray::try_new(OffsetBuffer::new(self.offsets.into()), self.bytes.into(), None)?))
    }
}

struct Gather<'a> {
    runs: &'a [DecodedRun],
    rows: &'a [RowRef],
    spans: Vec<Span>,
    /// The runs that have some of the rows.
    occurring: Vec<u32>,
    /// Which of them each row is from.
    occurrences: Int32Array,
}

impl<'a> Gather<'a> {
    fn new(runs: &'a [DecodedRun], rows: &'a [RowRef]) -> Self {
        let (mut occurring, mut places) = (Vec::new(), vec![None; runs.len()]);
        let place = |row: &RowRef| {
            *places[row.run as usize].get_or_insert_with(|| {
                occurring.push(row.run);
                occurring.len() as i32 - 1
            })
        };
        let occurrences = Int32Array::from_iter_values(rows.iter().map(place));
        Self { runs, rows, spans: spans(rows), occurring, occurrences }
    }

    fn each(&self) -> impl Iterator<Item = (&'a DecodedRun, usize)> + use<'a> {
        let runs = self.runs;
        self.rows.iter().map(move |row| (&runs[row.run as usize], row.row as usize))
    }

    fn each_span(&self) -> impl Iterator<Item = (&'a DecodedRun, &Range<usize>)> {
        self.spans.iter().map(|span| (&self.runs[span.run], &span.rows))
    }

    /// A column that every row of a run has the same.
    fn labels(&self, text: impl Fn(&DecodedRun) -> &str) -> Result<ArrayRef, ArrowError> {
        let texts = StringArray::from_iter_values(self.occurring.iter().map(|run| text(&self.runs[*run as usize])));
        Ok(Arc::new(Labels::try_new(self.occurrences.clone(), Arc::new(texts))?))
    }

    /// `body`, as views of what the runs hold, and `body_bytes` for those that are not UTF-8.
    fn body(&self) -> Result<(ArrayRef, ArrayRef), ArrowError> {
        let texts: Vec<&dyn Array> =
            self.occurring.iter().map(|run| &self.runs[*run as usize].bodies.texts as &dyn Array).collect();
        let places: Vec<(usize, usize)> = self
            .occurrences
            .values()
            .iter()
            .zip(self.rows)
            .map(|(run, row)| (*run as usize, row.row as usize))
            .collect();
        let body = interleave(&texts, &places)?;
        if self.runs.iter().all(|run| run.bodies.originals.is_none()) {
            return Ok((body, new_null_array(&DataType::Binary, self.rows.len())));
        }
        let mut bytes = BinaryBuilder::new();
        for (run, row) in self.each() {
            let originals = run.bodies.originals.as_ref();
            bytes.append_option(originals.filter(|column| column.is_valid(row)).map(|column| column.value(row)));
        }
        Ok((body, Arc::new(bytes.finish())))
    }

    fn severity_number(&self) -> ArrayRef {
        if self.runs.iter().all(|run| run.severity_number.is_none()) {
            return new_null_array(&DataType::Int32, self.rows.len());
        }
        let mut builder = Int32Builder::with_capacity(self.rows.len());
        for (run, row) in self.each() {
            let number = run.severity_number.as_ref().map(|numbers| i32::from(numbers.value(row)));
            builder.append_option(number.filter(|number| *number != 0));
        }
        Arc::new(builder.finish())
    }

    fn severity_text(&self) -> ArrayRef {
        if self.runs.iter().all(|run| run.severity_text.is_none()) {
            return new_null_array(&DataType::Utf8, self.rows.len());
        }
        let mut builder = StringBuilder::new();
        for (run, row) in self.each() {
            let texts = run.severity_text.as_ref();
            builder.append_option(texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row)));
        }
        Arc::new(builder.finish())
    }

    /// Ids in hexadecimal, as people write them in queries.
    fn ids(
        &self,
        column: impl Fn(&DecodedRun) -> Option<&FixedSizeBinaryArray>,
        bytes: usize,
    ) -> Result<ArrayRef, ArrowError> {
        if self.runs.iter().all(|run| column(run).is_none()) {
            return Ok(new_null_array(&DataType::Utf8, self.rows.len()));
        }
        let mut digits = Vec::with_capacity(self.rows.len() * bytes * 2);
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        offsets.push(0);
        let mut valid = NullBufferBuilder::new(self.rows.len());
        for (run, row) in self.each() {
            let id = column(run).filter(|ids| ids.is_valid(row));
            for byte in id.map_or(&[][..], |ids| ids.value(row)) {
                digits.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            offsets.push(digits.len() as i32);
            valid.append(id.is_some());
        }
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(StringArray::try_new(offsets, digits.into(), valid.finish())?))
    }

    /// What the run has in common first, then the record's own, whose keys win.
    fn attributes(&self) -> Result<ArrayRef, ArrowError> {
        let schema = file_schema();
        let map_type = schema.field_with_name("attributes")?.data_type();
        let bare = |run: &DecodedRun| run.attributes.is_none() && run.key.attributes.is_empty();
        if self.runs.iter().all(bare) {
            return Ok(new_null_array(map_type, self.rows.len()));
        }
        let bytes = self.each().map(|(run, row)| run.attribute_bytes(row)).sum();
        let (mut keys, mut values) = (Texts::with_capacity(0, bytes), Texts::with_capacity(0, bytes));
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        offsets.push(0);
        for (run, rows) in self.each_span() {
            let Some(own) = &run.attributes else {
                for _ in rows.clone() {
                    keys.append_of(&run.constants.keys, 0..run.key.attributes.len())?;
                    values.append_of(&run.constants.values, 0..run.key.attributes.len())?;
                    offsets.push(keys.count());
                }
                continue;
            };
            let (own_keys, own_values) = (&own.keys, &own.values);
            if run.key.attributes.is_empty() {
                let (entries, before) = (own.entries(rows.clone()), *offsets.last().expect("it begins with one"));
                let first = entries.start as i32;
                keys.append_of(own_keys, entries.clone())?;
                values.append_of(own_values, entries)?;
                offsets.extend(own.ends()[rows.start + 1..=rows.end].iter().map(|end| end - first + before));
                continue;
            }
            for row in rows.clone() {
                let entries = own.entries(row..row + 1);
                if !run.constants.overridden {
                    keys.append_of(&run.constants.keys, 0..run.key.attributes.len())?;
                    values.append_of(&run.constants.values, 0..run.key.attributes.len())?;
                } else {
                    for (at, (key, _)) in run.key.attributes.iter().enumerate() {
                        if !entries.clone().any(|entry| own_keys.value(entry) == key) {
                            keys.append_of(&run.constants.keys, at..at + 1)?;
                            values.append_of(&run.constants.values, at..at + 1)?;
                        }
                    }
                }
                keys.append_of(own_keys, entries.clone())?;
                values.append_of(own_values, entries)?;
                offsets.push(keys.count());
            }
        }
        let DataType::Map(field, sorted) = map_type else { unreachable!("it is a map") };
        let DataType::Struct(fields) = field.data_type() else { unreachable!("its entries are structs") };
        let entries = StructArray::try_new(fields.clone(), vec![keys.into_texts()?, values.into_texts()?], None)?;
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, None, *sorted)?))
    }
}
