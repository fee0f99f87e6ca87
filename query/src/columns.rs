//! The columns of the table as queries see them.
//!
//! Texts and bytes are read as Arrow views: a page is decoded without a copy of what is in it, and short texts are
//! compared where they stand.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use logboom_sink::schema;

/// The columns inside a sink file.
pub(crate) fn file_columns() -> SchemaRef {
    static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| views(&schema::file_schema()));
    COLUMNS.clone()
}

/// Those, and then the partition column.
pub(crate) fn table_columns() -> SchemaRef {
    static COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| views(&schema::table_schema()));
    COLUMNS.clone()
}

fn views(schema: &Schema) -> SchemaRef {
    let view = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        DataType::Binary => Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView)),
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(view).collect::<Vec<_>>()))
}
