//! Whatever blocks come in, the files hold their rows, sorted: held against the plainest way to do it.

use std::collections::BTreeMap;

use arrow_array::types::Int32Type;
use parquet::file::statistics::Statistics;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// All of a row that a reader sees, in the order of a sink file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    category: String,
    /// ns, of which the file has µs.
    time: i64,
    stream: String,
    seq: i64,
    observed: i64,
    host: String,
    source: String,
    severity: (Option<i32>, Option<String>),
    body: String,
    body_bytes: Option<Vec<u8>>,
    attributes: Option<Vec<(String, String)>>,
    ids: (Option<String>, Option<String>),
}

/// How wild the rows are.
#[derive(Clone, Copy)]
struct Shape {
    blocks: u64,
    rows: u64,
    /// Timestamps of a block lie in so many ns, in order or not.
    spread: i64,
    /// A block begins so many ns after the one before.
    step: i64,
    ordered: bool,
    detailed: bool,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(random: &mut StdRng, letters: u64, length: usize) -> String {
    (0..length).map(|_| char::from(b'a' + random.random_range(0..letters) as u8)).collect()
}

/// Blocks of three streams, and the rows that are in them.
fn blocks_of(shape: Shape, random: &mut StdRng) -> (Vec<Block>, Vec<Row>) {
    let (mut blocks, mut rows) = (Vec::new(), Vec::new());
    let mut first_record = [0; 3];
    for number in 0..shape.blocks {
        let of = (number % 3) as usize;
        let mut runs: BTreeMap<Arc<RunKey>, (Rows, Vec<Row>)> = BTreeMap::new();
        let count = random.random_range(0..=shape.rows);
        for at in 0..count {
            let inside = if shape.ordered {
                at as i64 * shape.spread / shape.rows as i64
            } else {
                random.random_range(0..=shape.spread)
            };
            let time = number as i64 * shape.step + inside - 5000;
            let own_key = random.random_range(0..4u8);
            let constant = match own_key {
                0 => vec![],
                1 => vec![("path", "/a"), ("env", "prod")],
                _ => vec![("path", "/b")],
            };
            let category = ["a", "b", "b.c"][random.random_range(0..3)];
            let run = runs.entry(key(category, &constant)).or_default();
            push(shape, random, time, run);
            let row = run.1.last_mut().unwrap();
            row.category = category.into();
            row.stream = stream(of as u8).to_string();
            row.host = format!("host-{of}");
            let constant = constant.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            let own = row.attributes.take().unwrap_or_default();
            let mut all: Vec<_> = constant.filter(|(k, _)| own.iter().all(|(key, _)| key != k)).collect();
            all.extend(own);
            row.attributes = Some(all).filter(|all| !all.is_empty());
        }
        let place = BlockPlace {
            stream: stream(of as u8),
            number: number + 1,
            first_record: first_record[of],
            host: &format!("host-{of}"),
        };
        let encoded = runs.iter().map(|(key, (rows, _))| (key.clone(), rows.clone()));
        blocks.push(Encoder::default().encode(place, encoded, vec![]).unwrap());
        for mut row in runs.into_values().flat_map(|(_, rows)| rows) {
            row.seq = first_record[of] as i64;
            first_record[of] += 1;
            rows.push(row);
        }
    }
    (blocks, rows)
}

/// Adds a record, and the row that is to come of it as far as the record says.
fn push(shape: Shape, random: &mut StdRng, time: i64, (rows, expected): &mut (Rows, Vec<Row>)) {
    let length = [0, 3, 40, 300][random.random_range(0..4)];
    let mut body = text(random, 26, length).into_bytes();
    if shape.detailed && random.random_range(0..20) == 0 {
        body.push(0xff);
    }
    let user = text(random, 26, 12);
    let attributes = [("env", "test"), ("user", user.as_str()), ("empty", "")];
    let detailed = shape.detailed && random.random_range(0..3) > 0;
    let attributes = if detailed { &attributes[..random.random_range(0..=3)] } else { &[] };
    let record = Record {
        timestamp: Some(time),
        observed: time + 1_000_000,
        severity_number: if detailed { random.random_range(0..25) } else { 0 },
        severity_text: if detailed { ["", "INFO", "warn"][random.random_range(0..3)] } else { "" },
        body: &body,
        attributes,
        trace_id: (detailed && random.random()).then(|| [random.random_range(1..255); 16]),
        span_id: (detailed && random.random()).then(|| [random.random_range(1..255); 8]),
    };
    rows.push(&record);
    let lossy = String::from_utf8_lossy(&body).into_owned();
    expected.push(Row {
        category: String::new(),
        time,
        stream: String::new(),
        seq: 0,
        observed: record.observed.div_euclid(1000),
        host: String::new(),
        source: "source".into(),
        severity: (
            Some(i32::from(record.severity_number)).filter(|number| *number != 0),
            Some(record.severity_text.to_owned()).filter(|text| !text.is_empty()),
        ),
        body_bytes: (lossy.as_bytes() != body).then(|| body.clone()),
        body: lossy,
        attributes: Some(attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
        ids: (record.trace_id.map(|id| hex(&id)), record.span_id.map(|id| hex(&id))),
    });
}

fn read_rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let optional = |name: &str, row: usize| {
            let column = batch[name].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let text = |name: &str, row: usize| optional(name, row).unwrap();
        let instant = |name: &str, row: usize| batch[name].as_primitive::<TimestampMicrosecondType>().value(row);
        let number = batch["severity_number"].as_primitive::<Int32Type>();
        let bytes = batch["body_bytes"].as_binary::<i32>();
        let map = batch["attributes"].as_map();
        for row in 0..batch.num_rows() {
            let attributes = map.is_valid(row).then(|| map.value(row)).map(|entries| {
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                (0..keys.len()).map(|at| (keys.value(at).to_owned(), values.value(at).to_owned())).collect::<Vec<_>>()
            });
            rows.push(Row {
                category: text("category", row),
                time: instant("timestamp", row),
                stream: text("stream", row),
                seq: batch["seq"].as_primitive::<Int64Type>().value(row),
                observed: instant("observed_timestamp", row),
                host: text("host", row),
                source: text("source", row),
                severity: (number.is_valid(row).then(|| number.value(row)), optional("severity_text", row)),
                body: text("body", row),
                body_bytes: bytes.is_valid(row).then(|| bytes.value(row).to_vec()),
                attributes: attributes.filter(|all| !all.is_empty()),
                ids: (optional("trace_id", row), optional("span_id", row)),
            });
        }
    }
    rows
}

/// Statistics say of every file, and of every row group, what is in it.
async fn check_statistics(store: &Store, file: &DataFile, rows: &[Row], settings: &FileSettings) {
    fn range<T: Ord + Clone>(values: impl Iterator<Item = T> + Clone) -> Option<(T, T)> {
        Some((values.clone().min()?, values.max()?))
    }
    assert_eq!(file.stats.records, rows.len() as u64);
    assert_eq!(file.stats.timestamp, range(rows.iter().map(|row| row.time)));
    assert_eq!(file.stats.observed_timestamp, range(rows.iter().map(|row| row.observed)));
    assert_eq!(file.stats.category, range(rows.iter().map(|row| row.category.clone())));
    assert_eq!(file.stats.host, range(rows.iter().map(|row| row.host.clone())));
    let bytes = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let mut first = 0;
    for row_group in builder.metadata().row_groups() {
        let count = row_group.num_rows() as usize;
        assert!(count <= settings.row_group_rows);
        let rows = &rows[first..first + count];
        first += count;
        let Some(Statistics::Int64(times)) = row_group.column(0).statistics() else { panic!("no statistics of times") };
        let times = (*times.min_opt().unwrap(), *times.max_opt().unwrap());
        assert_eq!(Some(times), range(rows.iter().map(|row| row.time)));
        let categories = row_group.column(2).statistics().unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let categories = (text(categories.min_bytes_opt()), text(categories.max_bytes_opt()));
        assert_eq!(Some(categories), range(rows.iter().map(|row| row.category.clone())));
    }
    assert_eq!(first, rows.len());
}

#[tokio::test]
async fn any_blocks_merge_to_their_rows_in_order() {
    let plain = Shape { blocks: 12, rows: 200, spread: 1000, step: 1001, ordered: true, detailed: false };
    let shapes = [
        plain,
        Shape { detailed: true, ..plain },
        // All at once, in one instant, in one microsecond; some of it out of order.
        Shape { blocks: 20, step: 0, spread: 100_000, ordered: false, detailed: true, ..plain },
        Shape { blocks: 9, step: 0, spread: 0, ..plain },
        Shape { step: 10, spread: 900, ordered: false, detailed: true, ..plain },
        Shape { step: 100_000, spread: 1_000_000, ordered: false, ..plain },
        Shape { blocks: 3, rows: 2500, detailed: true, ..plain },
        Shape { blocks: 4, rows: 1, ..plain },
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        for (seed, memory) in [(1, 64 << 20), (2, 100_000), (3, 30_000)] {
            let mut random = StdRng::seed_from_u64(seed * 100 + index as u64);
            let (blocks, mut expected) = blocks_of(shape, &mut random);
            expected.sort();
            for row in &mut expected {
                row.time = row.time.div_euclid(1000);
            }
            let store = store();
            let target_file_size = if seed == 1 { 256 << 20 } else { 60_000 };
            let settings = FileSettings { target_file_size, row_group_rows: 1500, merge_memory: memory, ..settings() };
            let files = merged(&store, &blocks, &settings).await;
            let mut rows = Vec::new();
            for file in &files {
                let of_file = read_rows(&read(&store, file).await);
                check_statistics(&store, file, &of_file, &settings).await;
                rows.extend(of_file);
            }
            assert_eq!(rows.len(), expected.len(), "shape {index}, seed {seed}");
            for (at, (row, expected)) in rows.iter().zip(&expected).enumerate() {
                assert_eq!(row, expected, "row {at} of shape {index}, seed {seed}");
            }
        }
    }
}
