//! Single cells as text, where a format cannot take a column as it is.
//!
//! Owns what makes a log line harmless on a terminal: a record's body comes from anyone who can log.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

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

/// Text that a terminal shows and does not obey: `ESC` becomes `\u{1b}`.
///
/// A line feed stays, since it only starts a new line inside its cell, and plans and stack traces need it.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || reorders_text(c) => {
                write!(out, "\\u{{{:x}}}", c as u32).expect("a string takes what it is given");
            }
            c => out.push(c),
        }
    }
    out
}

/// JSON that a terminal shows and does not obey, and that is still the same JSON.
///
/// JSON itself escapes what is below a space; the rest, and other marks, are between quotes, where escapes are read.
pub fn harmless_json(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if c.is_control() || reorders_text(c) => {
                write!(out, "\\u{:04x}", c as u32).expect("a string takes what it is given");
            }
            c => out.push(c),
        }
    }
    out.into_bytes()
}

/// Marks that make a line read otherwise than it is stored, and separators that some terminals take for a new line.
fn reorders_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(harmless("\u{1b}[2Jgone\u{7}"), "\\u{1b}[2Jgone\\u{7}");
        assert_eq!(harmless("\u{9b}31m"), "\\u{9b}31m", "the one-character form of ESC [");
        assert_eq!(harmless("over\rwritten\t\u{7f}\0"), "over\\rwritten\\t\\u{7f}\\u{0}");
        assert_eq!(harmless("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
    }

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        let text = "größer 日志 🪵\nsecond line";
        assert_eq!(harmless(text), text);
    }
}
