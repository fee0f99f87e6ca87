//! Rows of several runs, in the order of the merge, as one record batch of [`given_schema`].
//!
//! Bodies are not copied: the batch has views of them, and with them holds what the runs were decoded to.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};
use arrow_select::interleave::interleave;

use super::MergeError;
use super::run::{Constants, DecodedRun, RowRef};
use crate::Error;
use crate::parquet::{Labels, given_attributes, given_schema, map_type};

/// What severities as their sources write them mostly come to.
const SEVERITY_TEXT_BYTES: usize = 5;
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
        instants(from.observed()),
        from.labels(|run| &run.key.category)?,
        from.labels(|run| &run.host)?,
        from.labels(|run| &run.key.source)?,
        from.severity_number(),
        from.severity_text()?,
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

    /// Adds some of other texts. There may be more bytes by then than an offset can say: see [`Self::into_texts`].
    fn append_of(&mut self, texts: &StringArray, rows: Range<usize>) {
        let offsets = &texts.value_offsets()[rows.start..=rows.end];
        let (from, to, at) = (offsets[0], offsets[rows.len()], self.bytes.len() as i32);
        self.bytes.extend_from_slice(&texts.value_data()[from as usize..to as usize]);
        self.offsets.extend(offsets[1..].iter().map(|offset| (offset - from).wrapping_add(at)));
    }

    /// Adds one text.
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.bytes.len() as i32);
    }

    /// How many there are.
    fn count(&self) -> i32 {
        self.offsets.len() as i32 - 1
    }

    fn into_texts(self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        if i32::try_from(self.bytes.len()).is_err() {
            return Err(ArrowError::OffsetOverflowError(self.bytes.len()));
        }
        Ok(Arc::new(StringArray::try_new(OffsetBuffer::new(self.offsets.into()), self.bytes.into(), nulls)?))
    }
}

/// Attributes of rows, one after the other.
struct Entries {
    keys: Texts,
    values: Texts,
    /// Where those of each row end.
    ends: Vec<i32>,
}

