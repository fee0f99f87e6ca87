//! Sink files in Parquet: how they are laid out, and when one ends and the next begins.
//!
//! - zstd, sorted by (category, timestamp), with a page index, so that any engine reads only the pages it needs;
//! - a row group ends with its category unless the category is small, so that a category can be read alone;
//! - columns that say where a record comes from are encoded by [`labels`], its body by [`bodies`], its attributes by
//!   [`attributes`], all others by the Parquet library;
//! - no dictionary and no statistics for bodies: they hardly repeat, nobody asks for their greatest, and both cost time.

mod attributes;
mod bodies;
mod chunk;
mod dictionary;
mod encoder;
mod given;
mod hybrid;
mod labels;
mod pages;
mod stats;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use jiff::civil::Date;
use logboom_config::{FileFormat, Promoted};
use object_store::buffered::BufWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{RowGroupMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tokio::io::AsyncWriteExt;

use attributes::ATTRIBUTES;
use encoder::Encoder;
use given::schema_in_file;
pub(crate) use given::{Attributes, given, given_attributes, given_schema, map_type};
pub(crate) use labels::Labels;
use pages::PagesHeld;
pub(crate) use stats::count;

use crate::paths::Name;
use crate::promote;
use crate::schema::file_schema;
use crate::table::{DataFile, FileStats};
use crate::{Error, Store};

/// A category with fewer encoded bytes than about this shares its row group with its neighbours: a row group takes 2 kB in
/// the footer and in headers, which nobody should pay for less.
const ROW_GROUP_BYTES_MIN: f64 = (256 << 10) as f64;
/// The share of row groups that are read for a trace that they have no record of.
const TRACE_ID_FALSE_POSITIVES: f64 = 0.01;
/// Objects up to this size are put at once, larger ones in parts of this size.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// So many parts are uploaded at once, which bounds what an upload holds in memory.
const PARTS_UNDER_WAY_MAX: usize = 4;
/// A row group ends at about this many encoded bytes, however few rows it has by then: it is held in memory.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;
/// Files may come to so much of their target size where that spares a small one.
const OVERSIZE_MAX: f64 = 1.03;
/// And to so little.
const UNDERSIZE_MIN: f64 = 0.97;
/// With less than this of its target size to go, a file is full.
const NEARLY_FULL: f64 = 0.002;
/// Rows of a file after which the size of a row is taken to be known.
const ROWS_KNOWN: u64 = 1024;
/// The most that footers are taken to add, as small files with many row groups have them.
const WITH_FOOTER_MAX: f64 = 1.1;
/// What compression is taken to come to until a row group shows it.
const COMPRESSION_AT_FIRST: f64 = 0.25;

/// What a merge may hold where nobody says otherwise.
const MERGE_MEMORY: usize = 512 << 20;

/// How sink files are made.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// What they are written in.
    pub format: FileFormat,
    /// A file ends at about this many encoded bytes, within 5 %; the last one of a batch where its rows end.
    pub target_file_size: u64,
    /// The level of zstd for Parquet, 1 to 19; of gzip for JSON, 1 to 9.
    pub compression_level: i32,
    /// Most rows of a row group of Parquet.
    pub row_group_rows: usize,
    /// About the most bytes of decoded rows that a merge holds at once.
    pub merge_memory: usize,
    /// Attributes that get columns of their own.
    pub promote: Vec<Promoted>,
}

impl FileSettings {
    /// The properties of the Parquet writer: what a file of ours is apart from its rows.
    pub fn writer_properties(&self) -> WriterProperties {
        properties(self)
    }
}

impl From<&logboom_config::Sink> for FileSettings {
    fn from(settings: &logboom_config::Sink) -> Self {
        Self {
            format: settings.format,
            target_file_size: settings.target_file_size,
            compression_level: settings.compression_level,
            row_group_rows: settings.row_group_rows,
            merge_memory: MERGE_MEMORY,
            promote: settings.promote.clone(),
        }
    }
}

/// Writes sorted rows into as many files of one partition as they need: each of about the target size, the last of what
/// is left.
pub struct FileWriter {
    store: Store,
    date: Date,
    settings: FileSettings,
    options: ArrowWriterOptions,
    pages: PagesHeld,
    open: Option<OpenFile>,
    done: Vec<DataFile>,
    input: Option<Input>,
    /// Compressed bytes for one byte before compression, in the row groups so far.
    compression: f64,
    /// What a file comes to beside its pages: the size of files so far beside what was counted before their ends.
    with_footer: f64,
}

