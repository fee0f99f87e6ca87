//! The column of bodies, by far the largest.
//!
//! Owns how it is encoded: plainly, with no statistics, as the Parquet library would. But the library is made for any column:
//! it grows a new buffer for every page, and copies it before and after compression. This has one buffer, and each
//! body is copied once, from where its block was decoded to.

use arrow_array::{Array, StringViewArray};
use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, DataPage, push_plain};

/// The name of the column.
pub const BODY: &str = "body";

/// One column chunk of bodies that is being written.
pub struct BodyColumn {
    page_bytes: usize,
    rows_per_page: usize,
    /// The page that is being filled, and its rows.
    open: Vec<u8>,
    open_rows: usize,
    /// The pages that are full.
    chunk: Chunk,
}

impl BodyColumn {
    /// Of the column `descr`, which must be of texts and have no nulls.
    pub fn new(descr: ColumnDescPtr, properties: &WriterProperties) -> Result<Self> {
        let path = descr.path();
        assert!(!properties.dictionary_enabled(path), "{path} has no dictionary");
        assert_eq!(properties.statistics_enabled(path), EnabledStatistics::None, "{path} has no statistics");
        Ok(Self {
            page_bytes: properties.column_data_page_size_limit(path),
            rows_per_page: properties.data_page_row_count_limit(),
            open: Vec::new(),
            open_rows: 0,
            chunk: Chunk::new(descr, properties)?,
        })
    }

    /// Appends rows.
    pub fn write(&mut self, bodies: &StringViewArray) -> Result<()> {
        assert_eq!(bodies.null_count(), 0, "a body is never null");
        for row in 0..bodies.len() {
            let body = bodies.value(row);
            push_plain(body.as_bytes(), &mut self.open);
            self.open_rows += 1;
            if self.open.len() >= self.page_bytes || self.open_rows >= self.rows_per_page {
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
        self.full_pages() + self.open.len()
    }

    fn end_page(&mut self) -> Result<()> {
        let text_bytes = self.open.len() - self.open_rows * size_of::<u32>();
        self.chunk.push(&DataPage {
            raw: &self.open,
            encoding: Encoding::PLAIN,
            rows: self.open_rows,
            levels: self.open_rows,
            text_bytes: Some(text_bytes),
        })?;
        self.open.clear();
        self.open_rows = 0;
        Ok(())
    }

    /// Ends the column: its bytes, and what the file says of them.
    pub fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if self.open_rows > 0 {
            self.end_page()?;
        }
        self.chunk.close(None)?.described(|metadata| metadata, None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema, SchemaRef};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};

    use super::*;
    use crate::parquet::encoder::Encoder;
    use crate::parquet::encoder::tests::{open, options};

    fn schema(data_type: DataType) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new(BODY, data_type, false)]))
    }

    fn encoded(bodies: &StringArray) -> Bytes {
        let mut encoder = Encoder::new(schema(DataType::Utf8), options()).unwrap();
        let views: ArrayRef = Arc::new(StringViewArray::from(bodies));
        let rows = RecordBatch::try_new(schema(DataType::Utf8View), vec![views]).unwrap();
        for first in (0..rows.num_rows()).step_by(16_000) {
            encoder.write(&rows.slice(first, 16_000.min(rows.num_rows() - first))).unwrap();
        }
        encoder.finish().unwrap();
        encoder.take_bytes().unwrap().into()
    }

    /// The same by the library alone.
    fn plain(bodies: &StringArray) -> Bytes {
        let (mut bytes, schema) = (Vec::new(), schema(DataType::Utf8));
        let mut writer = ArrowWriter::try_new_with_options(&mut bytes, schema.clone(), options()).unwrap();
        writer.write(&RecordBatch::try_new(schema, vec![Arc::new(bodies.clone())]).unwrap()).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    fn read(builder: ParquetRecordBatchReaderBuilder<Bytes>) -> RecordBatch {
        let batches: Vec<RecordBatch> = builder.build().unwrap().map(std::result::Result::unwrap).collect();
        arrow_select::concat::concat_batches(&schema(DataType::Utf8), &batches).unwrap()
    }

    #[test]
    fn a_file_says_what_it_would_if_the_library_had_written_it() {
        // Nothing, what fits in a view, what does not, and what is more than a page.
        for length in [0, 5, 12, 13, 160, 3000] {
            let body = |row: usize| match row {
                40_000 => "x".repeat(3 << 20),
                _ => format!("{row:0width$}", width = length + row % 7)[..length].to_owned(),
            };
            let bodies = StringArray::from_iter_values((0..80_000).map(body));
            let (ours, theirs) = (encoded(&bodies), plain(&bodies));
            assert_eq!(read(open(&ours)), read(open(&theirs)), "{length} bytes");
            // Pages in the middle are found by the index of pages.
            let selection = vec![RowSelector::skip(39_999), RowSelector::select(5), RowSelector::skip(39_996)];
            let some = read(open(&ours).with_row_selection(RowSelection::from(selection)));
            assert_eq!(some, read(open(&theirs)).slice(39_999, 5), "{length} bytes");
            let (ours, theirs) = (open(&ours).metadata().clone(), open(&theirs).metadata().clone());
            assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
            for (index, (a, b)) in ours.row_groups().iter().zip(theirs.row_groups()).enumerate() {
                let (a, b) = (a.column(0), b.column(0));
                assert_eq!((a.num_values(), a.compression()), (b.num_values(), b.compression()));
                assert!(a.statistics().is_none() && b.statistics().is_none());
                assert_eq!(a.encodings().collect::<Vec<_>>(), b.encodings().collect::<Vec<_>>());
                assert_eq!(a.unencoded_byte_array_data_bytes(), b.unencoded_byte_array_data_bytes());
                let pages = |file: &parquet::file::metadata::ParquetMetaData| {
                    let offsets = file.offset_index().unwrap()[index][0].clone();
                    let bytes: i64 = offsets.unencoded_byte_array_data_bytes().unwrap().iter().sum();
                    (offsets.page_locations().len(), bytes)
                };
                let ((count, bytes), (count_of_library, bytes_of_library)) = (pages(&ours), pages(&theirs));
                assert_eq!(bytes, bytes_of_library);
                // The library looks at the size of a page only now and then.
                assert!(count.abs_diff(count_of_library) <= 1 + count / 8, "{count} pages, not {count_of_library}");
            }
        }
    }
}
