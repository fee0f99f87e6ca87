//! Attributes that have columns of their own in the table.
//!
//! Values are copied: every attribute stays in `attributes`, whatever its column can hold of it. So nothing is lost by a
//! value that is not of the column's type, and a column may come or go without a file being wrong.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use logboom_config::{Promoted, PromotedType};

use crate::parquet::Attributes;

/// The columns of these attributes.
pub fn columns(promoted: &[Promoted]) -> Vec<FieldRef> {
    let field = |promoted: &Promoted| {
        let data_type = match promoted.kind {
            PromotedType::String => DataType::Utf8,
            PromotedType::Int => DataType::Int64,
            PromotedType::Float => DataType::Float64,
            PromotedType::Bool => DataType::Boolean,
        };
        Arc::new(Field::new(&promoted.column, data_type, true))
    };
    promoted.iter().map(field).collect()
}

/// The columns of rows with those of these attributes at their end.
pub(crate) fn schema_with(rows: &SchemaRef, promoted: &[Promoted]) -> SchemaRef {
    if promoted.is_empty() {
        return rows.clone();
    }
    let fields: Vec<FieldRef> = rows.fields().iter().cloned().chain(columns(promoted)).collect();
    Arc::new(Schema::new(fields))
}

/// `rows`, in the form of [`given`](crate::parquet::given()), with the columns of these attributes, as [`schema_with`] has
/// them.
pub(crate) fn append(rows: &RecordBatch, promoted: &[Promoted]) -> Result<RecordBatch, ArrowError> {
    let attributes = Attributes::of(rows);
    let fields: Vec<FieldRef> = rows.schema_ref().fields().iter().cloned().chain(columns(promoted)).collect();
    let mut columns = rows.columns().to_vec();
    columns.extend(promoted.iter().map(|promoted| column(&attributes, promoted)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn column(attributes: &Attributes<'_>, promoted: &Promoted) -> ArrayRef {
    let values = values_of(attributes, &promoted.attribute);
    let rows = attributes.len();
    match promoted.kind {
        PromotedType::String => {
            let mut builder = StringBuilder::with_capacity(rows, rows * 8);
            values.for_each(|value| builder.append_option(value));
            Arc::new(builder.finish())
        }
        PromotedType::Int => {
            let mut builder = Int64Builder::with_capacity(rows);
            values.for_each(|value| builder.append_option(value.and_then(|value| value.parse().ok())));
            Arc::new(builder.finish())
        }
        PromotedType::Float => {
            let mut builder = Float64Builder::with_capacity(rows);
            let number = |value: &str| value.parse().ok().filter(|number: &f64| number.is_finite());
            values.for_each(|value| builder.append_option(value.and_then(number)));
            Arc::new(builder.finish())
        }
        PromotedType::Bool => {
            let mut builder = BooleanBuilder::with_capacity(rows);
            values.for_each(|value| builder.append_option(value.and_then(truth)));
            Arc::new(builder.finish())
        }
    }
}

/// The value of one attribute in each row.
fn values_of<'a>(attributes: &'a Attributes<'_>, name: &'a str) -> impl Iterator<Item = Option<&'a str>> {
    (0..attributes.len()).map(move |row| attributes.entries(row).find(|(key, _)| *key == name)?.1)
}

fn truth(value: &str) -> Option<bool> {
    [("true", true), ("false", false)].into_iter().find(|(text, _)| value.eq_ignore_ascii_case(text)).map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{MapBuilder, MapFieldNames};
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use arrow_array::{Array, Int32Array, new_null_array};

    use super::*;
    use crate::parquet::given_attributes;

    fn promoted(kind: PromotedType) -> Promoted {
        Promoted { attribute: "a.b".into(), column: "a_b".into(), kind }
    }

    /// One row for each; `None` is a row without attributes, `Some(None)` one where the attribute is null.
    fn attributes(values: &[Option<Option<&str>>]) -> ArrayRef {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_keys_field(Field::new("key", DataType::Utf8, false));
        for value in values {
            if let Some(value) = value {
                builder.keys().append_value("a");
                builder.values().append_value("another");
                builder.keys().append_value("a.b");
                builder.values().append_option(*value);
            }
            builder.append(value.is_some()).unwrap();
        }
        let common_of = Int32Array::from(vec![0; values.len()]);
        let maps = builder.finish();
        let none = new_null_array(maps.data_type(), 1).as_map().clone();
        given_attributes(common_of, none, maps).unwrap()
    }

    #[test]
    fn a_value_that_is_not_of_the_columns_type_is_null() {
        let texts = ["200", "-1", "1.5", "1e400", "NaN", "true", "FALSE", "", " 1", "9223372036854775808"];
        let values: Vec<_> = texts.iter().map(|text| Some(Some(*text))).chain([Some(None), None]).collect();
        let map = attributes(&values);
        let ints = column(&Attributes::of_column(&map), &promoted(PromotedType::Int));
        let ints: Vec<_> = ints.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ints[..3], [Some(200), Some(-1), None]);
        assert!(ints[3..].iter().all(Option::is_none));
        let floats = column(&Attributes::of_column(&map), &promoted(PromotedType::Float));
        let floats: Vec<_> = floats.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(floats[..5], [Some(200.0), Some(-1.0), Some(1.5), None, None]);
        assert_eq!((floats[9], floats[10], floats[11]), (Some(9_223_372_036_854_775_808.0), None, None));
        let truths = column(&Attributes::of_column(&map), &promoted(PromotedType::Bool));
        let truths: Vec<_> = truths.as_boolean().iter().collect();
        assert_eq!((truths[0], truths[5], truths[6], truths[7]), (None, Some(true), Some(false), None));
        let strings = column(&Attributes::of_column(&map), &promoted(PromotedType::String));
        let strings: Vec<_> = strings.as_string::<i32>().iter().collect();
        assert_eq!(strings[..10], texts.map(Some));
        assert_eq!(strings[10..], [None, None]);
    }
}
