//! The pages of a column chunk that the Parquet library does not write, and what the file says of them.
//!
//! Owns compression, headers of pages and the index of offsets; what is in a page, and its statistics, are the column's.

use std::mem;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnChunkMetaDataBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// The chunk of a column.
pub struct Chunk {
    descr: ColumnDescPtr,
    compression: Compression,
    compressor: zstd::bulk::Compressor<'static>,
    pages: TrackedWrite<Vec<u8>>,
    /// Kept from one page to the next.
    compressed_page: Vec<u8>,
    /// How many pages have which encoding.
    encodings: Vec<(Encoding, i32)>,
    rows: usize,
    levels: usize,
    /// Bytes of pages with their headers.
    compressed: usize,
    uncompressed: usize,
    offsets: OffsetIndexBuilder,
}

/// Appends a text in Parquet's encoding PLAIN: after its length.
pub fn push_plain(text: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text);
}

/// A page of values.
pub struct DataPage<'a> {
    /// Its levels, if the column has some, and its values.
    pub raw: &'a [u8],
    /// How the values are encoded.
    pub encoding: Encoding,
    /// How many rows begin in it.
    pub rows: usize,
    /// How many values it has, those that are null among them.
    pub levels: usize,
    /// The bytes of its texts. Either all pages of a chunk say them or none.
    pub text_bytes: Option<usize>,
}

/// A chunk that is complete: its bytes, and what is still to be said of them.
pub struct ClosedChunk {
    bytes: Bytes,
    metadata: ColumnChunkMetaDataBuilder,
    dictionary: Option<usize>,
    compressed: usize,
    rows: usize,
    offsets: OffsetIndexMetaData,
}

impl Chunk {
    /// Of the column `descr`.
    pub fn new(descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let compression = properties.compression(descr.path());
        let Compression::ZSTD(level) = compression else { unreachable!("our files are compressed with zstd") };
        Ok(Self {
            descr,
            compression,
            compressor: zstd::bulk::Compressor::new(level.compression_level())?,
            pages: TrackedWrite::new(Vec::new()),
            compressed_page: Vec::new(),
            encodings: Vec::new(),
            rows: 0,
            levels: 0,
            compressed: 0,
            uncompressed: 0,
            offsets: OffsetIndexBuilder::new(),
        })
    }

    /// Appends a page.
    pub fn push(&mut self, page: &DataPage<'_>) -> Result<()> {
        let DataPage { raw, encoding, rows, levels, text_bytes } = *page;
        self.compressed_page.clear();
        self.compressed_page.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.compressed_page)?;
        let compressed = Bytes::from(mem::take(&mut self.compressed_page));
        let page = Page::DataPage {
            buf: compressed.clone(),
            num_values: levels as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = write_page(page, raw.len(), &mut self.pages)?;
        // The page is gone, so that this is the only one, and gives back what it was made of.
        self.compressed_page = compressed.into();
        self.compressed += page.compressed_size;
        self.uncompressed += page.uncompressed_size;
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(page.offset as i64, page.compressed_size as i32);
        self.offsets.append_unencoded_byte_array_data_bytes(text_bytes.map(|bytes| bytes as i64));
        match self.encodings.iter_mut().find(|(known, _)| *known == encoding) {
            Some((_, pages)) => *pages += 1,
            None => self.encodings.push((encoding, 1)),
        }
        self.rows += rows;
        self.levels += levels;
        Ok(())
    }

    /// Bytes of the pages.
    pub fn bytes(&self) -> usize {
        self.pages.bytes_written()
    }

    /// Ends the chunk, which has these many values in a dictionary.
    pub fn close(mut self, dictionary: Option<(&[u8], usize)>) -> Result<ClosedChunk> {
        let pages = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        let mut page_encodings: Vec<_> =
            self.encodings.iter().map(|(of, count)| pages(PageType::DATA_PAGE, *of, *count)).collect();
        let mut chunk = TrackedWrite::new(Vec::new());
        if let Some((values, count)) = dictionary {
            let page = Page::DictionaryPage {
                buf: self.compressor.compress(values)?.into(),
                num_values: count as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let page = write_page(page, values.len(), &mut chunk)?;
            self.compressed += page.compressed_size;
            self.uncompressed += page.uncompressed_size;
            encodings.push(Encoding::RLE_DICTIONARY);
            page_encodings.insert(0, pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let mut bytes = chunk.into_inner()?;
        let dictionary = dictionary.map(|_| bytes.len());
        let pages = self.pages.into_inner()?;
        match bytes.is_empty() {
            true => bytes = pages,
            false => bytes.extend(pages),
        }
        let metadata = ColumnChunkMetaData::builder(self.descr)
            .set_compression(self.compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(page_encodings)
            .set_total_compressed_size(self.compressed as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.levels as i64);
        Ok(ClosedChunk {
            bytes: bytes.into(),
            metadata,
            dictionary,
            compressed: self.compressed,
            rows: self.rows,
            offsets: self.offsets.build(),
        })
    }
}

impl ClosedChunk {
    /// Its bytes and what the file says of them: `more`, and the index of its pages if there is one.
    pub fn described(
        self,
        more: impl FnOnce(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
        column_index: Option<ColumnIndexMetaData>,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let result = ColumnCloseResult {
            bytes_written: self.compressed as u64,
            rows_written: self.rows as u64,
            metadata: more(self.metadata).build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets),
        };
        // A dictionary is written last, and comes first.
        Ok((self.bytes, result.update_dictionary_location(self.dictionary.unwrap_or(0))?))
    }
}

/// Writes a page whose bytes are compressed already.
fn write_page(page: Page, raw: usize, to: &mut TrackedWrite<Vec<u8>>) -> Result<PageWriteSpec> {
    SerializedPageWriter::new(to).write_page(CompressedPage::new(page, raw))
}
