//! The merge and the sink files that it writes.

mod any;
mod sizes;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use logboom_config::{Promoted, PromotedType};
use logboom_sink::table::DataFile;
use logboom_sink::{FileFormat, FileSettings, MergeError, Store, merge, merge_categories};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey, StreamId};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn settings() -> FileSettings {
    FileSettings {
        target_file_size: 256 << 20,
        compression_level: 1,
        row_group_rows: 1 << 20,
        merge_memory: 64 << 20,
        promote: vec![],
        format: FileFormat::Parquet,
    }
}

fn store() -> Store {
    Store::open("memory://", &Default::default()).unwrap()
}

fn stream(byte: u8) -> StreamId {
    StreamId::from_bytes([byte; 16])
}

fn key(category: &str, attributes: &[(&str, &str)]) -> Arc<RunKey> {
    let attributes = attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Arc::new(RunKey { category: category.into(), source: "source".into(), attributes })
}

/// A block with one record for each (category, timestamp in µs, body); bodies of one category keep their order.
fn block(of: StreamId, number: u64, first_record: u64, records: &[(&str, i64, &str)]) -> Block {
    let mut runs: std::collections::BTreeMap<Arc<RunKey>, Rows> = Default::default();
    for (category, micros, body) in records {
        let record = Record { timestamp: Some(micros * 1000), observed: 7, body: body.as_bytes(), ..Record::default() };
        runs.entry(key(category, &[])).or_default().push(&record);
    }
    encode(of, number, first_record, runs)
}

fn encode(of: StreamId, number: u64, first_record: u64, runs: impl IntoIterator<Item = (Arc<RunKey>, Rows)>) -> Block {
    let place = BlockPlace { stream: of, number, first_record, host: "host" };
    Encoder::default().encode(place, runs, vec![]).unwrap()
}

async fn merged(store: &Store, blocks: &[Block], settings: &FileSettings) -> Vec<DataFile> {
    merge(store, blocks, jiff::civil::date(2026, 1, 2), settings).await.unwrap()
}

async fn read(store: &Store, file: &DataFile) -> Vec<RecordBatch> {
    let bytes = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, file.size);
    ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().map(Result::unwrap).collect()
}

/// (category, timestamp, stream, seq, body) of every row.
fn rows(batches: &[RecordBatch]) -> Vec<(String, i64, String, i64, String)> {
    let mut rows = Vec::new();
    for batch in batches {
        let text = |name: &str, row| batch[name].as_string::<i32>().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let time = batch["timestamp"].as_primitive::<TimestampMicrosecondType>().value(row);
            let seq = batch["seq"].as_primitive::<Int64Type>().value(row);
            rows.push((text("category", row), time, text("stream", row), seq, text("body", row)));
        }
    }
    rows
}

#[tokio::test]
async fn rows_come_by_category_then_time_then_stream_then_sequence_number() {
    let blocks = [
        block(stream(2), 1, 0, &[("b", 5, "b5"), ("a", 3, "a3 of 2"), ("a", 1, "a1")]),
        block(stream(1), 1, 0, &[("a", 3, "a3 of 1"), ("a", 3, "a3 again"), ("a", 9, "a9")]),
        block(stream(1), 2, 3, &[("a", 2, "a2 late"), ("b", 1, "b1")]),
    ];
    let store = store();
    let files = merged(&store, &blocks, &settings()).await;
    assert_eq!(files.len(), 1);
    assert!(files[0].path.starts_with("date=2026-01-02/"));
    let rows = rows(&read(&store, &files[0]).await);
    let bodies: Vec<&str> = rows.iter().map(|row| row.4.as_str()).collect();
    assert_eq!(bodies, ["a1", "a2 late", "a3 of 1", "a3 again", "a3 of 2", "a9", "b1", "b5"]);
    // Sequence numbers count in payload order: by category within a block.
    let seqs: Vec<(&str, i64)> = rows.iter().map(|row| (row.4.as_str(), row.3)).collect();
    assert!(seqs.contains(&("a3 of 2", 0)) && seqs.contains(&("a1", 1)) && seqs.contains(&("b5", 2)), "{seqs:?}");
    assert_eq!(files[0].stats.records, 8);
    assert_eq!(files[0].stats.timestamp, Some((1, 9)));
    assert_eq!(files[0].stats.category, Some(("a".into(), "b".into())));
}

