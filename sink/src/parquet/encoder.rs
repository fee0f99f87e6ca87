//! One sink file on its way from rows to bytes: row groups, and the columns in them.
//!
//! Owns where a row group ends that is full; where a file ends is its caller's. Columns are encoded by the Parquet library,
//! but for those of [`labels`](super::labels), for [`bodies`](super::bodies) and for [`attributes`](super::attributes).

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::writer::SerializedFileWriter;

use super::attributes::{ATTRIBUTES, AttributeColumns};
use super::bodies::{BODY, BodyColumn};
use super::given::Attributes;
use super::labels::{LABELS, LabelColumn};

/// See the module.
pub struct Encoder {
    schema: SchemaRef,
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    open: Option<RowGroup>,
}

struct RowGroup {
    rows: usize,
    columns: Vec<Column>,
}

enum Column {
    Labels(Box<LabelColumn>),
    Bodies(Box<BodyColumn>),
    /// Of both leaves.
    Attributes(Box<AttributeColumns>),
    Other(Box<ArrowColumnWriter>),
}

impl Encoder {
    /// Of a file with these columns.
    pub fn new(schema: SchemaRef, options: ArrowWriterOptions) -> Result<Self> {
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)?;
        let (file, factory) = writer.into_serialized_writer()?;
        Ok(Self { schema, file, factory, open: None })
    }

    /// Appends rows that have the file's columns, in the form of [`given`](super::given()).
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let rows_max = self.file.properties().max_row_group_row_count().unwrap_or(usize::MAX);
        let bytes_max = self.file.properties().max_row_group_bytes().unwrap_or(usize::MAX);
        let mut rest = rows.clone();
        while rest.num_rows() > 0 {
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(RowGroup::new(&self.file, &self.factory)?),
            };
            let bytes_per_row = open.bytes() / open.rows.max(1);
            let room = (bytes_max.saturating_sub(open.bytes()) / bytes_per_row.max(1)).min(rows_max - open.rows);
            let count = room.clamp(1, rest.num_rows());
            open.write(&self.schema, &rest.slice(0, count))?;
            rest = rest.slice(count, rest.num_rows() - count);
            if open.rows >= rows_max || open.bytes() >= bytes_max {
                self.end_row_group()?;
            }
        }
        Ok(())
    }

    /// Ends the open row group, if there is one.
    pub fn end_row_group(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        // At once: what grows bit by bit is copied again and again.
        self.file.inner_mut().reserve(open.bytes());
        let mut row_group = self.file.next_row_group()?;
        for column in open.columns {
            let leaves = match column {
                Column::Other(column) => {
                    column.close()?.append_to_row_group(&mut row_group)?;
                    continue;
                }
                Column::Labels(column) => vec![column.close()?],
                Column::Bodies(column) => vec![column.close()?],
                Column::Attributes(column) => column.close()?.into(),
            };
            for (bytes, result) in leaves {
                row_group.append_column(&bytes, result)?;
            }
        }
        row_group.close()?;
        Ok(())
    }

    /// Ends the file.
    pub fn finish(&mut self) -> Result<ParquetMetaData> {
        self.end_row_group()?;
        self.file.finish()
    }

    /// The bytes of the file since this was called last: its row groups that are complete, in the end its footer.
    pub fn take_bytes(&mut self) -> Result<Vec<u8>> {
        self.file.flush()?;
        Ok(std::mem::take(self.file.inner_mut()))
    }

    /// Bytes of all of it but the open row group.
    pub fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }

    /// Bytes of the open row group: of its full pages as they are, of the others before compression.
    pub fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, RowGroup::bytes)
    }

    /// Of those, the ones of full pages that the library has not written.
    pub fn full_pages(&self) -> usize {
        self.open.as_ref().map_or(0, RowGroup::full_pages)
    }

    /// The row groups that are complete.
    pub fn row_groups(&self) -> &[RowGroupMetaData] {
        self.file.flushed_row_groups()
    }
}

