//! The columns of attributes: keys and values, most of which the row before had as well.
//!
//! Owns how both leaves of the map are encoded. The Parquet library would hash each key and each value; here what rows
//! have in common is looked up once, and of the others a key is first held against the one at the same place of the row
//! before, and a value against the last one of its key. What comes out is what the library writes as well: a dictionary,
//! until it is too large, and then the texts themselves.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, DataPage, push_plain};
use super::dictionary::Dictionary;
use super::given::Attributes;
use super::hybrid;

/// The name of the column.
pub const ATTRIBUTES: &str = "attributes";

// Definition levels: what there is of a map that may be null, has any number of entries, and values that may be null.
const EMPTY: u8 = 1;
const KEY: u8 = 2;
const VALUE: u8 = 3;
// Repetition levels.
const FIRST_OF_ROW: u8 = 0;
const ANOTHER: u8 = 1;

/// The column chunks of one row group that are being written.
pub struct AttributeColumns {
    rows_per_page: usize,
    keys: TextColumn,
    values: TextColumn,
    /// The ids of the keys of the last row that had some of its own, by their place in it.
    keys_before: Vec<u32>,
    /// The id of the last value of each key, by the key's.
    values_before: Vec<Option<u32>>,
    /// The rows of the page that is being filled, which are the same of both.
    rows: usize,
    repetition: Vec<u8>,
    /// Of the values; that of keys is never more than [`KEY`].
    definition: Vec<u8>,
    /// Kept from one page to the next.
    raw: Vec<u8>,
}

/// Keys or values.
struct TextColumn {
    page_bytes: usize,
    dictionary_bytes: usize,
    dictionary: Dictionary,
    /// Whether the texts of the open page are ids of the dictionary.
    by_id: bool,
    ids: Vec<u32>,
    texts: Vec<u8>,
    /// The pages that are full.
    chunk: Chunk,
}

impl TextColumn {
    fn new(descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let path = descr.path();
        assert_eq!(properties.statistics_enabled(path), EnabledStatistics::None, "{path} has no statistics");
        Ok(Self {
            page_bytes: properties.column_data_page_size_limit(path),
            dictionary_bytes: properties.column_dictionary_page_size_limit(path),
            dictionary: Dictionary::default(),
            by_id: properties.dictionary_enabled(path),
            ids: Vec::new(),
            texts: Vec::new(),
            chunk: Chunk::new(descr, properties)?,
        })
    }

    /// Appends a text, which may be the one with the id `guess`. Its id, if it is written as one.
    fn push(&mut self, text: &[u8], guess: Option<u32>) -> Option<u32> {
        if !self.by_id {
            push_plain(text, &mut self.texts);
            return None;
        }
        let id = match guess {
            Some(id) if self.dictionary.text(id) == text => id,
            _ => self.dictionary.id(text),
        };
        self.ids.push(id);
        Some(id)
    }

    /// About the bytes of the open page.
    fn open_bytes(&self) -> usize {
        self.texts.len() + self.ids.len() * usize::from(self.dictionary.width()) / 8
    }

    /// Whether the open page has to end.
    fn is_full(&self) -> bool {
        self.open_bytes() >= self.page_bytes || self.outgrown()
    }

    /// Whether the dictionary is as large as it may be: what comes after the open page is not put into it.
    fn outgrown(&self) -> bool {
        self.by_id && self.dictionary.page().len() >= self.dictionary_bytes
    }

    fn bytes(&self) -> usize {
        self.chunk.bytes() + self.dictionary.page().len() + self.open_bytes()
    }

    /// Ends the page; `raw` has its levels.
    fn end_page(&mut self, raw: &mut Vec<u8>, rows: usize, levels: usize) -> Result<()> {
        let encoding = match self.by_id {
            true => {
                self.dictionary.encode(&self.ids, raw);
                Encoding::RLE_DICTIONARY
            }
            false => {
                raw.extend_from_slice(&self.texts);
                Encoding::PLAIN
            }
        };
        self.chunk.push(&DataPage { raw, encoding, rows, levels, text_bytes: None })?;
        self.ids.clear();
        self.texts.clear();
        self.by_id &= !self.outgrown();
        Ok(())
    }