struct OpenFile {
    path: String,
    encoder: Encoder,
    upload: BufWriter,
    crc32c: u32,
    stats: FileStats,
    row_groups: usize,
}

/// What the rows come from, as a measure of how much there is still to come.
#[derive(Clone, Copy)]
struct Input {
    bytes: u64,
    bytes_left: u64,
}

impl FileWriter {
    /// Writes nothing yet. Will be given rows with the columns of [`file_schema`] first, all with the same; and makes those
    /// of promoted attributes.
    pub fn new(store: Store, date: Date, settings: FileSettings) -> Self {
        let pages = PagesHeld::default();
        let options = ArrowWriterOptions::new()
            .with_properties(settings.writer_properties())
            .with_page_store_factory(Arc::new(pages.clone()));
        Self {
            store,
            date,
            settings,
            options,
            pages,
            open: None,
            done: Vec::new(),
            input: None,
            compression: COMPRESSION_AT_FIRST,
            with_footer: 1.0,
        }
    }

    /// Says how many bytes of the input are still to come after the rows that are written next; of the whole input, when
    /// it is called for the first time. A writer that knows lets a file grow a little where that spares another one.
    pub fn input_left(&mut self, bytes: u64) {
        self.input.get_or_insert(Input { bytes, bytes_left: 0 }).bytes_left = bytes;
    }

