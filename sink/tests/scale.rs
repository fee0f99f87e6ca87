//! A table after months of commits, and a day of many small files: what they cost, and what becomes of them.
//!
//! The tests in the test command are small. For the figures:
//! `cargo test --release -p logboom-sink --test sink scale:: -- --ignored --nocapture --test-threads 1`
//! (`LOGBOOM_SCALE_COMMITS`, `LOGBOOM_SCALE_ROWS` change the size).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use jiff::civil::date;
use logboom_config::Sink;
use logboom_sink::maintain::{Control, Days, FILE_BYTES_MIN, Settings, compact};
use logboom_sink::paths::Name;
use logboom_sink::schema::file_schema;
use logboom_sink::table::{
    Batch, DataFile, FileStats, Outcome, Snapshot, TableOptions, View, actions, commit, write_checkpoint,
};
use logboom_sink::{FileWriter, Store};
use logboom_wire::StreamId;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn memory() -> Store {
    Store::open("memory://", &BTreeMap::new()).unwrap()
}

fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn stream(n: u64) -> StreamId {
    // Random as they are, so that they do not compress.
    let mut rng = StdRng::seed_from_u64(n);
    StreamId::from_bytes(rng.random())
}

/// Writes the log of a table with so many commits straight to the store: each with a file and a mark.
async fn old_table(store: &Store, commits: u64, streams: u64) {
    let options = TableOptions::default();
    View::open_or_create(store, &options).await.unwrap();
    for version in 1..=commits {
        let (of, mark) = (stream(version % streams), version / streams + 1);
        let name = Name::new_data(date(2026, 2, 3));
        let stats = FileStats {
            records: 1000,
            timestamp: Some((1_000_000 * version as i64, 1_000_000 * (version as i64 + 30))),
            category: Some(("app.one".into(), "nginx.access".into())),
            host: Some(("host-1".into(), "host-999".into())),
            ..FileStats::default()
        };
        let lines = [
            serde_json::json!({"commitInfo": {"timestamp": 1, "operation": "WRITE", "txnId": format!("t-{version}")}}),
            serde_json::json!({"txn": {"appId": of.to_string(), "version": mark, "lastUpdated": 4_000_000_000_000_i64}}),
            serde_json::json!({"add": {
                "path": name.to_string(), "partitionValues": {"date": "2026-02-03"}, "size": 1_000_000,
                "modificationTime": 1, "dataChange": true, "stats": stats.to_json(),
            }}),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert!(actions::parse("x", text.as_bytes()).is_ok());
        store.objects().put(&Name::Commit(version).path(), text.into()).await.unwrap();
        // As a collector does at its interval; an older one would be of no use to anyone.
        if version == commits - commits.min(99) / 2 {
            assert_eq!(write_checkpoint(store).await.unwrap(), version);
        }
    }
}

/// The median time of so many commits, each of a stream of its own.
async fn commit_time(store: &Store, view: &mut View, commits: u64) -> Duration {
    let mut times = Vec::new();
    for n in 0..commits {
        let name = Name::new_data(date(2026, 2, 4));
        let stats = FileStats { records: 1, ..FileStats::default() };
        let files = [DataFile { path: name.to_string(), size: 1, date: date(2026, 2, 4), stats, crc32c: None }];
        let marks = [(stream(1_000_000 + n), 1)];
        let began = Instant::now();
        let begun = view.begin_files();
        let outcome = commit(view, Batch { files: &files, marks: &marks, begun }).await.unwrap();
        times.push(began.elapsed());
        assert!(matches!(outcome, Outcome::Committed { .. }), "{}", store.url());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Times of opening the table cold, of a snapshot, of a commit to it and to a new one.
async fn ages_well(commits: u64, streams: u64) -> [Duration; 4] {
    let dir = tempfile::tempdir().unwrap();
    let options = TableOptions::default();
    let folder = |name: &str| Store::open(dir.path().join(name).to_str().unwrap(), &BTreeMap::new()).unwrap();
    // Built in memory, for nobody needs twenty thousand syncs; then put into a folder as it is.
    let (built, old, new) = (memory(), folder("old"), folder("new"));
    old_table(&built, commits, streams).await;
    let path = dir.path().join("old/_delta_log");
    std::fs::create_dir_all(&path).unwrap();
    let objects: Vec<_> = futures::TryStreamExt::try_collect(built.objects().list(None)).await.unwrap();
    for meta in objects {
        let bytes = built.objects().get(&meta.location).await.unwrap().bytes().await.unwrap();
        std::fs::write(path.join(meta.location.filename().unwrap()), bytes).unwrap();
    }
    let began = Instant::now();
    let mut view = View::open(&old, &options).await.unwrap();
    let open = began.elapsed();
    assert_eq!((view.version(), view.marks().len() as u64), (commits, streams.min(commits)));
    let began = Instant::now();
    assert_eq!(Snapshot::load(&old).await.unwrap().files.len() as u64, commits);
    let snapshot = began.elapsed();
    let to_old = commit_time(&old, &mut view, 41).await;
    let mut view = View::open_or_create(&new, &options).await.unwrap();
    let to_new = commit_time(&new, &mut view, 41).await;
    println!(
        "{commits} commits, {streams} streams: open {open:.1?}, snapshot {snapshot:.1?}, \
         commit {to_old:.2?}, to a new table {to_new:.2?}"
    );
    [open, snapshot, to_old, to_new]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_thousand_commits_opens_like_a_new_one() {
    let [open, _, old, new] = ages_well(1000, 200).await;
    // Far more than it takes: other tests take their share of the machine.
    assert!(open < Duration::from_secs(5), "{open:?}");
    assert!(old < new * 5 + Duration::from_millis(50), "{old:?} beside {new:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for figures, in release"]
async fn a_table_of_twenty_thousand_commits_opens_in_a_second() {
    let [open, _, old, new] = ages_well(size("LOGBOOM_SCALE_COMMITS", 20_000), 2000).await;
    assert!(open < Duration::from_secs(1), "{open:?}");
    assert!(old < new * 2, "{old:?} beside {new:?}");
}

const CATEGORIES: [&str; 20] = [
    "app.a",
    "app.b",
    "app.c",
    "app.d",
    "app.e",
    "audit",
    "auth",
    "cron",
    "db.error",
    "db.slow",
    "kernel",
    "mail",
    "nginx.access",
    "nginx.error",
    "queue",
    "redis",
    "ssh",
    "syslog",
    "web.access",
    "web.error",
];

/// Sorted rows of one batch of a collector, with bodies that hardly compress.
fn rows(rng: &mut StdRng, of: StreamId, first: i64, count: usize, second: i64) -> RecordBatch {
    let per = count / CATEGORIES.len();
    let count = per * CATEGORIES.len();
    let body = |rng: &mut StdRng| {
        format!("{:032x}{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>(), rng.random::<u128>())
    };
    let times: Vec<i64> =
        (0..count).map(|row| second * 1_000_000 + (row % per) as i64 * 10_000_000 / per as i64).collect();
    let instants = || Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")) as ArrayRef;
    let same = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef;
    let schema = file_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "timestamp" | "observed_timestamp" => instants(),
        "category" => Arc::new(StringArray::from_iter_values((0..count).map(|row| CATEGORIES[row / per]))),
        "host" => same("host-17.example.net"),
        "source" => same("file"),
        "body" => Arc::new(StringArray::from_iter_values((0..count).map(|_| body(rng)))),
        "stream" => same(&of.to_string()),
        "seq" => Arc::new(Int64Array::from_iter_values(first..first + count as i64)),
        _ => new_null_array(field.data_type(), count),
    });
    let columns: Vec<ArrayRef> = columns.collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

/// A day of two collectors that take turns, then its compaction.
async fn day(commits: u64, rows_each: usize, settings: &Settings) -> Vec<u64> {
    let store = memory();
    let day = date(2026, 2, 3);
    let began = Instant::now();
    let mut views = Vec::new();
    for _ in 0..2 {
        views.push(View::open_or_create(&store, &settings.table).await.unwrap());
    }
    let mut rng = StdRng::seed_from_u64(7);
    let mut next = [0_i64; 2];
    let mut total = 0;
    for n in 0..commits {
        let of = (n % 2) as usize;
        let batch = rows(&mut rng, stream(of as u64), next[of], rows_each, (n / 2 * 10) as i64);
        next[of] += batch.num_rows() as i64;
        let view = &mut views[of];
        let begun = view.begin_files();
        let mut writer = FileWriter::new(store.clone(), day, settings.files.clone());
        writer.write(&batch).await.unwrap();
        let files = writer.finish().await.unwrap();
        total += files[0].size;
        let marks = [(stream(of as u64), n / 2 + 1)];
        let batch = Batch { files: &files, marks: &marks, begun };
        assert!(matches!(commit(view, batch).await.unwrap(), Outcome::Committed { .. }));
        if n % 1000 == 999 {
            write_checkpoint(&store).await.unwrap();
        }
    }
    println!("{commits} commits, {} rows, {:.1} MB in {:.1?}", next[0] + next[1], total as f64 / 1e6, began.elapsed());
    let began = Instant::now();
    let done = compact(&store, settings, Days::Due, &Control::default()).await.unwrap();
    let took = began.elapsed();
    let files = Snapshot::load(&store).await.unwrap().files;
    let mut sizes: Vec<u64> = files.iter().map(|file| file.size).collect();
    sizes.sort_unstable();
    println!(
        "compacted in {took:.1?}, {} commits, {:.1} MB read: {sizes:?}",
        done.commits,
        done.bytes_before as f64 / 1e6
    );

    // Every (stream, seq) once, and each category in one range of the day.
    let mut seen: HashMap<String, Vec<bool>> =
        (0..2).map(|n| (stream(n).to_string(), vec![false; next[n as usize] as usize])).collect();
    let mut ranges: HashMap<String, Vec<String>> = HashMap::new();
    for file in &files {
        let bytes = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let (streams, seqs) = (batch["stream"].as_string::<i32>(), batch["seq"].as_primitive::<Int64Type>());
            let categories = batch["category"].as_string::<i32>();
            let mut last = "";
            for row in 0..batch.num_rows() {
                let slot = &mut seen.get_mut(streams.value(row)).unwrap()[seqs.value(row) as usize];
                assert!(!std::mem::replace(slot, true), "a row is there twice");
                if categories.value(row) != last {
                    last = categories.value(row);
                    let in_files = ranges.entry(last.to_owned()).or_default();
                    if in_files.last() != Some(&file.path) {
                        in_files.push(file.path.clone());
                    }
                }
            }
        }
    }
    assert!(seen.values().flatten().all(|seen| *seen), "a row is missing");
    let split: usize = ranges.values().map(|files| files.len() - 1).sum();
    assert!(split < files.len(), "only a category at a cut is in two files: {split}");
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_more_files_than_one_merge_takes_ends_in_few() {
    let mut settings = Settings::from(&Sink::at("memory://"));
    settings.compact_file_size = 256 << 10;
    let sizes = day(600, 40, &settings).await;
    let total: u64 = sizes.iter().sum();
    let needed = total.div_ceil(settings.compact_file_size / 2);
    assert!(sizes.len() as u64 <= needed && sizes.len() > 2, "{sizes:?}");
    // Files as small as these inputs are half footers, which the plan counts and the outputs have not.
    assert!(
        sizes.iter().all(|size| (settings.compact_file_size / 3..settings.compact_file_size * 2).contains(size)),
        "{sizes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for figures, in release"]
async fn a_day_of_a_commit_every_ten_seconds_from_two_collectors_ends_in_files_of_256_mb_to_1_gb() {
    let settings = Settings::from(&Sink::at("memory://"));
    let commits = size("LOGBOOM_SCALE_COMMITS", 17_280);
    let sizes = day(commits, size("LOGBOOM_SCALE_ROWS", 1200) as usize, &settings).await;
    let total: u64 = sizes.iter().sum();
    assert!(sizes.iter().all(|size| (FILE_BYTES_MIN..1_000_000_000).contains(size)), "{sizes:?}");
    assert!(sizes.len() as u64 <= total / FILE_BYTES_MIN, "{sizes:?}");
}
