//! The columns of one snapshot: as a file may have them, and as a query sees them.
//!
//! Every table has those that this version writes; an older table, or a file of it, lacks some, and they are null there.
//! After them come those that only this table has.
//!
//! Texts and bytes are read as Arrow views: a page is decoded without a copy of what is in it, and short texts are
//! compared where they stand.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use logboom_sink::schema::{PARTITION_COLUMN, file_schema, table_schema};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// Those inside of files.
    pub(crate) file: SchemaRef,
    /// The same, then the partition column.
    pub(crate) table: SchemaRef,
    /// The partition column.
    pub(crate) date: FieldRef,
}

impl Columns {
    /// The columns of a table that has `more` of them than others.
    pub(crate) fn with(more: &[FieldRef]) -> Self {
        let date = table_schema().field_with_name(PARTITION_COLUMN).expect("the table is partitioned").clone();
        Self::of(file_schema().fields().iter().chain(more).map(view).collect(), Arc::new(date))
    }

    /// The same columns without views, which do not travel well: a part of a batch takes all that its views look into along.
    #[cfg(feature = "remote")]
    pub(crate) fn without_views(&self) -> Self {
        Self::of(self.file.fields().iter().map(owned).collect(), self.date.clone())
    }

    fn of(file: Vec<FieldRef>, date: FieldRef) -> Self {
        let table: Vec<FieldRef> = file.iter().chain([&date]).cloned().collect();
        Self { file: Arc::new(Schema::new(file)), table: Arc::new(Schema::new(table)), date }
    }
}

/// The columns of every table, without views: as JSON is decoded.
pub(crate) fn plain() -> Columns {
    let table = table_schema();
    let date = Arc::new(table.field_with_name(PARTITION_COLUMN).expect("the table is partitioned").clone());
    Columns { file: file_schema(), table, date }
}

/// The columns of a file, of which those that repeat are read as the dictionaries that they are stored as: what is asked
/// of a value is asked once.
pub(crate) fn with_dictionaries(schema: &SchemaRef) -> SchemaRef {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = schema.fields().iter().map(|field| match (field.name().as_str(), field.data_type()) {
        ("category" | "host", DataType::Utf8) => {
            Arc::new(Field::new(field.name(), dictionary.clone(), field.is_nullable()))
        }
        _ => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

fn view(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        DataType::Binary => Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView)),
        _ => field.clone(),
    }
}

#[cfg(feature = "remote")]
fn owned(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        DataType::BinaryView => Arc::new(field.as_ref().clone().with_data_type(DataType::Binary)),
        _ => field.clone(),
    }
}
