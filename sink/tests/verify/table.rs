//! A table of real sink files on a store in memory, and ways to do it harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use bytes::Bytes;
use jiff::civil::date;
use logboom_config::Sink;
use logboom_sink::paths::Name;
use logboom_sink::table::{Batch, DataFile, Outcome, Snapshot, SnapshotFile, TableOptions, View, commit};
use logboom_sink::verify::{Progress, Report, Scope, verify};
use logboom_sink::{FileFormat, FileSettings, Store, checksum, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey, StreamId, loss};
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

pub const HOSTS: [&str; 3] = ["web-1", "web-2", "web-3"];
/// The first record is observed at this time, each further one a second later.
pub const START: i64 = 1_767_225_600;

pub fn stream(n: u8) -> StreamId {
    StreamId::from_bytes([n; 16])
}

pub struct Table {
    pub store: Store,
    settings: FileSettings,
    view: View,
    /// Number of the next block, and of its first record, by stream.
    next: BTreeMap<StreamId, (u64, u64)>,
}

/// One record: category, and attributes.
pub type Row<'a> = (&'a str, Vec<(&'a str, String)>);

/// `count` plain records of two categories.
pub fn plain(count: usize) -> Vec<Row<'static>> {
    (0..count).map(|n| (["app", "nginx"][n % 2], vec![])).collect()
}

/// A loss record.
pub fn lost(of: StreamId, first: u64, last: u64, reason: &str) -> Row<'static> {
    let attributes = vec![
        (loss::REASON, reason.to_owned()),
        (loss::STREAM, of.to_string()),
        (loss::FIRST_SEQ, first.to_string()),
        (loss::LAST_SEQ, last.to_string()),
        (loss::RECORDS, (last - first + 1).to_string()),
    ];
    (loss::CATEGORY, attributes)
}

impl Table {
    pub async fn new() -> Self {
        Self::of(FileFormat::Parquet).await
    }

    /// One with sink files in this format.
    pub async fn of(format: FileFormat) -> Self {
        let store = Store::open("memory://", &BTreeMap::new()).unwrap();
        let settings = FileSettings::from(&Sink { format, compression_level: 3, ..Sink::at("memory://") });
        let view = View::open_or_create(&store, &TableOptions { format, ..TableOptions::default() }).await.unwrap();
        Self { store, settings, view, next: BTreeMap::new() }
    }

    /// A table in which each of three hosts has a stream of `commits` times 100 records.
    pub async fn of_commits(commits: usize) -> Self {
        Self::new().await.with_commits(commits).await
    }

    /// With so many commits more.
    pub async fn with_commits(mut self, commits: usize) -> Self {
        let table = &mut self;
        for _ in 0..commits {
            let blocks: Vec<Block> = (0..3).map(|n| table.block(n, &plain(100))).collect();
            table.commit(&blocks).await;
        }
        self
    }

