//! Sink files for tests: small pages, a row group per category, every byte predictable.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::TryStreamExt;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use logboom_config::Sink;
use logboom_query::{Error, Output, Session, Usage};
use logboom_sink::json::{JsonWriter, Member, read_index};
use logboom_sink::schema::file_schema;
use logboom_sink::table::{DataFile, FileStats, Snapshot, SnapshotFile};
use logboom_sink::{FileFormat, FileSettings, Store};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tempfile::TempDir;

pub const PAGE_ROWS: usize = 500;

#[derive(Clone, Debug)]
pub struct Record {
    pub timestamp: Timestamp,
    pub category: String,
    pub host: String,
    pub body: String,
    pub status: Option<String>,
}

/// A record at an instant given in RFC 3339.
pub fn record(timestamp: &str, category: &str, body: &str) -> Record {
    Record {
        timestamp: timestamp.parse().unwrap(),
        category: category.to_owned(),
        host: "web-1".to_owned(),
        body: body.to_owned(),
        status: None,
    }
}

/// `count` records of one category, a second apart, with bodies that hardly compress.
pub fn busy(start: &str, category: &str, count: usize) -> Vec<Record> {
    let start: Timestamp = start.parse().unwrap();
    let mut noise =
        0x9e37_79b9_7f4a_7c15_u64 ^ category.bytes().fold(0_u64, |n, b| n.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut word = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise
    };
    (0..count)
        .map(|n| Record {
            timestamp: start + jiff::SignedDuration::from_secs(n as i64),
            category: category.to_owned(),
            host: format!("web-{}", n % 7),
            body: format!("request {:016x}{:016x}{:016x}{:016x}", word(), word(), word(), word()),
            status: Some(if n % 100 == 0 { "500" } else { "200" }.to_owned()),
        })
        .collect()
}

/// A table on a local folder.
pub struct Table {
    folder: TempDir,
    pub files: Vec<SnapshotFile>,
    format: FileFormat,
}

