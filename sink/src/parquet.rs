//! Sink files in Parquet: how they are laid out, and when one ends and the next begins.
//!
//! - zstd, sorted by (category, timestamp), with a page index, so that any engine reads only the pages it needs;
//! - a row group ends with its category unless the category is small, so that a category can be read alone;
//! - no dictionary and no statistics for bodies: they hardly repeat, nobody asks for their greatest, and both cost time.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{RecordBatch, StringArray};
use jiff::civil::Date;
use logboom_config::FileFormat;
use object_store::buffered::BufWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::AsyncArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::paths::Name;
use crate::schema::file_schema;
use crate::table::{DataFile, FileStats};
use crate::{Error, Store};

/// A category with fewer encoded bytes than this shares its row group with its neighbours.
const ROW_GROUP_BYTES_MIN: usize = 1 << 20;
/// Objects up to this size are put at once, larger ones in parts of this size.
pub(crate) const PART_BYTES: usize = 8 << 20;

/// How sink files are made.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// What they are written in.
    pub format: FileFormat,
    /// A file ends at about this many bytes.
    pub target_file_size: u64,
    /// The level of zstd for Parquet, 1 to 19; of gzip for JSON, 1 to 9.
    pub compression_level: i32,
    /// Most rows of a row group of Parquet.
    pub row_group_rows: usize,
}

impl From<&logboom_config::Sink> for FileSettings {
    fn from(settings: &logboom_config::Sink) -> Self {
        Self {
            format: settings.format,
            target_file_size: settings.target_file_size,
            compression_level: settings.compression_level,
            row_group_rows: settings.row_group_rows,
        }
    }
}

/// Writes sorted rows into as many files of one partition as they need.
pub struct FileWriter {
    store: Store,
    date: Date,
    settings: FileSettings,
    options: ArrowWriterOptions,
    open: Option<OpenFile>,
    done: Vec<DataFile>,
}

struct OpenFile {
    path: String,
    writer: AsyncArrowWriter<BufWriter>,
    stats: FileStats,
}

impl FileWriter {
    /// Writes nothing yet.
    pub fn new(store: Store, date: Date, settings: FileSettings) -> Self {
        let options = ArrowWriterOptions::new().with_properties(properties(&settings));
        Self { store, date, settings, options, open: None, done: Vec::new() }
    }

    /// Writes rows that come after all before them in the order of a sink file.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.open.is_none() {
            self.open = Some(self.open_file()?);
        }
        let file = self.open.as_mut().expect("opened above");
        file.writer.write(rows).await.map_err(Error::encoding)?;
        count(&mut file.stats, rows);
        let bytes = file.writer.bytes_written() + file.writer.in_progress_size();
        if bytes as u64 >= self.settings.target_file_size {
            self.close_file().await?;
        }
        Ok(())
    }

    /// The category is complete: what follows is another one's.
    pub async fn category_ended(&mut self) -> Result<(), Error> {
        match &mut self.open {
            Some(file) if file.writer.in_progress_size() >= ROW_GROUP_BYTES_MIN => {
                file.writer.flush().await.map_err(Error::encoding)
            }
            _ => Ok(()),
        }
    }

    /// Ends the last file. All files are on the store now, durably; no reader sees them before they are committed.
    pub async fn finish(mut self) -> Result<Vec<DataFile>, Error> {
        self.close_file().await?;
        Ok(self.done)
    }

    fn open_file(&self) -> Result<OpenFile, Error> {
        let path = Name::new_data(self.date).path();
        let upload = BufWriter::with_capacity(self.store.objects().clone(), path.clone(), PART_BYTES);
        let writer = AsyncArrowWriter::try_new_with_options(upload, file_schema(), self.options.clone());
        Ok(OpenFile { path: path.to_string(), writer: writer.map_err(Error::encoding)?, stats: FileStats::default() })
    }

    async fn close_file(&mut self) -> Result<(), Error> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        file.writer.finish().await.map_err(Error::encoding)?;
        let size = file.writer.bytes_written() as u64;
        self.done.push(DataFile { path: file.path, size, date: self.date, stats: file.stats });
        Ok(())
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
    for name in ["body", "body_bytes"] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    for leaf in ["key", "value"] {
        let path = ColumnPath::new(vec!["attributes".into(), "key_value".into(), leaf.into()]);
        builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    builder.build()
}

/// Takes sorted `rows` into the statistics of their file.
pub(crate) fn count(stats: &mut FileStats, rows: &RecordBatch) {
    stats.records += rows.num_rows() as u64;
    widen_instants(&mut stats.timestamp, rows, "timestamp");
    widen_instants(&mut stats.observed_timestamp, rows, "observed_timestamp");
    widen_texts(&mut stats.category, rows, "category");
    widen_texts(&mut stats.host, rows, "host");
}

fn widen_instants(bounds: &mut Option<(i64, i64)>, rows: &RecordBatch, name: &str) {
    let values = rows[name].as_primitive::<TimestampMicrosecondType>().values();
    let least = values.iter().min().copied().expect("there are rows");
    let greatest = values.iter().max().copied().expect("there are rows");
    *bounds = Some(bounds.map_or((least, greatest), |(l, g)| (l.min(least), g.max(greatest))));
}

fn widen_texts(bounds: &mut Option<(String, String)>, rows: &RecordBatch, name: &str) {
    let values: &StringArray = rows[name].as_string();
    let mut last = None;
    for value in values.iter().flatten() {
        // Neighbours are mostly equal: most rows cost one comparison.
        if last == Some(value) {
            continue;
        }
        last = Some(value);
        match bounds {
            None => *bounds = Some((value.to_owned(), value.to_owned())),
            Some((least, _)) if value < least.as_str() => value.clone_into(least),
            Some((_, greatest)) if value > greatest.as_str() => value.clone_into(greatest),
            Some(_) => {}
        }
    }
}
