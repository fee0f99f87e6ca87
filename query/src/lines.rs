//! Records as lines: `timestamp host category body`.
//!
//! The lines of a body that has more than one are indented, so that none can pass for a record.

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::ArrowError;

/// One record a line; a column that is not there is left out.
pub(crate) fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = FormatOptions::default();
    let formatted = |name: &str| batch.column_by_name(name).map(|column| ArrayFormatter::try_new(column, &options));
    let heads: Vec<_> =
        ["timestamp", "host", "category"].into_iter().filter_map(formatted).collect::<Result<_, _>>()?;
    let bodies = batch.column_by_name("body").and_then(|column| column.as_string_opt::<i32>());
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        for head in &heads {
            write!(out, "{} ", head.value(row)).map_err(|error| ArrowError::from_external_error(Box::new(error)))?;
        }
        if let Some(bodies) = bodies.filter(|bodies| bodies.is_valid(row)) {
            let mut lines = bodies.value(row).split('\n');
            out.extend_from_slice(lines.next().unwrap_or_default().as_bytes());
            for line in lines {
                out.extend_from_slice(b"\n    ");
                out.extend_from_slice(line.as_bytes());
            }
        }
        out.push(b'\n');
    }
    Ok(out)
}