impl Table {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), files: Vec::new(), format: FileFormat::Parquet }
    }

    /// One whose sink files are JSON.
    pub fn json() -> Self {
        Self { format: FileFormat::Json, ..Self::new() }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Writes records, which must come by category, then time, as a sink of JSON does. Returns the members.
    pub async fn json_file(&mut self, records: &[Record]) -> Vec<Member> {
        let store = Store::open(self.url(), &BTreeMap::new()).unwrap();
        let settings = FileSettings {
            format: FileFormat::Json,
            target_file_size: 1 << 30,
            compression_level: 5,
            ..FileSettings::from(&Sink::at(self.url()))
        };
        let date = records[0].timestamp.to_zoned(TimeZone::UTC).date();
        let mut writer = JsonWriter::new(store.clone(), date, &settings);
        for run in records.chunk_by(|a, b| a.category == b.category) {
            writer.write(&batch(run)).await.unwrap();
            writer.category_ended().await.unwrap();
        }
        let file = writer.finish().await.unwrap().unwrap();
        // As a snapshot has it: the log does not say all that the writer knew.
        let stats = FileStats::from_json(&file.stats.to_json(), FileFormat::Json);
        let DataFile { path, size, crc32c, .. } = file;
        let members = read_index(&**store.objects(), &path, size).await.unwrap();
        self.files.push(SnapshotFile { path, size, date, stats, crc32c, compacted: false });
        members
    }

    /// Writes one sink file; records must come by category, then time. The day is that of the first record.
    pub fn file(&mut self, records: &[Record]) -> &SnapshotFile {
        let date = records[0].timestamp.to_zoned(TimeZone::UTC).date();
        let path = format!("date={date}/{}.parquet", self.files.len());
        std::fs::create_dir_all(self.folder.path().join(format!("date={date}"))).unwrap();
        let file = File::create(self.folder.path().join(&path)).unwrap();
        let mut properties = WriterProperties::builder();
        // A page of a column with a dictionary costs the whole dictionary, which is nearly the column where values
        // hardly repeat.
        for column in ["timestamp", "observed_timestamp", "body", "seq"] {
            properties = properties.set_column_dictionary_enabled(column.into(), false);
        }
        let properties = properties
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS)
            .build();
        let mut writer = ArrowWriter::try_new(file, file_schema(), Some(properties)).unwrap();
        for run in records.chunk_by(|a, b| a.category == b.category) {
            writer.write(&batch(run)).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        let size = std::fs::metadata(self.folder.path().join(&path)).unwrap().len();
        self.push(path, size, date, records)
    }

    fn push(&mut self, path: String, size: u64, date: Date, records: &[Record]) -> &SnapshotFile {
        let instants = bounds(records, |record| record.timestamp.as_microsecond());
        let stats = FileStats {
            records: records.len() as u64,
            members: None,
            timestamp: instants,
            observed_timestamp: instants,
            category: bounds(records, |record| record.category.clone()),
            host: bounds(records, |record| record.host.clone()),
            nulls: BTreeMap::from([("trace_id".to_owned(), records.len() as u64)]),
        };
        self.files.push(SnapshotFile { path, size, date, stats: Some(stats), crc32c: None, compacted: false });
        self.files.last().unwrap()
    }

    pub fn url(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub fn session(&self) -> Session {
        let snapshot = Snapshot { version: 1, format: self.format, files: self.files.clone(), columns: vec![] };
        Session::over(snapshot, &Store::open_to_read(self.url(), &BTreeMap::new()).unwrap()).unwrap()
    }

    pub async fn ask(&self, sql: &str) -> Answer {
        ask(&self.session(), sql).await
    }

    /// What is wrong with an answer that cannot be had.
    pub async fn fail(&self, sql: &str) -> String {
        let mut rows = match self.session().sql(sql).await {
            Ok(rows) => rows,
            Err(error) => return error.to_string(),
        };
        let answer: Result<Vec<_>, _> = (&mut rows).try_collect().await;
        answer.expect_err("it should fail").to_string()
    }

    pub async fn refuse(&self, sql: &str) -> Error {
        self.session().sql(sql).await.map(|_| sql.to_owned()).expect_err("it should be refused")
    }
}

/// An answer that has been read to its end.
pub struct Answer {
    pub batches: Vec<RecordBatch>,
    pub usage: Usage,
}

pub async fn ask(session: &Session, sql: &str) -> Answer {
    let mut rows = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches: Vec<_> = (&mut rows).try_collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    Answer { batches, usage: rows.usage() }
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The only number of the answer.
    pub fn number(&self) -> i64 {
        assert_eq!(self.rows(), 1);
        let batch = self.batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
        batch.column(0).as_primitive::<Int64Type>().value(0)
    }

    /// The answer as CSV without its header.
    pub async fn lines(&self) -> Vec<String> {
        let Some(first) = self.batches.first() else { return Vec::new() };
        let batches = futures::stream::iter(self.batches.iter().cloned().map(Ok));
        let mut text = Vec::new();
        Output::Csv.write(first.schema(), batches, &mut text).await.unwrap();
        String::from_utf8(text).unwrap().lines().skip(1).map(str::to_owned).collect()
    }
}

pub async fn print(table: &Table, output: Output, sql: &str) -> String {
    let mut rows = table.session().sql(sql).await.unwrap();
    let mut text = Vec::new();
    output.write(rows.schema(), &mut rows, &mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn bounds<T: Ord>(records: &[Record], value: impl Fn(&Record) -> T) -> Option<(T, T)> {
    Some((records.iter().map(&value).min()?, records.iter().map(&value).max()?))
}

fn batch(records: &[Record]) -> RecordBatch {
    let count = records.len();
    let instants = || -> ArrayRef {
        let us = records.iter().map(|record| record.timestamp.as_microsecond());
        Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_timezone("UTC"))
    };
    let text =
        |value: fn(&Record) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(records.iter().map(value))) };
    let mut bytes = BinaryBuilder::new();
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut attributes = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for record in records {
        bytes.append_null();
        if let Some(status) = &record.status {
            attributes.keys().append_value("http.status");
            attributes.values().append_value(status);
        }
        attributes.append(true).unwrap();
    }
    let none = || -> ArrayRef { Arc::new(StringArray::new_null(count)) };
    let columns: Vec<ArrayRef> = vec![
        instants(),
        instants(),
        text(|record| &record.category),
        text(|record| &record.host),
        text(|_| "access"),
        Arc::new(Int32Array::from(vec![9; count])),
        text(|_| "INFO"),
        text(|record| &record.body),
        Arc::new(bytes.finish()),
        Arc::new(attributes.finish()),
        none(),
        none(),
        text(|_| "00112233445566778899aabbccddeeff"),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
    ];
    RecordBatch::try_new(file_schema(), columns).unwrap()
}