    /// The next block of the stream of host `n`.
    pub fn block(&mut self, n: usize, records: &[Row<'_>]) -> Block {
        let (number, first_record) = *self.next.entry(stream(n as u8)).or_insert((1, 0));
        self.next.insert(stream(n as u8), (number + 1, first_record + records.len() as u64));
        let mut runs: BTreeMap<Arc<RunKey>, Rows> = BTreeMap::new();
        for (at, (category, attributes)) in records.iter().enumerate() {
            let attributes: Vec<_> = attributes.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let observed = (START + first_record as i64 + at as i64) * 1_000_000_000;
            let source = if *category == loss::CATEGORY { loss::SOURCE } else { "in" };
            let key = RunKey { category: (*category).to_owned(), source: source.into(), attributes: vec![] };
            let record = Record { observed, body: b"body", attributes: &attributes, ..Record::default() };
            runs.entry(Arc::new(key)).or_default().push(&record);
        }
        let place = BlockPlace { stream: stream(n as u8), number, first_record, host: HOSTS[n] };
        Encoder::default().encode(place, runs, vec![]).unwrap()
    }

    /// Commits blocks; the path of the file that they are in.
    pub async fn commit(&mut self, blocks: &[Block]) -> String {
        let files = merge(&self.store, blocks, date(2026, 1, 2), &self.settings).await.unwrap();
        let marks =
            blocks.iter().map(|block| (block.header().stream, block.header().number)).collect::<BTreeMap<_, _>>();
        self.commit_files(&files, &marks.into_iter().collect::<Vec<_>>()).await;
        files[0].path.clone()
    }

    pub async fn commit_files(&mut self, files: &[DataFile], marks: &[(StreamId, u64)]) {
        let begun = self.view.begin_files();
        let outcome = commit(&mut self.view, Batch { files, marks, begun }).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed { .. }));
    }

    pub async fn files(&self) -> Vec<SnapshotFile> {
        let mut files = Snapshot::load(&self.store).await.unwrap().files;
        files.sort_by_key(|file| file.stats.as_ref().unwrap().observed_timestamp);
        files
    }

    pub async fn verify(&self) -> Report {
        self.verify_in(Scope::default()).await
    }

    #[track_caller]
    pub fn assert_found(report: &Report, unexplained: u64, doubled: u64, files: usize) {
        println!("{report}");
        assert_eq!((report.unexplained(), report.doubled(), report.files.len()), (unexplained, doubled, files));
        assert_eq!(report.complete, (unexplained, doubled, files) == (0, 0, 0));
    }

    pub async fn verify_in(&self, scope: Scope) -> Report {
        verify(std::slice::from_ref(&self.store), &scope, &Arc::new(Progress::default())).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Bytes {
        self.store.objects().get(&path.into()).await.unwrap().bytes().await.unwrap()
    }

    pub async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.store.objects().put(&path.into(), bytes.into()).await.unwrap();
    }

    /// The rows of a file.
    pub async fn rows(&self, path: &str) -> RecordBatch {
        let bytes = self.get(path).await;
        let mut batches =
            ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().with_batch_size(1 << 20).build().unwrap();
        let batch = batches.next().unwrap().unwrap();
        assert!(batches.next().is_none());
        batch
    }

    /// Writes a file anew with those of its rows that `keep` keeps, and makes the log say the same: nothing but the
    /// numbers of the rows tells.
    pub async fn rewrite(&self, path: &str, keep: impl Fn(&RecordBatch, usize) -> bool) {
        let rows = self.rows(path).await;
        let kept: BooleanArray = (0..rows.num_rows()).map(|row| Some(keep(&rows, row))).collect();
        let columns: Vec<_> = rows.columns().iter().map(|column| filter(column, &kept)).collect();
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        let bytes = parquet(&rows);
        let (size, sum) = (bytes.len(), checksum::to_text(crc32c::crc32c(&bytes)));
        self.put(path, bytes).await;
        self.edit_add(path, |add| {
            add["size"] = size.into();
            add["tags"][checksum::TAG] = sum.clone().into();
            let mut stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
            stats["numRecords"] = rows.num_rows().into();
            add["stats"] = stats.to_string().into();
        })
        .await;
    }

    /// Takes a file out of the table.
    pub async fn remove(&self, path: &str) {
        self.edit_log(|lines| {
            let before = lines.len();
            lines.retain(|line| line["add"]["path"] != path);
            lines.len() < before
        })
        .await;
    }

    /// Changes what the log says of a file.
    pub async fn edit_add(&self, path: &str, edit: impl Fn(&mut Value)) {
        self.edit_log(|lines| {
            let adds = lines.iter_mut().filter_map(|line| line.get_mut("add"));
            let mut found: Vec<&mut Value> = adds.filter(|add| add["path"] == path).collect();
            found.iter_mut().for_each(|add| edit(add));
            !found.is_empty()
        })
        .await;
    }

    /// Changes the lines of commits; `edit` says whether it has. Fails if it never does.
    async fn edit_log(&self, edit: impl Fn(&mut Vec<Value>) -> bool) {
        let mut found = false;
        for version in 0..=self.view.version() {
            let name = Name::Commit(version).to_string();
            let text = String::from_utf8(self.get(&name).await.to_vec()).unwrap();
            let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            found |= edit(&mut lines);
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            self.put(&name, text.into_bytes()).await;
        }
        assert!(found, "no commit is changed");
    }
}

/// Rows as a Parquet file.
pub fn parquet(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    bytes
}

fn filter(column: &arrow_array::ArrayRef, kept: &BooleanArray) -> arrow_array::ArrayRef {
    let rows: Vec<u32> = (0..kept.len()).filter(|row| kept.value(*row)).map(|row| row as u32).collect();
    let data = column.to_data();
    let mut kept = arrow_data::transform::MutableArrayData::new(vec![&data], false, rows.len());
    rows.iter().for_each(|row| kept.try_extend(0, *row as usize, *row as usize + 1).unwrap());
    arrow_array::make_array(kept.freeze())
}