#[tokio::test]
async fn many_blocks_that_overlap_in_time_merge_in_full_order() {
    let mut random = 12345u64;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let mut blocks = Vec::new();
    let mut expected = 0;
    for number in 1..=60 {
        for of in 1..=4 {
            let mut texts = Vec::new();
            for _ in 0..next(400) + 1 {
                let time = number as i64 * 1000 + next(3000) as i64;
                texts.push((["x", "y", "z"][next(3) as usize], time));
            }
            expected += texts.len() as u64;
            let records: Vec<_> = texts.iter().map(|(category, time)| (*category, *time, "body")).collect();
            blocks.push(block(stream(of), number, number * 10_000, &records));
        }
    }
    let store = store();
    let files = merged(&store, &blocks, &settings()).await;
    let mut all = Vec::new();
    for file in &files {
        all.extend(rows(&read(&store, file).await));
    }
    assert_eq!(all.len() as u64, expected);
    assert!(all.is_sorted(), "sorted by category, time, stream, seq");
    let mut seqs: Vec<_> = all.iter().map(|row| (&row.2, row.3)).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len() as u64, expected, "(stream, seq) is unique");
}

#[tokio::test]
async fn files_are_split_at_the_target_size_and_stay_sorted() {
    let line =
        |n: u64| format!("{n} {:x} {:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xd1b5_4a32_d192_ed03));
    let mut blocks = Vec::new();
    for number in 0..40 {
        let mut run = Rows::default();
        for n in 0..2000 {
            run.push_line((number * 2000 + n) as i64, line(number * 2000 + n).as_bytes());
        }
        blocks.push(encode(stream(1), number + 1, number * 2000, [(key("c", &[]), run)]));
    }
    let store = store();
    let small = FileSettings { target_file_size: 1 << 20, ..settings() };
    let files = merged(&store, &blocks, &small).await;
    assert!(files.len() >= 2, "{} files", files.len());
    let mut all = Vec::new();
    for file in &files {
        all.extend(rows(&read(&store, file).await));
    }
    assert_eq!(all.len(), 80_000);
    assert!(all.is_sorted());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept_beside_the_text() {
    let mut run = Rows::default();
    run.push_line(1, b"caf\xe9");
    run.push_line(2, "café".as_bytes());
    let store = store();
    let files = merged(&store, &[encode(stream(1), 1, 0, [(key("c", &[]), run)])], &settings()).await;
    let batch = &read(&store, &files[0]).await[0];
    let (body, bytes) = (batch["body"].as_string::<i32>(), batch["body_bytes"].as_binary::<i32>());
    assert_eq!((body.value(0), body.value(1)), ("caf\u{fffd}", "café"));
    assert_eq!(bytes.value(0), b"caf\xe9");
    assert!(bytes.is_null(1));
}

#[tokio::test]
async fn a_records_attribute_wins_over_that_of_its_run() {
    let mut run = Rows::default();
    run.push(&Record { observed: 1, body: b"a", attributes: &[("env", "test"), ("n", "1")], ..Record::default() });
    run.push(&Record {
        observed: 2,
        body: b"b",
        severity_number: 9,
        severity_text: "info",
        trace_id: Some([0xab; 16]),
        span_id: Some([1; 8]),
        ..Record::default()
    });
    let key = key("c", &[("env", "prod"), ("path", "/x")]);
    let store = store();
    let files = merged(&store, &[encode(stream(1), 1, 0, [(key, run)])], &settings()).await;
    let batch = &read(&store, &files[0]).await[0];
    let entries = |row: usize| {
        let map = batch["attributes"].as_map().value(row);
        let (keys, values) = (map.column(0).as_string::<i32>().clone(), map.column(1).as_string::<i32>().clone());
        (0..keys.len()).map(|at| format!("{}={}", keys.value(at), values.value(at))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(entries(0), "path=/x env=test n=1");
    assert_eq!(entries(1), "env=prod path=/x");
    assert_eq!(batch["trace_id"].as_string::<i32>().value(1), "ab".repeat(16));
    assert_eq!(batch["span_id"].as_string::<i32>().value(1), "01".repeat(8));
    assert!(batch["trace_id"].is_null(0) && batch["severity_number"].is_null(0));
    assert_eq!(batch["severity_text"].as_string::<i32>().value(1), "info");
}

#[tokio::test]
async fn promoted_attributes_have_columns_and_stay_where_they_were() {
    let mut run = Rows::default();
    run.push(&Record { observed: 1, body: b"a", attributes: &[("http.status", "404")], ..Record::default() });
    run.push(&Record { observed: 2, body: b"b", attributes: &[("http.status", "none")], ..Record::default() });
    run.push(&Record { observed: 3, body: b"c", ..Record::default() });
    let promoted =
        |attribute: &str, column: &str, kind| Promoted { attribute: attribute.into(), column: column.into(), kind };
    let promote =
        vec![promoted("http.status", "http_status", PromotedType::Int), promoted("env", "env", PromotedType::String)];
    let key = key("c", &[("env", "prod")]);
    let store = store();
    // The run has an attribute in common as well.
    let files = merged(&store, &[encode(stream(1), 1, 0, [(key, run)])], &FileSettings { promote, ..settings() }).await;
    let batch = &read(&store, &files[0]).await[0];
    let statuses: Vec<_> = batch["http_status"].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(statuses, [Some(404), None, None]);
    assert_eq!(batch["env"].as_string::<i32>().iter().collect::<Vec<_>>(), [Some("prod"); 3]);
    let map = batch["attributes"].as_map().value(1);
    assert_eq!(map.column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["prod", "none"]);
    assert_eq!(batch.num_columns(), 16);
}

#[tokio::test]
async fn of_selected_categories_only_those_are_decoded() {
    let bad = hollow(&block(stream(2), 1, 0, &[("b", 1, "bad")]));
    let good = block(stream(1), 1, 0, &[("a", 1, "a"), ("b", 2, "b")]);
    let store = store();
    let date = jiff::civil::date(2026, 1, 2);
    let files = merge_categories(&store, &[good, bad], date, &settings(), |category| category == "a").await.unwrap();
    let rows = rows(&read(&store, &files[0]).await);
    // The sequence number counts the rows that are left out.
    assert_eq!(rows, [("a".into(), 1, stream(1).to_string(), 0, "a".into())]);
}

#[tokio::test]
async fn a_block_that_does_not_decode_is_named_and_the_others_merge_without_it() {
    let good = block(stream(1), 1, 0, &[("a", 1, "good")]);
    let bad = hollow(&block(stream(2), 1, 0, &[("a", 1, "bad")]));
    let store = store();
    let date = jiff::civil::date(2026, 1, 2);
    let error = merge(&store, &[good.clone(), bad], date, &settings()).await.unwrap_err();
    assert!(matches!(error, MergeError::Block { index: 1, .. }), "{error}");
    assert_eq!(merged(&store, &[good], &settings()).await[0].stats.records, 1);
}

/// The same block with zeros for a payload, and checksums that hold: the work of a faulty peer.
fn hollow(block: &Block) -> Block {
    let mut bytes = block.bytes().to_vec();
    let header = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    bytes[24 + header..].fill(0);
    let crc = crc32c::crc32c(&bytes[24 + header..]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..20]), &bytes[24..24 + header]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    Block::parse(Bytes::from(bytes)).unwrap()
}

#[tokio::test]
async fn a_batch_without_records_writes_no_file() {
    let empty = encode(stream(1), 1, 0, []);
    assert!(merged(&store(), &[empty], &settings()).await.is_empty());
}
