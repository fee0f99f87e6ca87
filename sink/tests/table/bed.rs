//! A table of real sink files, and what must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use jiff::civil::{Date, date};
use logboom_config::{Globs, Sink};
use logboom_sink::json::{MemberReader, listed_files, read_index};
use logboom_sink::maintain::{Control, RetentionRule, Settings, vacuum};
use logboom_sink::paths::Name;
use logboom_sink::schema::file_schema;
use logboom_sink::table::{Batch, Clock, Outcome, Snapshot, SnapshotFile, TableOptions, View, commit};
use logboom_sink::{FileFormat, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Record, Rows, RunKey, StreamId, loss};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::table::collector::{names, options, stream};
use crate::table::faulty::StalledClock;

/// (stream, sequence number) of a record, with its category.
pub type Row = (String, i64, String);

pub fn day() -> Date {
    date(2026, 2, 3)
}

pub struct Bed {
    pub store: Store,
    pub settings: Settings,
    pub clock: Arc<StalledClock>,
    pub view: View,
    next: BTreeMap<StreamId, (u64, u64)>,
    pub rows: BTreeSet<(Date, Row)>,
}

/// Settings with this clock, and no grace: files go at once.
pub fn settings(clock: Arc<dyn Clock>) -> Settings {
    let mut settings = Settings::from(&Sink::at("memory://"));
    settings.table = TableOptions { clock, vacuum_grace: std::time::Duration::ZERO, ..options() };
    settings
}

pub fn rule(glob: &str, days: u32) -> RetentionRule {
    let max_age = days * std::time::Duration::from_secs(24 * 60 * 60);
    RetentionRule { categories: Globs::new([glob]).unwrap(), max_age }
}

impl Bed {
    pub async fn new(store: Store) -> Self {
        Self::of(store, FileFormat::Parquet).await
    }

    /// With sink files in this format.
    pub async fn of(store: Store, format: FileFormat) -> Self {
        let clock = StalledClock::new();
        // What the store says of its objects is never later than that.
        clock.sleep(std::time::Duration::from_secs(3600));
        let mut settings = settings(clock.clone());
        settings.files.format = format;
        settings.table.format = format;
        let options = TableOptions { clock: clock.clone(), format, ..options() };
        let view = View::open_or_create(&store, &options).await.unwrap();
        Self { store, settings, clock, view, next: BTreeMap::new(), rows: BTreeSet::new() }
    }

    /// Commits a file of `date` with one record of stream `n` for each (category, timestamp in µs).
    pub async fn deliver(&mut self, n: u8, date: Date, records: &[(&str, i64)]) {
        let (of, (number, first)) = (stream(n), self.next.get(&stream(n)).copied().unwrap_or((1, 0)));
        let mut runs: BTreeMap<Arc<RunKey>, Rows> = BTreeMap::new();
        for (category, micros) in records {
            let key = RunKey { category: (*category).into(), source: "s".into(), attributes: vec![] };
            let body = format!("{category} at {micros} {}", "x".repeat(40));
            let record =
                Record { timestamp: Some(micros * 1000), observed: 7, body: body.as_bytes(), ..Record::default() };
            runs.entry(Arc::new(key)).or_default().push(&record);
        }
        let mut seq = first as i64;
        for (key, rows) in &runs {
            for _ in 0..rows.len() {
                self.rows.insert((date, (of.to_string(), seq, key.category.clone())));
                seq += 1;
            }
        }
        let place = BlockPlace { stream: of, number, first_record: first, host: "h" };
        let block = Encoder::default().encode(place, runs, vec![]).unwrap();
        let begun = self.view.begin_files();
        let files = merge(&self.store, &[block], date, &self.settings.files).await.unwrap();
        let marks = [(of, number)];
        self.view.refresh().await.unwrap();
        let outcome = commit(&mut self.view, Batch { files: &files, marks: &marks, begun }).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed { .. }));
        self.next.insert(of, (number + 1, seq as u64));
    }

    /// Forgets the rows that must not be there any more.
    pub fn forget(&mut self, is_past: impl Fn(Date, &str) -> bool) {
        self.rows.retain(|(date, (_, _, category))| !is_past(*date, category));
    }

    pub async fn assert_rows(&self) {
        assert_rows(&self.store, &self.rows).await;
    }
}

/// Fails unless these rows are in the table, each once, in files that are sorted.
pub async fn assert_rows(store: &Store, expected: &BTreeSet<(Date, Row)>) {
    check_rows(store, expected, true).await;
}

/// The same; without `whole_order`, sorted by category and time, whatever the order of rows of one moment.
pub async fn check_rows(store: &Store, expected: &BTreeSet<(Date, Row)>, whole_order: bool) {
    let mut found = BTreeSet::new();
    let Snapshot { files, format, .. } = Snapshot::load(store).await.unwrap();
    for file in files {
        let object = store.objects().get(&file.path.as_str().into()).await.expect("a committed file is there");
        let bytes = object.bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        let (mut last, mut rows) = (None, 0);
        let batches: Vec<RecordBatch> = match format {
            FileFormat::Parquet => {
                let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
                batches.map(|batch| batch.unwrap()).collect()
            }
            FileFormat::Json => json_rows(store, &file).await,
        };
        for batch in batches {
            for row in 0..batch.num_rows() {
                let text = |name: &str| batch[name].as_string::<i32>().value(row).to_owned();
                let time = batch["timestamp"].as_primitive::<TimestampMicrosecondType>().value(row);
                let seq = batch["seq"].as_primitive::<Int64Type>().value(row);
                let key = (text("category"), time, text("stream"), seq);
                let sorted = last.as_ref().is_none_or(|last: &(String, i64, String, i64)| match whole_order {
                    true => *last < key,
                    false => (&last.0, last.1) <= (&key.0, key.1),
                });
                assert!(sorted, "{key:?} after {last:?}");
                last = Some(key.clone());
                rows += 1;
                // What retention says of the rows that it removes.
                if key.0 == loss::CATEGORY {
                    continue;
                }
                assert!(found.insert((file.date, (key.2, seq, key.0))), "{:?} twice", last);
            }
        }
        if format == FileFormat::Parquet {
            assert_eq!(file.stats.unwrap().records, rows, "the statistics are right");
        }
    }
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let extra: Vec<_> = found.difference(expected).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, too many {extra:?}");
}

/// The rows that an index lists.
async fn json_rows(store: &Store, index: &SnapshotFile) -> Vec<RecordBatch> {
    let members = read_index(&**store.objects(), &index.path, index.size).await.unwrap();
    let mut reader = MemberReader::new(store.objects().clone(), &members, file_schema(), 1000, 1 << 20);
    let mut batches = Vec::new();
    while let Some(batch) = reader.next().await.unwrap() {
        batches.push(batch);
    }
    batches
}

/// Fails unless a vacuum leaves the files of the table and nothing else.
pub async fn assert_no_garbage_after_vacuum(store: &Store, settings: &Settings) {
    vacuum(store, settings, false, &Control::default()).await.unwrap();
    let Snapshot { mut files, format, .. } = Snapshot::load(store).await.unwrap();
    if format == FileFormat::Json {
        files.extend(listed_files(store, &files).await.unwrap());
    }
    let live: BTreeSet<String> = files.into_iter().map(|file| file.path).collect();
    let data = names(store).await.into_iter().filter(|name| matches!(name, Name::Data { .. } | Name::Json { .. }));
    assert_eq!(data.map(|name| name.to_string()).collect::<BTreeSet<_>>(), live);
}