impl RowGroup {
    fn new(file: &SerializedFileWriter<Vec<u8>>, factory: &ArrowRowGroupWriterFactory) -> Result<Self> {
        let others = factory.create_column_writers(file.flushed_row_groups().len())?;
        let (properties, mut columns) = (file.properties(), Vec::new());
        let mut leaves = file.schema_descr().columns().iter().zip(others);
        while let Some((leaf, other)) = leaves.next() {
            let leaf = leaf.clone();
            columns.push(match leaf.path().parts() {
                [name] if LABELS.contains(&name.as_str()) => {
                    Column::Labels(Box::new(LabelColumn::new(leaf, properties)?))
                }
                [name] if name == BODY => Column::Bodies(Box::new(BodyColumn::new(leaf, properties)?)),
                [name, ..] if name == ATTRIBUTES => {
                    let (values, _) = leaves.next().expect("a map has values beside its keys");
                    Column::Attributes(Box::new(AttributeColumns::new(leaf, values.clone(), properties)?))
                }
                _ => Column::Other(Box::new(other)),
            });
        }
        Ok(Self { rows: 0, columns })
    }

    fn write(&mut self, schema: &SchemaRef, rows: &RecordBatch) -> Result<()> {
        let mut columns = self.columns.iter_mut();
        let mut next = || columns.next().expect("a column for each leaf of the schema, or for both of attributes");
        for (field, values) in schema.fields().iter().zip(rows.columns()) {
            if LABELS.contains(&field.name().as_str()) {
                let Column::Labels(column) = next() else { unreachable!("by its name it has labels") };
                column.write(values.as_dictionary())?;
                continue;
            }
            if field.name() == BODY {
                let Column::Bodies(column) = next() else { unreachable!("by its name it has bodies") };
                column.write(values.as_string_view())?;
                continue;
            }
            if field.name() == ATTRIBUTES {
                let Column::Attributes(column) = next() else { unreachable!("by its name it has attributes") };
                column.write(&Attributes::of_column(values))?;
                continue;
            }
            for leaf in compute_leaves(field, values)? {
                let Column::Other(column) = next() else { unreachable!("by its name it is the library's") };
                column.write(&leaf)?;
            }
        }
        self.rows += rows.num_rows();
        Ok(())
    }

    fn full_pages(&self) -> usize {
        let bytes = |column: &Column| match column {
            Column::Labels(column) => column.full_pages(),
            Column::Bodies(column) => column.full_pages(),
            Column::Attributes(column) => column.full_pages(),
            Column::Other(_) => 0,
        };
        self.columns.iter().map(bytes).sum()
    }