    /// Writes rows that come after all before them in the order of a sink file. They may be in the form of [`given`](given()).
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let bytes_per_row = given::bytes(rows) as f64 / rows.num_rows().max(1) as f64;
        let schema = promote::schema_with(&schema_in_file(rows.schema_ref()), &self.settings.promote);
        let mut rest = given(rows).map_err(Error::encoding)?;
        if !self.settings.promote.is_empty() {
            rest = promote::append(&rest, &self.settings.promote).map_err(Error::encoding)?;
        }
        while rest.num_rows() > 0 {
            let (size, records) = self.open_size();
            // What a row comes to: as much as those before it, once there are some.
            let per_row = match records {
                0..ROWS_KNOWN => bytes_per_row * self.compression,
                _ => size as f64 / records as f64,
            };
            let target = self.settings.target_file_size as f64;
            let left = self.encoded_left(size).map(|left| left + rest.num_rows() as f64 * per_row);
            let room = left.map_or(target, |left| size_of_next(size as f64 + left, target)) - size as f64;
            if room < target * NEARLY_FULL && records > 0 {
                self.close_file().await?;
                continue;
            }
            let count = ((room / per_row.max(1.0)) as usize).clamp(1, rest.num_rows());
            let file = match &mut self.open {
                Some(file) => file,
                none => none.insert(open_file(&self.store, self.date, &schema, &self.options)?),
            };
            let now = rest.slice(0, count);
            file.encoder.write(&now).map_err(Error::encoding)?;
            file.upload().await?;
            stats::count(&mut file.stats, &now);
            self.learn_compression();
            rest = rest.slice(count, rest.num_rows() - count);
        }
        Ok(())
    }

    /// The category is complete: what follows is another one's.
    pub async fn category_ended(&mut self) -> Result<(), Error> {
        let open_row_group = self.open.as_ref().map_or(0.0, |file| self.open_row_group(file));
        match &mut self.open {
            Some(file) if open_row_group >= ROW_GROUP_BYTES_MIN => {
                file.encoder.end_row_group().map_err(Error::encoding)?;
                file.upload().await?;
                self.learn_compression();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the last file. All files are on the store now, durably; no reader sees them before they are committed.
    pub async fn finish(mut self) -> Result<Vec<DataFile>, Error> {
        self.close_file().await?;
        Ok(self.done)
    }

    /// About how many bytes the open file has come to, and its rows.
    fn open_size(&self) -> (u64, u64) {
        let Some(file) = &self.open else { return (0, 0) };
        let pages = file.encoder.bytes_written() as f64 + self.open_row_group(file);
        ((pages * self.with_footer) as u64, file.stats.records)
    }

    /// About how many bytes the open row group has come to: its full pages, and the others by how those compressed.
    fn open_row_group(&self, file: &OpenFile) -> f64 {
        let full_pages = self.pages.bytes() + file.encoder.full_pages() as u64;
        let other = (file.encoder.open_bytes() as u64).saturating_sub(full_pages);
        full_pages as f64 + other as f64 * self.compression
    }

    /// About how many bytes the input that is left will come to; `open` is the size of the open file.
    fn encoded_left(&self, open: u64) -> Option<f64> {
        let Input { bytes, bytes_left } = self.input?;
        let encoded = self.done.iter().map(|file| file.size).sum::<u64>() + open;
        Some(encoded as f64 / bytes.saturating_sub(bytes_left).max(1) as f64 * bytes_left as f64)
    }

    fn learn_compression(&mut self) {
        let Some(file) = &mut self.open else { return };
        let row_groups = file.encoder.row_groups();
        if row_groups.len() > file.row_groups {
            file.row_groups = row_groups.len();
            self.compression = compression(row_groups).unwrap_or(self.compression);
        }
    }

    async fn close_file(&mut self) -> Result<(), Error> {
        let (counted, _) = self.open_size();
        let Some(mut file) = self.open.take() else { return Ok(()) };
        let metadata = file.encoder.finish().map_err(Error::encoding)?;
        file.upload().await?;
        file.upload.shutdown().await.map_err(Error::encoding)?;
        self.compression = compression(metadata.row_groups()).unwrap_or(self.compression);
        let size = file.encoder.bytes_written() as u64;
        let crc32c = Some(file.crc32c);
        self.with_footer = (self.with_footer * size as f64 / counted.max(1) as f64).clamp(1.0, WITH_FOOTER_MAX);
        self.done.push(DataFile { path: file.path, size, date: self.date, stats: file.stats, crc32c });
        Ok(())
    }
}

/// What the last of these row groups compressed to.
fn compression(row_groups: &[RowGroupMetaData]) -> Option<f64> {
    let last = row_groups.last()?;
    Some(last.compressed_size() as f64 / last.total_byte_size().max(1) as f64)
}

/// The size of the next file of `total` bytes, some of which may be in it already: the target, or what makes so many
/// equal files of the rest that none misses the target by much.
fn size_of_next(total: f64, target: f64) -> f64 {
    let files = (total / target).round().max(1.0);
    match total / files / target {
        share if !(UNDERSIZE_MIN..=OVERSIZE_MAX).contains(&share) && (files > 1.0 || share > 1.0) => target,
        _ if files == 1.0 => f64::MAX,
        share => target * share,
    }
}

fn open_file(store: &Store, date: Date, schema: &SchemaRef, options: &ArrowWriterOptions) -> Result<OpenFile, Error> {
    let path = Name::new_data(date).path();
    let encoder = Encoder::new(schema.clone(), options.clone()).map_err(Error::encoding)?;
    let upload = BufWriter::with_capacity(store.objects().clone(), path.clone(), PART_BYTES)
        .with_max_concurrency(PARTS_UNDER_WAY_MAX);
    Ok(OpenFile { path: path.to_string(), encoder, upload, crc32c: 0, stats: FileStats::default(), row_groups: 0 })
}

impl OpenFile {
    /// Gives the upload what is complete of the file.
    async fn upload(&mut self) -> Result<(), Error> {
        let bytes = self.encoder.take_bytes().map_err(Error::encoding)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes);
        self.upload.put(bytes.into()).await.map_err(Error::encoding)
    }
}

fn properties(settings: &FileSettings) -> WriterProperties {
    let level = ZstdLevel::try_new(settings.compression_level).unwrap_or_default();
    let column = |name: &str| ColumnPath::from(name);
    let sorted_by = |name: &str| {
        let index = file_schema().index_of(name).expect("the column is in the schema");
        SortingColumn { column_idx: index as i32, descending: false, nulls_first: false }
    };
    // The first columns of the schema are its first leaves, so that their indices are the same in both.
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("logboom ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(settings.row_group_rows))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_write_batch_size(8192)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![sorted_by("category"), sorted_by("timestamp")]));
    for name in ["timestamp", "observed_timestamp", "seq"] {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["body", "body_bytes", "trace_id", "span_id"] {
        builder = builder.set_column_dictionary_enabled(column(name), false);
    }
    // Ids are random, so bounds say nothing of them. It is folded to what a row group has: next to nothing without ids.
    builder = builder
        .set_column_bloom_filter_fpp(column("trace_id"), TRACE_ID_FALSE_POSITIVES)
        .set_column_bloom_filter_max_ndv(column("trace_id"), settings.row_group_rows as u64);
    for name in ["body", "body_bytes"] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for leaf in ["key", "value"] {
        let path = ColumnPath::new(vec![ATTRIBUTES.into(), "key_value".into(), leaf.into()]);
        builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    builder.build()
}
