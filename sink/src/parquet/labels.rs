//! Columns that say where a record comes from: a few texts, each of them in very many rows.
//!
//! Owns how such a column comes in (as indices into its few texts) and how it is encoded. The Parquet library would hash
//! and compare the text of every row, which is a third of its work; here only indices are looked at. What comes out
//! is what the library writes as well: a dictionary, pages of indices into it, statistics and a page index.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::hybrid;
use crate::schema::file_schema;

/// Texts longer than this are no bounds of a column: it has none then. Bounds are kept for each page.
const BOUND_BYTES_MAX: usize = 1 << 10;

/// The names of these columns.
pub const LABELS: [&str; 4] = ["category", "host", "source", "stream"];

/// Texts of rows as indices into the different ones.
pub type Labels = DictionaryArray<Int32Type>;

fn labels_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// [`file_schema`] with the columns of [`LABELS`] as [`Labels`].
pub fn labelled_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| with_labels(&file_schema()));
    SCHEMA.clone()
}

fn with_labels(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| match LABELS.contains(&field.name().as_str()) {
        true => Arc::new(Field::new(field.name(), labels_type(), false)),
        false => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The columns of rows that begin with those of [`file_schema`], as a file has them.
pub fn unlabelled_schema(rows: &Schema) -> SchemaRef {
    let columns = file_schema();
    let others = &rows.fields()[columns.fields().len()..];
    match others.is_empty() {
        true => columns,
        false => Arc::new(Schema::new(columns.fields().iter().chain(others).cloned().collect::<Vec<_>>())),
    }
}

/// `rows` with the columns of [`LABELS`] as [`Labels`], whether they are already or not.
pub fn labelled(rows: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let mut columns = rows.columns().to_vec();
    for column in LABELS.iter().map(|name| rows.schema_ref().index_of(name)) {
        let column = &mut columns[column?];
        if let Some(texts) = column.as_string_opt() {
            *column = Arc::new(labels_of(texts)?);
        }
    }
    let schema = if rows.num_columns() == file_schema().fields().len() {
        labelled_schema()
    } else {
        with_labels(rows.schema_ref())
    };
    RecordBatch::try_new(schema, columns)
}

fn labels_of(texts: &StringArray) -> std::result::Result<Labels, ArrowError> {
    let (mut known, mut values): (HashMap<&str, i32>, Vec<&str>) = Default::default();
    let mut last = None;
    let mut key = |text| match last {
        // Neighbours are mostly equal.
        Some((same, key)) if same == text => key,
        _ => {
            let key = *known.entry(text).or_insert_with(|| {
                values.push(text);
                values.len() as i32 - 1
            });
            last = Some((text, key));
            key
        }
    };
    let keys = Int32Array::from_iter_values(texts.iter().map(Option::unwrap_or_default).map(&mut key));
    Labels::try_new(keys, Arc::new(StringArray::from(values)))
}

/// The different texts of a column chunk, by the order in which they came.
#[derive(Default)]
struct Dictionary {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// The texts as the dictionary's page has them.
    page: Vec<u8>,
}

impl Dictionary {
    fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as u32;
        self.page.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.page.extend_from_slice(text.as_bytes());
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.ids.insert(text, id);
        id
    }

    /// The bits of an id.
    fn width(&self) -> u8 {
        hybrid::width(self.texts.len())
    }

    /// The least and the greatest text of these rows.
    fn bounds(&self, rows: &[u32]) -> (Arc<str>, Arc<str>) {
        let mut occurs = vec![false; self.texts.len()];
        rows.iter().for_each(|id| occurs[*id as usize] = true);
        let texts = self.texts.iter().zip(occurs).filter_map(|(text, occurs)| occurs.then_some(text));
        (texts.clone().min().expect("there are rows").clone(), texts.max().expect("there are rows").clone())
    }
}

/// Bytes of pages with their headers.
#[derive(Default)]
struct Sizes {
    compressed: usize,
    uncompressed: usize,
}

/// One column chunk of labels that is being written.
pub struct LabelColumn {
    descr: ColumnDescPtr,
    compression: Compression,
    compressor: zstd::bulk::Compressor<'static>,
    rows_per_page: usize,
    dictionary: Dictionary,
    /// The rows of the page that is being filled.
    open: Vec<u32>,
    /// The pages that are full, and what is said of them.
    pages: TrackedWrite<Vec<u8>>,
    sizes: Sizes,
    bounds: Vec<(Arc<str>, Arc<str>)>,
    page_index: OffsetIndexBuilder,
    rows: usize,
}

impl LabelColumn {
    /// Of the column `descr`, which must be of texts and have no nulls.
    pub fn new(descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let compression = properties.compression(descr.path());
        let Compression::ZSTD(level) = compression else { unreachable!("our files are compressed with zstd") };
        Ok(Self {
            descr,
            compression,
            compressor: zstd::bulk::Compressor::new(level.compression_level())?,
            rows_per_page: properties.data_page_row_count_limit(),
            dictionary: Dictionary::default(),
            open: Vec::new(),
            pages: TrackedWrite::new(Vec::new()),
            sizes: Sizes::default(),
            bounds: Vec::new(),
            page_index: OffsetIndexBuilder::new(),
            rows: 0,
        })
    }

    /// Appends rows.
    pub fn write(&mut self, labels: &Labels) -> Result<()> {
        assert_eq!(labels.null_count(), 0, "{} has no nulls", self.descr.name());
        let texts: &StringArray = labels.values().as_string();
        let mut ids = vec![None; texts.len()];
        let mut rest = &labels.keys().values()[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.rows_per_page - self.open.len()));
            rest = later;
            self.open.extend(now.iter().map(|key| {
                // Not all at once: these rows may be some of those that the texts are of.
                let key = *key as usize;
                *ids[key].get_or_insert_with(|| self.dictionary.id(texts.value(key)))
            }));
            if self.open.len() == self.rows_per_page {
                self.end_page()?;
            }
        }
        Ok(())
    }

    /// About the bytes that it has come to.
    pub fn bytes(&self) -> usize {
        let open = self.open.len() * usize::from(self.dictionary.width()) / 8;
        self.dictionary.page.len() + self.pages.bytes_written() + open
    }

    fn end_page(&mut self) -> Result<()> {
        let width = self.dictionary.width();
        let mut raw = vec![width];
        hybrid::encode(&self.open, width, &mut raw);
        let page = Page::DataPage {
            buf: self.compressor.compress(&raw)?.into(),
            num_values: self.open.len() as u32,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = write_page(page, raw.len(), &mut self.pages, &mut self.sizes)?;
        self.page_index.append_row_count(self.open.len() as i64);
        self.page_index.append_offset_and_size(page.offset as i64, page.compressed_size as i32);
        self.bounds.push(self.dictionary.bounds(&self.open));
        self.rows += self.open.len();
        self.open.clear();
        Ok(())
    }

    /// Ends the column: its bytes, and what the file says of them.
    pub fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if !self.open.is_empty() {
            self.end_page()?;
        }
        let raw = &self.dictionary.page;
        let page = Page::DictionaryPage {
            buf: self.compressor.compress(raw)?.into(),
            num_values: self.dictionary.texts.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let mut chunk = TrackedWrite::new(Vec::new());
        write_page(page, raw.len(), &mut chunk, &mut self.sizes)?;
        let mut chunk = chunk.into_inner()?;
        let pages = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut metadata = ColumnChunkMetaData::builder(self.descr)
            .set_compression(self.compression)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(vec![
                pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                pages(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.bounds.len() as i32),
            ])
            .set_total_compressed_size(self.sizes.compressed as i64)
            .set_total_uncompressed_size(self.sizes.uncompressed as i64)
            .set_num_values(self.rows as i64);
        let mut column_index = None;
        if self.dictionary.texts.iter().all(|text| text.len() <= BOUND_BYTES_MAX) {
            let value = |text: Option<&Arc<str>>| text.map(|text| ByteArray::from(text.as_bytes().to_vec()));
            let (least, greatest) = (self.dictionary.texts.iter().min(), self.dictionary.texts.iter().max());
            let bounds = ValueStatistics::new(value(least), value(greatest), None, Some(0), false);
            metadata = metadata.set_statistics(Statistics::ByteArray(bounds));
            let mut index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
            for (least, greatest) in self.bounds {
                index.append(false, least.as_bytes().to_vec(), greatest.as_bytes().to_vec(), 0);
            }
            column_index = Some(index.build()?);
        }
        let result = ColumnCloseResult {
            bytes_written: self.sizes.compressed as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.page_index.build()),
        };
        // The dictionary is written last, and comes first.
        let result = result.update_dictionary_location(chunk.len())?;
        chunk.extend(self.pages.into_inner()?);
        Ok((chunk.into(), result))
    }
}

/// Writes a page whose bytes are compressed already.
fn write_page(page: Page, raw: usize, to: &mut TrackedWrite<Vec<u8>>, sizes: &mut Sizes) -> Result<PageWriteSpec> {
    let written = SerializedPageWriter::new(to).write_page(CompressedPage::new(page, raw))?;
    sizes.compressed += written.compressed_size;
    sizes.uncompressed += written.uncompressed_size;
    Ok(written)
}