    fn close(self) -> Result<(Bytes, ColumnCloseResult)> {
        let Self { chunk, dictionary, .. } = self;
        chunk.close(Some((dictionary.page(), dictionary.len())))?.described(|metadata| metadata, None)
    }
}

impl AttributeColumns {
    /// Of the leaves of a map, as the schema of sink files has it.
    pub fn new(keys: ColumnDescPtr, values: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        for (leaf, definition) in [(&keys, KEY), (&values, VALUE)] {
            let levels = (leaf.max_rep_level(), leaf.max_def_level());
            assert_eq!(levels, (ANOTHER.into(), definition.into()), "the levels of {}", leaf.path());
        }
        Ok(Self {
            rows_per_page: properties.data_page_row_count_limit(),
            keys: TextColumn::new(keys, properties)?,
            values: TextColumn::new(values, properties)?,
            keys_before: Vec::new(),
            values_before: Vec::new(),
            rows: 0,
            repetition: Vec::new(),
            definition: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// Appends rows.
    pub fn write(&mut self, rows: &Attributes<'_>) -> Result<()> {
        // By the place of what rows have in common, once it is looked up.
        let mut known: Vec<Vec<[u32; 2]>> = vec![Vec::new(); rows.common.len()];
        for row in 0..rows.len() {
            let at = rows.common_of[row] as usize;
            let (common, own) = (rows.common.entries(at), rows.own.entries(row));
            let levels = self.definition.len();
            if !common.is_empty() && known[at].len() == common.len() && self.keys.by_id && self.values.by_id {
                self.keys.ids.extend(known[at].iter().map(|[key, _]| key));
                self.values.ids.extend(known[at].iter().map(|[_, value]| value));
                self.definition.resize(levels + common.len(), VALUE);
            } else {
                known[at].clear();
                for (key, value) in common.map(|entry| rows.common.entry(entry)) {
                    known[at].extend(self.push(None, key, value));
                }
            }
            for (place, entry) in own.enumerate() {
                let (key, value) = rows.own.entry(entry);
                self.push(Some(place), key, value);
            }
            if self.definition.len() == levels {
                self.definition.push(if rows.is_null(row) { 0 } else { EMPTY });
            }
            self.repetition.push(FIRST_OF_ROW);
            self.repetition.resize(self.definition.len(), ANOTHER);
            self.rows += 1;
            if self.rows >= self.rows_per_page || self.keys.is_full() || self.values.is_full() {
                self.end_page()?;
            }
        }
        Ok(())
    }

    /// Appends an entry, which may be the one at this place of what its row has of its own. Their ids, if both have one.
    fn push(&mut self, place: Option<usize>, key: &str, value: Option<&str>) -> Option<[u32; 2]> {
        self.definition.push(if value.is_some() { VALUE } else { KEY });
        let guess = place.and_then(|place| self.keys_before.get(place)).copied();
        let key = self.keys.push(key.as_bytes(), guess);
        let Some(id) = key else {
            // So many keys are hardly ever the ones before.
            self.values.push(value?.as_bytes(), None);
            return None;
        };
        if let Some(place) = place {
            match self.keys_before.get_mut(place) {
                Some(before) => *before = id,
                None => self.keys_before.push(id),
            }
        }
        if id as usize >= self.values_before.len() {
            self.values_before.resize(id as usize + 1, None);
        }
        let before = &mut self.values_before[id as usize];
        *before = self.values.push(value?.as_bytes(), *before);
        Some([id, (*before)?])
    }

    /// Bytes of the pages that are full.
    pub fn full_pages(&self) -> usize {
        self.keys.chunk.bytes() + self.values.chunk.bytes()
    }

    /// About the bytes that both have come to.
    pub fn bytes(&self) -> usize {
        // A level takes a bit or two.
        self.keys.bytes() + self.values.bytes() + self.definition.len() / 2
    }

    fn end_page(&mut self) -> Result<()> {
        let Self { repetition, definition, raw, .. } = self;
        raw.clear();
        push_levels(repetition, ANOTHER, raw);
        let repetition_ends = raw.len();
        push_levels(definition, VALUE, raw);
        self.values.end_page(raw, self.rows, definition.len())?;
        definition.iter_mut().for_each(|level| *level = (*level).min(KEY));
        raw.truncate(repetition_ends);
        push_levels(definition, KEY, raw);
        self.keys.end_page(raw, self.rows, definition.len())?;
        self.rows = 0;
        repetition.clear();
        definition.clear();
        Ok(())
    }

    /// Ends both columns: their bytes, and what the file says of them.
    pub fn close(mut self) -> Result<[(Bytes, ColumnCloseResult); 2]> {
        if self.rows > 0 {
            self.end_page()?;
        }
        Ok([self.keys.close()?, self.values.close()?])
    }
}

/// Appends levels up to `max` as the first version of data pages has them: after their length.
fn push_levels(levels: &[u8], max: u8, raw: &mut Vec<u8>) {
    let start = raw.len();
    raw.extend_from_slice(&[0; 4]);
    hybrid::encode(levels, hybrid::width(usize::from(max) + 1), raw);
    let length = (raw.len() - start - 4) as u32;
    raw[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;

    use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
    use arrow_array::{ArrayRef, Int32Array, Int64Array, MapArray, RecordBatch};
    use arrow_schema::{DataType, Field, Schema, SchemaRef};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
    use parquet::file::metadata::ColumnChunkMetaData;

    use super::*;
    use crate::parquet::encoder::Encoder;
    use crate::parquet::encoder::tests::{open, options};
    use crate::parquet::given_attributes;
    use crate::schema::file_schema;

    const ROWS: usize = 100_000;

    type Row = Option<Vec<(String, Option<String>)>>;

    fn schema() -> SchemaRef {
        let field = file_schema().field_with_name(ATTRIBUTES).unwrap().clone();
        let number = Field::new("seq", DataType::Int64, false);
        Arc::new(Schema::new(vec![field, number]))
    }

    fn maps_of(rows: &[Row]) -> MapArray {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_keys_field(Field::new("key", DataType::Utf8, false));
        for row in rows {
            for (key, value) in row.iter().flatten() {
                maps.keys().append_value(key);
                maps.values().append_option(value.as_ref());
            }
            maps.append(row.is_some()).unwrap();
        }
        maps.finish()
    }

    /// With the numbers of the rows as another column.
    fn batch(attributes: ArrayRef) -> RecordBatch {
        let numbers = Int64Array::from_iter_values(0..ROWS as i64);
        let attributes = (ATTRIBUTES, attributes, true);
        RecordBatch::try_from_iter_with_nullable([attributes, ("seq", Arc::new(numbers), false)]).unwrap()
    }

    /// Rows as they are given, with nothing in common.
    fn own(rows: &[Row]) -> RecordBatch {
        let common_of = Int32Array::from(vec![0; rows.len()]);
        batch(given_attributes(common_of, maps_of(&[None]), maps_of(rows)).unwrap())
    }

    /// The same, but with the first entry of each row in common.
    fn common(rows: &[Row]) -> RecordBatch {
        let (mut common, mut places) = (vec![None], HashMap::new());
        let (mut common_of, mut own) = (Vec::new(), Vec::new());
        for row in rows {
            let Some((first, others)) = row.as_deref().and_then(<[_]>::split_first) else {
                common_of.push(0);
                own.push(row.clone());
                continue;
            };
            common_of.push(*places.entry(first).or_insert_with(|| {
                common.push(Some(vec![first.clone()]));
                common.len() as i32 - 1
            }));
            own.push((!others.is_empty()).then(|| others.to_vec()));
        }
        batch(given_attributes(common_of.into(), maps_of(&common), maps_of(&own)).unwrap())
    }

    fn encoded(rows: &RecordBatch) -> Bytes {
        let mut encoder = Encoder::new(schema(), options()).unwrap();
        for first in (0..ROWS).step_by(16_000) {
            encoder.write(&rows.slice(first, 16_000.min(ROWS - first))).unwrap();
        }
        encoder.finish().unwrap();
        encoder.take_bytes().unwrap().into()
    }

    /// The same by the library alone.
    fn plain(rows: &RecordBatch) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new_with_options(&mut bytes, schema(), options()).unwrap();
        writer.write(rows).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    fn read(builder: ParquetRecordBatchReaderBuilder<Bytes>) -> RecordBatch {
        let batches: Vec<RecordBatch> = builder.build().unwrap().map(std::result::Result::unwrap).collect();
        arrow_select::concat::concat_batches(&schema(), &batches).unwrap()
    }

    fn entry(key: impl Into<String>, value: impl Into<String>) -> (String, Option<String>) {
        (key.into(), Some(value.into()))
    }

    /// As of web servers.
    fn usual(row: usize) -> Row {
        let status = ["200", "200", "404", "500"][row * 7 % 4];
        Some(vec![
            entry("path", "/var/log/nginx/access.log"),
            entry("http.method", if row.is_multiple_of(9) { "POST" } else { "GET" }),
            entry("http.status", status),
            entry("user", (row * 7919 % 5000).to_string()),
        ])
    }

    /// Returns what was written.
    fn check(what: &str, row: impl Fn(usize) -> Row) -> Bytes {
        let rows: Vec<Row> = (0..ROWS).map(row).collect();
        let given = own(&rows);
        let in_common = encoded(&common(&rows));
        let rows = batch(Arc::new(maps_of(&rows)));
        let (ours, theirs) = (encoded(&given), plain(&rows));
        assert!(read(open(&ours)) == rows, "{what}");
        assert!(read(open(&in_common)) == rows, "{what}, in common");
        // Pages in the middle are found by the index of pages.
        let selection = vec![RowSelector::skip(41_234), RowSelector::select(5), RowSelector::skip(ROWS - 41_239)];
        let some = read(open(&ours).with_row_selection(RowSelection::from(selection)));
        assert!(some == rows.slice(41_234, 5), "{what}");
        let (ours_says, theirs_says) = (open(&ours).metadata().clone(), open(&theirs).metadata().clone());
        assert_eq!(ours_says.num_row_groups(), theirs_says.num_row_groups());
        for (a, b) in ours_says.row_groups().iter().zip(theirs_says.row_groups()) {
            assert_eq!((a.num_rows(), a.num_columns()), (b.num_rows(), b.num_columns()));
            for (a, b) in a.columns().iter().zip(b.columns()) {
                let encodings = |column: &ColumnChunkMetaData| column.encodings().collect::<HashSet<_>>();
                assert_eq!((a.num_values(), encodings(a)), (b.num_values(), encodings(b)), "{what}");
                assert_eq!(a.statistics(), b.statistics());
            }
        }
        // Pages end elsewhere.
        assert!(ours.len() < theirs.len() * 102 / 100 + 200, "{what}: {} bytes, not {}", ours.len(), theirs.len());
        ours
    }

    fn encodings(file: &Bytes, leaf: usize) -> HashSet<Encoding> {
        open(file).metadata().row_group(0).column(leaf).encodings().collect()
    }

    #[test]
    fn a_file_says_what_it_would_if_the_library_had_written_it() {
        let usual = check("usual", usual);
        assert!(encodings(&usual, 0).contains(&Encoding::RLE_DICTIONARY));
        check("nothing", |_| None);
        check("nothing at all or no entry", |row| (row % 3 == 0).then(Vec::new));
        check("not every row", |row| if row % 5 < 3 { self::usual(row) } else { None });
        check("rows of many lengths", |row| {
            Some((0..row % 17).map(|at| entry(format!("key-{}", at * row % 40), at.to_string())).collect())
        });
        check("values that are null", |row| {
            let value = (row % 3 > 0).then(|| (row % 100).to_string());
            Some(vec![("a".into(), value), ("b".into(), None), entry("", "")])
        });
    }

    #[test]
    fn texts_that_hardly_repeat_are_written_without_a_dictionary_in_the_end() {
        let long = "x".repeat(30);
        let file = check("values that differ", |row| Some(vec![entry("id", format!("{row}{long}")), entry("n", "1")]));
        assert!(encodings(&file, 1).contains(&Encoding::RLE_DICTIONARY), "the first pages are");
        let file = check("keys that differ", |row| Some(vec![entry(format!("{row}{long}"), "1"), entry("n", "1")]));
        assert!(encodings(&file, 0).contains(&Encoding::PLAIN));
        check("both", |row| Some(vec![entry(format!("{row}{long}"), format!("{long}{row}"))]));
        check("one that is larger than a page", |row| {
            Some(vec![entry("large", if row == 500 { long.repeat(100_000) } else { long.clone() })])
        });
        check("a row that is larger than a page", |row| {
            let entries = if row == 40_000 { 50_000 } else { 1 };
            Some((0..entries).map(|at| entry(format!("key-{at}"), format!("{at}{long}"))).collect())
        });
    }
}