    fn bytes(&self) -> usize {
        let bytes = |column: &Column| match column {
            Column::Labels(column) => column.bytes(),
            Column::Bodies(column) => column.bytes(),
            Column::Attributes(column) => column.bytes(),
            Column::Other(column) => column.get_estimated_total_bytes(),
        };
        self.columns.iter().map(bytes).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use bytes::Bytes;
    use logboom_config::Sink;
    use parquet::arrow::arrow_reader::{
        ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
    };
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::FileSettings;
    use crate::parquet::Labels;

    fn schema() -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![text("category"), Field::new("seq", DataType::Int64, false), text("host")]))
    }

    pub fn options() -> ArrowWriterOptions {
        let settings = FileSettings { row_group_rows: 70_000, ..FileSettings::from(&Sink::at("memory://")) };
        let properties = settings.writer_properties().into_builder().set_sorting_columns(None).build();
        ArrowWriterOptions::new().with_properties(properties)
    }

    /// Rows of sorted categories and of `hosts` hosts in no order, with `longest` runs of the same one.
    fn rows(hosts: u32, longest: usize, bytes: usize) -> Vec<(String, String)> {
        let mut random = StdRng::seed_from_u64(u64::from(hosts));
        let mut rows = Vec::new();
        while rows.len() < 100_000 {
            let host = format!("host-{:0bytes$}", random.random_range(0..hosts));
            for _ in 0..random.random_range(1..=longest) {
                rows.push((format!("category-{}", rows.len() / 33_000), host.clone()));
            }
        }
        rows
    }

    fn encoded(rows: &[(String, String)]) -> Bytes {
        let mut encoder = Encoder::new(schema(), options()).unwrap();
        let mut bytes = Vec::new();
        for (at, rows) in rows.chunks(16_000).enumerate() {
            let categories: Labels = rows.iter().map(|row| &*row.0).collect();
            let hosts: Labels = rows.iter().map(|row| &*row.1).collect();
            let seq = Int64Array::from_iter_values((0..rows.len() as i64).map(|row| at as i64 * 16_000 + row));
            let label = |name| Field::new_dictionary(name, DataType::Int32, DataType::Utf8, false);
            let fields = vec![label("category"), Field::new("seq", DataType::Int64, false), label("host")];
            let columns = vec![Arc::new(categories) as _, Arc::new(seq) as _, Arc::new(hosts) as _];
            encoder.write(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()).unwrap();
            bytes.extend(encoder.take_bytes().unwrap());
        }
        encoder.finish().unwrap();
        bytes.extend(encoder.take_bytes().unwrap());
        assert_eq!(bytes.len(), encoder.bytes_written());
        bytes.into()
    }

    /// The same by the library alone.
    fn plain(rows: &[(String, String)]) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new_with_options(&mut bytes, schema(), options()).unwrap();
        let categories = StringArray::from_iter_values(rows.iter().map(|row| &row.0));
        let hosts = StringArray::from_iter_values(rows.iter().map(|row| &row.1));
        let seq = Int64Array::from_iter_values(0..rows.len() as i64);
        let columns = vec![Arc::new(categories) as _, Arc::new(seq) as _, Arc::new(hosts) as _];
        writer.write(&RecordBatch::try_new(schema(), columns).unwrap()).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    pub fn open(file: &Bytes) -> ParquetRecordBatchReaderBuilder<Bytes> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap()
    }

    fn read(builder: ParquetRecordBatchReaderBuilder<Bytes>) -> RecordBatch {
        let reader = builder.with_batch_size(1 << 20).build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        arrow_select::concat::concat_batches(&schema(), &batches).unwrap()
    }

    #[test]
    fn a_file_says_what_it_would_if_the_library_had_written_it() {
        for (hosts, longest) in [(1, 1), (2, 1), (16, 1), (16, 40), (300, 3), (30_000, 2)] {
            let rows = rows(hosts, longest, 5);
            let (ours, theirs) = (encoded(&rows), plain(&rows));
            assert_eq!(read(open(&ours)), read(open(&theirs)), "{hosts} hosts");
            // Pages in the middle are found by the index of pages.
            let selection = || {
                RowSelection::from(vec![RowSelector::skip(41_234), RowSelector::select(5), RowSelector::skip(58_761)])
            };
            let some = |file| read(open(file).with_row_selection(selection()));
            assert_eq!(some(&ours), read(open(&theirs)).slice(41_234, 5), "{hosts} hosts");
            let (ours, theirs) = (open(&ours).metadata().clone(), open(&theirs).metadata().clone());
            assert_eq!(ours.num_row_groups(), theirs.num_row_groups());
            for (index, (a, b)) in ours.row_groups().iter().zip(theirs.row_groups()).enumerate() {
                assert_eq!((a.num_rows(), a.num_columns()), (b.num_rows(), b.num_columns()));
                for leaf in [0, 2] {
                    let (a, b) = (a.column(leaf), b.column(leaf));
                    assert_eq!((a.statistics(), a.num_values()), (b.statistics(), b.num_values()));
                    let encodings = |column: &parquet::file::metadata::ColumnChunkMetaData| {
                        column.encodings().collect::<std::collections::HashSet<_>>()
                    };
                    assert_eq!((encodings(a), a.compression()), (encodings(b), b.compression()));
                    let ColumnIndexMetaData::BYTE_ARRAY(bounds) = &ours.column_index().unwrap()[index][leaf] else {
                        panic!("no index")
                    };
                    let pages = &ours.offset_index().unwrap()[index][leaf].page_locations;
                    assert_eq!(bounds.num_pages() as usize, pages.len());
                    for page in 0..pages.len() {
                        let first = pages[page].first_row_index as usize + 70_000 * index;
                        let end = pages.get(page + 1).map_or(a.num_values(), |page| page.first_row_index) as usize;
                        let rows = &rows[first..end + 70_000 * index];
                        let of = |row: &(String, String)| if leaf == 0 { row.0.clone() } else { row.1.clone() };
                        assert_eq!(bounds.min_value(page).unwrap(), rows.iter().map(of).min().unwrap().as_bytes());
                        assert_eq!(bounds.max_value(page).unwrap(), rows.iter().map(of).max().unwrap().as_bytes());
                    }
                }
            }
        }
    }

    #[test]
    fn texts_that_are_too_long_for_bounds_are_kept_all_the_same() {
        let rows = rows(3, 1, 2000);
        let (ours, theirs) = (encoded(&rows), plain(&rows));
        assert_eq!(read(open(&ours)), read(open(&theirs)));
        let metadata = open(&ours).metadata().clone();
        assert!(metadata.row_group(0).column(2).statistics().is_none());
        assert!(metadata.row_group(0).column(0).statistics().is_some());
    }
}
