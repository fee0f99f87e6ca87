//! Columns that say where a record comes from: a few texts, each of them in very many rows.
//!
//! Owns how such a column is encoded, which comes as indices into its few texts. The Parquet library would hash
//! and compare the text of every row, which is a third of its work; here only indices are looked at. What comes out
//! is what the library writes as well: a dictionary, pages of indices into it, statistics and a page index.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, DictionaryArray, Int32Array, StringArray};
use arrow_schema::ArrowError;
use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::metadata::ColumnIndexBuilder;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, DataPage};
use super::dictionary::Dictionary;

/// Texts longer than this are no bounds of a column: it has none then. Bounds are kept for each page.
const BOUND_BYTES_MAX: usize = 1 << 10;

/// The names of these columns.
pub const LABELS: [&str; 4] = ["category", "host", "source", "stream"];

/// Texts of rows as indices into the different ones.
pub type Labels = DictionaryArray<Int32Type>;

/// These texts as labels.
pub fn labels_of(texts: &StringArray) -> std::result::Result<Labels, ArrowError> {
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

/// One column chunk of labels that is being written.
pub struct LabelColumn {
    name: String,
    rows_per_page: usize,
    dictionary: Dictionary,
    /// The rows of the page that is being filled.
    open: Vec<u32>,
    /// The pages that are full.
    chunk: Chunk,
    /// The ids of the least and the greatest text of each page.
    bounds: Vec<(u32, u32)>,
}

impl LabelColumn {
    /// Of the column `descr`, which must be of texts and have no nulls.
    pub fn new(descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        Ok(Self {
            name: descr.name().to_owned(),
            rows_per_page: properties.data_page_row_count_limit(),
            dictionary: Dictionary::default(),
            open: Vec::new(),
            chunk: Chunk::new(descr, properties)?,
            bounds: Vec::new(),
        })
    }

    /// Appends rows.
    pub fn write(&mut self, labels: &Labels) -> Result<()> {
        assert_eq!(labels.null_count(), 0, "{} has no nulls", self.name);
        let texts: &StringArray = labels.values().as_string();
        let mut ids = vec![None; texts.len()];
        let mut rest = &labels.keys().values()[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.rows_per_page - self.open.len()));
            rest = later;
            self.open.extend(now.iter().map(|key| {
                // Not all at once: these rows may be some of those that the texts are of.
                let key = *key as usize;
                *ids[key].get_or_insert_with(|| self.dictionary.id(texts.value(key).as_bytes()))
            }));
            if self.open.len() == self.rows_per_page {
                self.end_page()?;
            }
        }
        Ok(())
    }

    /// Bytes of the pages that are full.
    pub fn full_pages(&self) -> usize {
        self.chunk.bytes()
    }

    /// About the bytes that it has come to.
    pub fn bytes(&self) -> usize {
        let open = self.open.len() * usize::from(self.dictionary.width()) / 8;
        self.dictionary.page().len() + self.full_pages() + open
    }

    fn end_page(&mut self) -> Result<()> {
        let (mut raw, rows) = (Vec::new(), self.open.len());
        self.dictionary.encode(&self.open, &mut raw);
        let encoding = Encoding::RLE_DICTIONARY;
        self.chunk.push(&DataPage { raw: &raw, encoding, rows, levels: rows, text_bytes: None })?;
        self.bounds.push(bounds(&self.dictionary, &self.open));
        self.open.clear();
        Ok(())
    }

    /// Ends the column: its bytes, and what the file says of them.
    pub fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if !self.open.is_empty() {
            self.end_page()?;
        }
        let dictionary = &self.dictionary;
        let chunk = self.chunk.close(Some((dictionary.page(), dictionary.len())))?;
        let mut texts = (0..dictionary.len()).map(|id| dictionary.text(id as u32));
        if texts.any(|text| text.len() > BOUND_BYTES_MAX) {
            return chunk.described(|metadata| metadata, None);
        }
        let mut index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        let text = |id: u32| dictionary.text(id).to_vec();
        for &(least, greatest) in &self.bounds {
            index.append(false, text(least), text(greatest), 0);
        }
        let least = self.bounds.iter().map(|(least, _)| text(*least)).min().map(ByteArray::from);
        let greatest = self.bounds.iter().map(|(_, greatest)| text(*greatest)).max().map(ByteArray::from);
        let bounds = Statistics::ByteArray(ValueStatistics::new(least, greatest, None, Some(0), false));
        chunk.described(|metadata| metadata.set_statistics(bounds), Some(index.build()?))
    }
}

/// Of the texts with these ids, the least and the greatest.
fn bounds(dictionary: &Dictionary, ids: &[u32]) -> (u32, u32) {
    let mut occurs = vec![false; dictionary.len()];
    ids.iter().for_each(|id| occurs[*id as usize] = true);
    let occurring = (0..dictionary.len() as u32).filter(|id| occurs[*id as usize]);
    let least = occurring.clone().min_by_key(|id| dictionary.text(*id)).expect("there are rows");
    (least, occurring.max_by_key(|id| dictionary.text(*id)).expect("there are rows"))
}
