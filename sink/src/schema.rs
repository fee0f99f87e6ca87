//! The columns of a sink file and of the table, in one place.
//!
//! Owns the column names, their Arrow types, and the Delta schema string that says the same. A table may have columns
//! besides these: those that settings promote, and those of later versions.
//! Timestamps are microseconds in UTC, because that is the only instant type that Delta has.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use logboom_config::FileFormat;

/// The partition column: UTC date of the batch by the collector's clock. It is a folder, not a column of the files.
pub const PARTITION_COLUMN: &str = "date";

/// The columns inside a sink file, in order.
///
/// Rows are sorted by (`category`, `timestamp`, `stream`, `seq`); (`stream`, `seq`) is unique for ever.
pub fn file_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("timestamp", instant.clone(), false),
            Field::new("observed_timestamp", instant, false),
            Field::new("category", DataType::Utf8, false),
            Field::new("host", DataType::Utf8, false),
            Field::new("source", DataType::Utf8, false),
            Field::new("severity_number", DataType::Int32, true),
            Field::new("severity_text", DataType::Utf8, true),
            Field::new("body", DataType::Utf8, false),
            Field::new("body_bytes", DataType::Binary, true),
            Field::new_map(
                "attributes",
                "key_value",
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Utf8, true),
                false,
                true,
            ),
            Field::new("trace_id", DataType::Utf8, true),
            Field::new("span_id", DataType::Utf8, true),
            Field::new("stream", DataType::Utf8, false),
            Field::new("seq", DataType::Int64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The columns of the table as a reader sees them: those of the files, then the partition column.
pub fn table_schema() -> SchemaRef {
    partitioned(&file_schema())
}

/// The columns of an index, in order: one row for each member of each JSON file. See [`crate::json`].
pub fn index_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let instant = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false);
        let text = |name| Field::new(name, DataType::Utf8, false);
        let number = |name| Field::new(name, DataType::Int64, false);
        Arc::new(Schema::new(vec![
            text("category"),
            text("path"),
            number("offset"),
            number("length"),
            number("raw_length"),
            number("crc32c"),
            number("records"),
            instant("timestamp_min"),
            instant("timestamp_max"),
            instant("observed_timestamp_min"),
            instant("observed_timestamp_max"),
            text("host_min"),
            text("host_max"),
        ]))
    });
    SCHEMA.clone()
}

fn partitioned(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(PARTITION_COLUMN, DataType::Date32, false)));
    Arc::new(Schema::new(fields))
}

/// The columns of the files that an `add` names, then the partition column: those of records, or of an index of JSON.
pub fn committed_schema(format: FileFormat) -> SchemaRef {
    partitioned(&match format {
        FileFormat::Parquet => file_schema(),
        FileFormat::Json => index_schema(),
    })
}

/// The schema of a table with sink files of this format, as the Delta protocol writes it in a `metaData` action (section
/// "Schema Serialization Format").
pub fn delta_schema(format: FileFormat) -> String {
    let fields: Vec<_> = committed_schema(format).fields().iter().map(|field| delta_field(field)).collect();
    serde_json::json!({ "type": "struct", "fields": fields }).to_string()
}

/// One column in that form.
pub(crate) fn delta_field(field: &Field) -> serde_json::Value {
    // Delta columns stay nullable so that any engine may read them; the files themselves are stricter.
    serde_json::json!({
        "name": field.name(),
        "type": delta_type(field.data_type()),
        "nullable": true,
        "metadata": {},
    })
}

fn delta_type(data_type: &DataType) -> serde_json::Value {
    match data_type {
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Utf8 => "string".into(),
        DataType::Binary => "binary".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "long".into(),
        DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Map(..) => serde_json::json!({
            "type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": true,
        }),
        other => unreachable!("no column has the type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_know_the_names_that_no_promoted_attribute_may_take() {
        let names: Vec<String> = table_schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, logboom_config::TABLE_COLUMNS);
    }
}
