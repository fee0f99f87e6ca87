//! Rows of several runs, in the order of the merge, as one record batch of [`file_schema`].

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, BinaryBuilder, Int32Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType};

use super::MergeError;
use super::run::{DecodedRun, RowRef};
use crate::Error;
use crate::schema::file_schema;

/// The given rows of `runs`, which are all of one category.
pub fn gather(runs: &[DecodedRun], rows: &[RowRef]) -> Result<RecordBatch, MergeError> {
    batch(&Gather { runs, rows }).map_err(|error| MergeError::Store(Error::encoding(error)))
}

fn batch(from: &Gather<'_>) -> Result<RecordBatch, ArrowError> {
    let (body, body_bytes) = from.body()?;
    let columns: Vec<ArrayRef> = vec![
        instants(from.rows.iter().map(|row| row.timestamp)),
        instants(from.each().map(|(run, row)| run.observed.value(row))),
        from.texts(|run| &run.key.category),
        from.texts(|run| &run.host),
        from.texts(|run| &run.key.source),
        from.severity_number(),
        from.severity_text(),
        body,
        body_bytes,
        from.attributes()?,
        from.ids(|run| run.trace_id.as_ref(), 16),
        from.ids(|run| run.span_id.as_ref(), 8),
        from.texts(|run| &run.stream),
        Arc::new(Int64Array::from_iter_values(from.each().map(|(run, row)| run.seq(row) as i64))),
    ];
    RecordBatch::try_new(file_schema(), columns)
}

/// Microseconds, rounded down, so that order and day stay.
fn instants(nanoseconds: impl Iterator<Item = i64>) -> ArrayRef {
    let values = TimestampMicrosecondArray::from_iter_values(nanoseconds.map(|ns| ns.div_euclid(1000)));
    Arc::new(values.with_timezone("UTC"))
}

struct Gather<'a> {
    runs: &'a [DecodedRun],
    rows: &'a [RowRef],
}

impl<'a> Gather<'a> {
    fn each(&self) -> impl Iterator<Item = (&'a DecodedRun, usize)> + use<'a> {
        let runs = self.runs;
        self.rows.iter().map(move |row| (&runs[row.run as usize], row.row as usize))
    }

    /// A column that every row of a run has the same.
    fn texts(&self, text: impl Fn(&DecodedRun) -> &str) -> ArrayRef {
        let bytes = self.runs.iter().map(|run| text(run).len()).max().unwrap_or(0) * self.rows.len();
        let mut builder = StringBuilder::with_capacity(self.rows.len(), bytes);
        for (run, _) in self.each() {
            builder.append_value(text(run));
        }
        Arc::new(builder.finish())
    }

    /// `body`, and `body_bytes` for those that are not UTF-8.
    fn body(&self) -> Result<(ArrayRef, ArrayRef), ArrowError> {
        let bytes = self.each().map(|(run, row)| run.body.value_length(row) as usize).sum();
        let mut builder = BinaryBuilder::with_capacity(self.rows.len(), bytes);
        for (run, row) in self.each() {
            builder.append_value(run.body.value(row));
        }
        let original = builder.finish();
        match StringArray::try_from_binary(original.clone()) {
            Ok(body) => Ok((Arc::new(body), new_null_array(&DataType::Binary, self.rows.len()))),
            Err(_) => Ok(lossy(&original)),
        }
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
    fn ids(&self, column: impl Fn(&DecodedRun) -> Option<&FixedSizeBinaryArray>, bytes: usize) -> ArrayRef {
        if self.runs.iter().all(|run| column(run).is_none()) {
            return new_null_array(&DataType::Utf8, self.rows.len());
        }
        let mut builder = StringBuilder::with_capacity(self.rows.len(), self.rows.len() * bytes * 2);
        let mut digits = String::with_capacity(bytes * 2);
        for (run, row) in self.each() {
            match column(run).filter(|ids| ids.is_valid(row)) {
                Some(ids) => {
                    digits.clear();
                    for byte in ids.value(row) {
                        for nibble in [byte >> 4, byte & 15] {
                            digits.push(char::from_digit(u32::from(nibble), 16).expect("four bits"));
                        }
                    }
                    builder.append_value(&digits);
                }
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    /// What the run has in common first, then the record's own, whose keys win.
    fn attributes(&self) -> Result<ArrayRef, ArrowError> {
        let schema = file_schema();
        let map_type = schema.field_with_name("attributes")?.data_type();
        let bare = |run: &DecodedRun| run.attributes.is_none() && run.key.attributes.is_empty();
        if self.runs.iter().all(bare) {
            return Ok(new_null_array(map_type, self.rows.len()));
        }
        let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        offsets.push(0i32);
        for (run, row) in self.each() {
            let own = run.attributes.as_ref().filter(|map| map.is_valid(row));
            let range =
                own.map_or(0..0, |map| map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize);
            let own = own
                .filter(|_| !range.is_empty())
                .map(|map| (map.keys().as_string::<i32>(), map.values().as_string::<i32>()));
            for (key, value) in &run.key.attributes {
                if !own.is_some_and(|(keys, _)| range.clone().any(|at| keys.value(at) == key)) {
                    keys.append_value(key);
                    values.append_value(value);
                }
            }
            if let Some((own_keys, own_values)) = own {
                for at in range {
                    keys.append_value(own_keys.value(at));
                    values.append_option(own_values.is_valid(at).then(|| own_values.value(at)));
                }
            }
            let end = i32::try_from(keys.len()).map_err(|_| ArrowError::OffsetOverflowError(keys.len()))?;
            offsets.push(end);
        }
        let DataType::Map(field, sorted) = map_type else { unreachable!("it is a map") };
        let DataType::Struct(fields) = field.data_type() else { unreachable!("its entries are structs") };
        let entries =
            StructArray::try_new(fields.clone(), vec![Arc::new(keys.finish()), Arc::new(values.finish())], None)?;
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, None, *sorted)?))
    }
}

/// Text for reading where the bytes are not UTF-8, and those bytes beside it.
fn lossy(original: &BinaryArray) -> (ArrayRef, ArrayRef) {
    let mut body = StringBuilder::with_capacity(original.len(), original.value_data().len());
    let mut bytes = BinaryBuilder::new();
    for value in original.iter().map(Option::unwrap_or_default) {
        match str::from_utf8(value) {
            Ok(text) => {
                body.append_value(text);
                bytes.append_null();
            }
            Err(_) => {
                body.append_value(String::from_utf8_lossy(value));
                bytes.append_value(value);
            }
        }
    }
    (Arc::new(body.finish()), Arc::new(bytes.finish()))
}
