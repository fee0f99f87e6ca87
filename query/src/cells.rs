//! Single cells as text, where a format cannot take a column as it is.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use logboom_config::harmless;

/// The schema of [`readable`] batches: every column as text, its name made harmless too.
pub(crate) fn readable_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| Field::new(harmless(field.name()), DataType::Utf8, false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch for people: every cell as text without control characters.
pub(crate) fn readable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::default().with_display_error(true);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        let cells = ArrayFormatter::try_new(column, &options)?;
        let text = (0..column.len()).map(|row| Some(harmless(&cells.value(row).to_string())));
        columns.push(Arc::new(text.collect::<StringArray>()));
    }
    RecordBatch::try_new(readable_schema(batch.schema_ref()), columns)
}

/// The schema of [`flat`] batches: maps, lists and structs as text.
pub(crate) fn flat_schema(schema: &Schema) -> SchemaRef {
    let flat = |field: &FieldRef| {
        if field.data_type().is_nested() {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        } else {
            field.clone()
        }
    };
    Arc::new(Schema::new(schema.fields().iter().map(flat).collect::<Vec<_>>()))
}

/// A batch for formats without nesting: maps, lists and structs become JSON text.
pub(crate) fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns
        .map(|(field, column)| if field.data_type().is_nested() { json(field, column) } else { Ok(column.clone()) });
    RecordBatch::try_new(flat_schema(&schema), columns.collect::<Result<_, _>>()?)
}

fn json(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, column, &options)?;
    let cells = (0..column.len()).map(|row| {
        if encoder.is_null(row) {
            return None;
        }
        let mut text = Vec::new();
        encoder.encode(row, &mut text);
        Some(String::from_utf8(text).expect("JSON is UTF-8"))
    });
    Ok(Arc::new(cells.collect::<StringArray>()))
}