impl Entries {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { keys: Texts::with_capacity(0, bytes), values: Texts::with_capacity(0, bytes), ends }
    }

    fn append_of(&mut self, keys: &StringArray, values: &StringArray, entries: Range<usize>) {
        self.keys.append_of(keys, entries.clone());
        self.values.append_of(values, entries);
    }

    fn end_row(&mut self) {
        self.ends.push(self.keys.count());
    }

    fn into_maps(self) -> Result<MapArray, ArrowError> {
        let DataType::Map(field, sorted) = map_type() else { unreachable!("it is a map") };
        let DataType::Struct(fields) = field.data_type() else { unreachable!("its entries are structs") };
        let texts = vec![self.keys.into_texts(None)?, self.values.into_texts(None)?];
        let entries = StructArray::try_new(fields.clone(), texts, None)?;
        MapArray::try_new(field.clone(), OffsetBuffer::new(self.ends.into()), entries, None, sorted)
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
        let texts = self.of_occurring(|run| &run.bodies.texts as &dyn Array);
        let places = self.occurrences.values().iter().zip(self.rows);
        let places: Vec<_> = places.map(|(run, row)| (*run as usize, row.row as usize)).collect();
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

    fn observed(&self) -> impl Iterator<Item = i64> {
        self.each_in(self.of_occurring(|run| &run.observed.values()[..])).map(|(observed, row)| observed[row])
    }

    /// Something of every run that has some of the rows.
    fn of_occurring<T>(&self, of: impl Fn(&'a DecodedRun) -> T) -> Vec<T> {
        self.occurring.iter().map(|run| of(&self.runs[*run as usize])).collect()
    }

    /// Each row, with what [`Self::of_occurring`] has of its run: a run itself is too large to be asked again for each.
    fn each_in<T: Copy>(&self, of_occurring: Vec<T>) -> impl Iterator<Item = (T, usize)> {
        let places = self.occurrences.values().iter().zip(self.rows);
        places.map(move |(run, row)| (of_occurring[*run as usize], row.row as usize))
    }

    fn severity_number(&self) -> ArrayRef {
        let columns = self.of_occurring(|run| run.severity_number.as_ref().map(|numbers| &numbers.values()[..]));
        if columns.iter().all(Option::is_none) {
            return new_null_array(&DataType::Int32, self.rows.len());
        }
        let number = |(numbers, row): (Option<&[u8]>, usize)| numbers.map_or(0, |numbers| i32::from(numbers[row]));
        let numbers: Vec<i32> = self.each_in(columns).map(number).collect();
        let valid = NullBuffer::from_iter(numbers.iter().map(|number| *number != 0));
        Arc::new(Int32Array::new(numbers.into(), Some(valid).filter(|valid| valid.null_count() > 0)))
    }

    fn severity_text(&self) -> Result<ArrayRef, ArrowError> {
        let columns = self.of_occurring(|run| run.severity_text.as_ref());
        if columns.iter().all(Option::is_none) {
            return Ok(new_null_array(&DataType::Utf8, self.rows.len()));
        }
        let mut texts = Texts::with_capacity(self.rows.len(), self.rows.len() * SEVERITY_TEXT_BYTES);
        let mut valid = NullBufferBuilder::new(self.rows.len());
        for (column, row) in self.each_in(columns) {
            let text = column.filter(|column| column.is_valid(row)).map(|column| column.value(row));
            texts.push(text.unwrap_or_default().as_bytes());
            valid.append(text.is_some());
        }
        texts.into_texts(valid.finish())
    }

    /// Ids of up to 16 bytes in hexadecimal, as people write them in queries.
    fn ids(
        &self,
        column: impl Fn(&'a DecodedRun) -> Option<&'a FixedSizeBinaryArray>,
        bytes: usize,
    ) -> Result<ArrayRef, ArrowError> {
        let columns = self.of_occurring(column);
        if columns.iter().all(Option::is_none) {
            return Ok(new_null_array(&DataType::Utf8, self.rows.len()));
        }
        let mut texts = Texts::with_capacity(self.rows.len(), self.rows.len() * bytes * 2);
        let mut valid = NullBufferBuilder::new(self.rows.len());
        let mut digits = [0; 32];
        for (column, row) in self.each_in(columns) {
            let id = column.filter(|ids| ids.is_valid(row)).map_or(&[][..], |ids| ids.value(row));
            for (digits, byte) in digits.chunks_exact_mut(2).zip(id) {
                digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
            texts.push(&digits[..id.len() * 2]);
            valid.append(!id.is_empty());
        }
        texts.into_texts(valid.finish())
    }

    /// What the run has in common once for it, and the record's own, whose keys win.
    fn attributes(&self) -> Result<ArrayRef, ArrowError> {
        let bytes = self.each_span().map(|(run, rows)| run.own_attribute_bytes(rows.clone())).sum();
        let mut own = Entries::with_capacity(self.rows.len(), bytes);
        for (run, rows) in self.each_span() {
            let Some(of_rows) = &run.attributes else {
                own.ends.extend(std::iter::repeat_n(own.keys.count(), rows.len()));
                continue;
            };
            if !run.constants.overridden {
                let (entries, before) = (of_rows.entries(rows.clone()), own.keys.count());
                let first = entries.start as i32;
                own.append_of(&of_rows.keys, &of_rows.values, entries);
                own.ends.extend(of_rows.ends()[rows.start + 1..=rows.end].iter().map(|end| end - first + before));
                continue;
            }
            for row in rows.clone() {
                let entries = of_rows.entries(row..row + 1);
                for (at, key) in run.constants.keys.iter().flatten().enumerate() {
                    if !entries.clone().any(|entry| of_rows.keys.value(entry) == key) {
                        own.append_of(&run.constants.keys, &run.constants.values, at..at + 1);
                    }
                }
                own.append_of(&of_rows.keys, &of_rows.values, entries);
                own.end_row();
            }
        }
        let mut common = Entries::with_capacity(self.occurring.len(), 0);
        for Constants { keys, values, overridden, .. } in self.of_occurring(|run| &run.constants) {
            common.append_of(keys, values, 0..if *overridden { 0 } else { keys.len() });
            common.end_row();
        }
        // Where no row has any, none has a map.
        let bare = own.keys.count() == 0 && common.keys.count() == 0;
        let own = if bare { new_null_array(&map_type(), self.rows.len()).as_map().clone() } else { own.into_maps()? };
        given_attributes(self.occurrences.clone(), common.into_maps()?, own)
    }
}
