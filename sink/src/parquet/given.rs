//! How rows are given to a writer: with the columns of a file, some of them in a form that is cheaper to make and to encode.
//!
//! - Where a record comes from is given as [`Labels`](super::Labels): a merge knows it of a whole run, not of each row.
//! - Bodies are given as views, so that a merge need not copy them to put them in order.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};

use super::bodies::BODY;
use super::labels::{LABELS, labels_of};
use crate::schema::file_schema;

/// [`file_schema`] in that form.
pub fn given_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| as_given(&file_schema()));
    SCHEMA.clone()
}

fn as_given(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| {
        let data_type = match field.name().as_str() {
            name if LABELS.contains(&name) => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            BODY => DataType::Utf8View,
            _ => return field.clone(),
        };
        Arc::new(Field::new(field.name(), data_type, false))
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The columns of rows that begin with those of [`file_schema`], in whichever form, as a file has them.
pub fn schema_in_file(rows: &Schema) -> SchemaRef {
    let columns = file_schema();
    let others = &rows.fields()[columns.fields().len()..];
    match others.is_empty() {
        true => columns,
        false => Arc::new(Schema::new(columns.fields().iter().chain(others).cloned().collect::<Vec<_>>())),
    }
}

/// `rows` in that form, whether they are already or not.
pub fn given(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut columns = rows.columns().to_vec();
    for column in LABELS.iter().map(|name| rows.schema_ref().index_of(name)) {
        let column = &mut columns[column?];
        if let Some(texts) = column.as_string_opt() {
            *column = Arc::new(labels_of(texts)?);
        }
    }
    let body = &mut columns[rows.schema_ref().index_of(BODY)?];
    if let Some(texts) = body.as_string_opt::<i32>() {
        *body = Arc::new(StringViewArray::from(texts));
    }
    let schema = match rows.num_columns() == file_schema().fields().len() {
        true => given_schema(),
        false => as_given(rows.schema_ref()),
    };
    RecordBatch::try_new(schema, columns)
}

/// About the bytes of memory that rows take, in whichever form. What views are of is mostly other rows.
pub fn bytes(rows: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| match column.as_string_view_opt() {
        Some(texts) => size_of_val(&texts.views()[..]) + texts.total_bytes_len(),
        None => column.get_array_memory_size(),
    };
    rows.columns().iter().map(bytes).sum()
}
