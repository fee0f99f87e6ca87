//! How rows are given to a writer: with the columns of a file, some of them in a form that is cheaper to make and to encode.
//!
//! - Where a record comes from is given as [`Labels`](super::Labels): a merge knows it of a whole run, not of each row.
//! - Bodies are given as views, so that a merge need not copy them to put them in order.
//! - Attributes that all records of a run have in common are given once for the run, the others by row: [`Attributes`].

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, MapArray, RecordBatch, StringArray, StringViewArray, StructArray,
    new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::attributes::ATTRIBUTES;
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
            ATTRIBUTES => DataType::Struct(attributes_fields()),
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
    let attributes = &mut columns[rows.schema_ref().index_of(ATTRIBUTES)?];
    if let Some(maps) = attributes.as_map_opt() {
        let none = new_null_array(&map_type(), 1).as_map().clone();
        *attributes = given_attributes(Int32Array::from(vec![0; maps.len()]), none, maps.clone())?;
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

/// The type of the column of attributes in a file.
pub fn map_type() -> DataType {
    file_schema().field_with_name(ATTRIBUTES).expect("it is a column of files").data_type().clone()
}

fn attributes_fields() -> Fields {
    let common = DataType::Dictionary(Box::new(DataType::Int32), Box::new(map_type()));
    vec![Field::new("common", common, true), Field::new("own", map_type(), true)].into()
}

/// The column of attributes: a row has those of `common` at the place `common_of`, and `own` ones. It is null where `own`
/// is and there are none in common. No key may be in both.
pub fn given_attributes(common_of: Int32Array, common: MapArray, own: MapArray) -> Result<ArrayRef, ArrowError> {
    let common = DictionaryArray::<Int32Type>::try_new(common_of, Arc::new(common))?;
    Ok(Arc::new(StructArray::try_new(attributes_fields(), vec![Arc::new(common), Arc::new(own)], None)?))
}

/// Attributes in that form, their parts at hand.
pub struct Attributes<'a> {
    /// Where the ones in common are, by row.
    pub common_of: &'a [i32],
    pub common: Maps<'a>,
    pub own: Maps<'a>,
}

/// Maps of texts, and their parts at hand: a map is slow to ask for them.
pub struct Maps<'a> {
    maps: &'a MapArray,
    ends: &'a [i32],
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Maps<'a> {
    fn of(maps: &'a MapArray) -> Self {
        let (keys, values) = (maps.keys().as_string(), maps.values().as_string());
        Self { maps, ends: maps.value_offsets(), keys, values }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Whether there is none, which is not the same as one without entries.
    pub fn is_null(&self, at: usize) -> bool {
        self.maps.is_null(at)
    }

    /// The entries of one of them.
    pub fn entries(&self, at: usize) -> Range<usize> {
        match self.is_null(at) {
            true => 0..0,
            false => self.ends[at] as usize..self.ends[at + 1] as usize,
        }
    }

    /// The key and the value of an entry.
    pub fn entry(&self, at: usize) -> (&'a str, Option<&'a str>) {
        (self.keys.value(at), self.values.is_valid(at).then(|| self.values.value(at)))
    }
}

impl<'a> Attributes<'a> {
    /// The column of `rows`, which are in that form.
    pub fn of(rows: &'a RecordBatch) -> Self {
        Self::of_column(&rows[ATTRIBUTES])
    }

    /// The column alone.
    pub fn of_column(column: &'a dyn Array) -> Self {
        let column = column.as_struct();
        let common = column.column(0).as_dictionary::<Int32Type>();
        Self {
            common_of: common.keys().values(),
            common: Maps::of(common.values().as_map()),
            own: Maps::of(column.column(1).as_map()),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.common_of.len()
    }

    /// Whether the row has no map, not even an empty one.
    pub fn is_null(&self, row: usize) -> bool {
        self.own.is_null(row) && self.common.entries(self.common_of[row] as usize).is_empty()
    }

    /// The keys and values of a row.
    pub fn entries(&self, row: usize) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let common = self.common.entries(self.common_of[row] as usize).map(|at| self.common.entry(at));
        common.chain(self.own.entries(row).map(|at| self.own.entry(at)))
    }
}
