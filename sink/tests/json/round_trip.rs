//! That every row comes back as it was.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{Field, Schema};
use logboom_sink::FileSettings;
use logboom_sink::schema::file_schema;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::json::fixture::{Row, batch, decode, members, object, read, row, settings, store, write};

/// Texts that have gone wrong somewhere, in some program.
pub const TEXTS: [&str; 16] = [
    "",
    " ",
    "plain",
    "nul \0 inside",
    "line\nfeed\r\nand\ttab",
    "\u{2028}line and\u{2029}paragraph separators",
    "\u{1}\u{8}\u{b}\u{c}\u{1b}[31m\u{1f}\u{7f}\u{80}\u{9f}",
    "\"quoted\" and \\back\\slashed\\",
    "\\u0000 \\ud800 \\n are text here",
    "{\"json\":[1,null,{}]}",
    "ünï¢ödé 日本語 😀",
    "\u{feff}mark and \u{fffd} replaced",
    "\u{d7ff}\u{e000}\u{ffff}\u{10ffff}",
    "</script>",
    "null",
    "12345678901234567890",
];

fn every_kind() -> Vec<Row> {
    let mut rows = Vec::new();
    for (n, text) in TEXTS.iter().enumerate() {
        rows.push(Row { seq: i64::MAX - n as i64, ..row("a", n as i64, text) });
        let attributes = vec![("key", Some((*text).to_owned())), (*text, None), ("z.last", Some("1".into()))];
        rows.push(Row { attributes: Some(attributes), observed: i64::MIN / 1000, ..row("a", n as i64, "attributes") });
    }
    rows.push(Row { attributes: Some(vec![]), ..row("a", 100, "attributes that are there and empty") });
    rows.push(Row { attributes: None, ..row("a", 101, "no attributes") });
    for bytes in [&b"caf\xe9"[..], b"\xff", b"", b"\0\0", b"\xf0\x9f\x98"] {
        let body = String::from_utf8_lossy(bytes).into_owned();
        rows.push(Row { body_bytes: Some(bytes.to_vec()), ..row("a", 102, &body) });
    }
    rows.push(Row { severity: Some((i32::MAX, "FATAL")), seq: i64::MIN, ..row("a", i64::MAX / 1000, "far") });
    rows.push(Row { trace: Some("0af7651916cd43dd8448eb211c80319c".into()), ..row("a", i64::MAX / 1000, "traced") });
    rows.extend(TEXTS[1..].iter().map(|text| row(&format!("b {text}"), 0, "a category of any name")));
    rows.sort_by(|a, b| (&a.category, a.timestamp).cmp(&(&b.category, b.timestamp)));
    rows
}

#[tokio::test]
async fn every_column_comes_back_whatever_is_in_it() {
    let (store, rows) = (store(), batch(&every_kind()));
    let file = write(&store, &rows, &settings()).await.unwrap();
    assert_eq!(read(&store, &file).await, rows);
}

#[tokio::test]
async fn nothing_and_empty_are_not_the_same() {
    let rows = [
        Row { attributes: None, ..row("a", 0, "") },
        Row { attributes: Some(vec![]), body_bytes: Some(vec![]), ..row("a", 1, "") },
        Row { attributes: Some(vec![("k", None)]), ..row("a", 2, "") },
        Row { attributes: Some(vec![("k", Some(String::new()))]), ..row("a", 3, "") },
    ];
    let store = store();
    let file = write(&store, &batch(&rows), &settings()).await.unwrap();
    let read = read(&store, &file).await;
    let attributes = read["attributes"].as_map();
    assert!(attributes.is_null(0) && attributes.is_valid(1) && attributes.value(1).is_empty());
    let values = attributes.values().as_string::<i32>();
    assert!(values.is_null(0) && values.is_valid(1));
    assert!(read["body_bytes"].is_null(0) && read["body_bytes"].is_valid(1));
}

#[tokio::test]
async fn a_huge_body_comes_back() {
    let huge: String = TEXTS.iter().cycle().flat_map(|text| text.chars()).take(5 << 20).collect();
    let rows = batch(&[row("a", 0, "before"), row("a", 1, &huge), row("a", 2, "after"), row("b", 0, "other")]);
    let store = store();
    let file = write(&store, &rows, &settings()).await.unwrap();
    assert_eq!(read(&store, &file).await, rows);
}

/// Random rows in files and members of random sizes. `LOGBOOM_SEED` repeats a run.
#[tokio::test]
async fn random_rows_come_back_in_their_order() {
    let seed = std::env::var("LOGBOOM_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("LOGBOOM_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let rows = batch(&random_rows(&mut random));
        let store = store();
        let target_file_size = 1 << random.random_range(8..20);
        let settings = FileSettings { target_file_size, ..settings() };
        let Some(file) = write(&store, &rows, &settings).await else {
            assert_eq!(rows.num_rows(), 0);
            continue;
        };
        assert_eq!(read(&store, &file).await, rows, "seed {seed}");
        assert_eq!(file.stats.records, rows.num_rows() as u64);
    }
}

fn random_rows(random: &mut StdRng) -> Vec<Row> {
    let mut rows = Vec::new();
    for category in 0..random.random_range(0..6) {
        let mut time = random.random_range(-4_000_000_000_000_000..4_000_000_000_000_000);
        for _ in 0..10usize.pow(random.random_range(0..5)) {
            time += random.random_range(0..3_000_000);
            let text = |random: &mut StdRng| {
                let words = (0..random.random_range(0..6)).map(|_| *TEXTS.choose(random).unwrap());
                words.collect::<String>()
            };
            let attributes = random.random_bool(0.5).then(|| {
                let keys = ["a", "b.c", "k8s.pod.name", ""].into_iter().take(random.random_range(0..5));
                keys.map(|key| (key, random.random_bool(0.8).then(|| text(random)))).collect()
            });
            rows.push(Row {
                observed: time + random.random_range(-9_999..9_999),
                host: format!("host-{}", random.random_range(0..3)),
                severity: random.random_bool(0.3).then_some((9, "INFO")),
                body_bytes: random
                    .random_bool(0.05)
                    .then(|| (0..random.random_range(0..9)).map(|_| random.random()).collect()),
                attributes,
                seq: random.random(),
                ..row(&format!("category.{category}"), time, &text(random))
            });
        }
    }
    rows
}

#[tokio::test]
async fn any_columns_can_be_read_alone_and_rows_counted_without_one() {
    let (store, rows) = (store(), batch(&every_kind()));
    let file = write(&store, &rows, &settings()).await.unwrap();
    let members = members(&store, &file).await;
    let bytes = object(&store, &members[0].path).await;
    for index in 0..file_schema().fields().len() {
        let wanted = Arc::new(file_schema().project(&[index]).unwrap());
        let batches = decode(&members, &bytes, wanted, 100).unwrap();
        let column = arrow_select::concat::concat(&batches.iter().map(|batch| &**batch.column(0)).collect::<Vec<_>>());
        assert_eq!(&column.unwrap(), rows.column(index));
    }
    let batches = decode(&members, &bytes, Arc::new(Schema::new(Vec::<Field>::new())), 100).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), rows.num_rows());
}
