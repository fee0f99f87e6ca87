//! How JSON files are cut, and that what the index says of them is true.

#![expect(clippy::disallowed_types, reason = "it unpacks what it has packed itself")]

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::{GzDecoder, MultiGzDecoder};
use logboom_sink::FileSettings;
use logboom_sink::json::{Member, listed_files};
use logboom_sink::table::FileStats;

use crate::json::fixture::{Row, batch, members, object, row, settings, snapshot_file, store, write};

/// Rows with bodies of about 100 bytes that hardly compress.
pub fn noisy(category: &str, count: usize) -> Vec<Row> {
    let mut noise = 7u64;
    let mut word = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", noise ^ (noise >> 29))
    };
    let body = |_| [word(), word(), word(), word(), word(), word()].concat();
    let bodies: Vec<String> = (0..count).map(body).collect();
    let rows = bodies.iter().enumerate();
    rows.map(|(n, body)| Row { seq: n as i64, ..row(category, n as i64 * 1000, body) }).collect()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut lines).unwrap();
    lines
}

#[tokio::test]
async fn each_category_is_one_member_and_the_whole_is_the_lines_of_all() {
    let store = store();
    let mut rows = Vec::new();
    for (n, category) in ["a", "b", "b.c", "z"].into_iter().enumerate() {
        rows.extend((0..10 * n as i64 + 1).map(|at| Row { host: format!("h{}", at % 3), ..row(category, at, "body") }));
    }
    let file = write(&store, &batch(&rows), &settings()).await.unwrap();
    let members = members(&store, &file).await;
    let bytes = object(&store, &members[0].path).await;
    let mut expected_offset = 0;
    for (member, (category, records)) in members.iter().zip([("a", 1), ("b", 11), ("b.c", 21), ("z", 31)]) {
        assert_eq!(member.offset, expected_offset);
        expected_offset += member.length;
        let range = &bytes[member.offset as usize..(member.offset + member.length) as usize];
        let lines = gunzip(range);
        assert_eq!(lines.len() as u64, member.raw_length);
        assert_eq!(crc32c::crc32c(range), member.crc32c);
        let lines: Vec<serde_json::Value> =
            lines.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(lines.len(), records);
        assert!(lines.iter().all(|line| line["category"] == category));
        let hosts = ("h0".to_owned(), if records > 2 { "h2" } else { "h0" }.to_owned());
        let expected = FileStats {
            records: records as u64,
            timestamp: Some((0, records as i64 - 1)),
            observed_timestamp: Some((0, 0)),
            category: Some((category.into(), category.into())),
            host: Some(hosts),
            ..FileStats::default()
        };
        assert_eq!(member.stats, expected);
    }
    assert_eq!(expected_offset, bytes.len() as u64, "there is nothing between members or after them");
    let mut all = String::new();
    MultiGzDecoder::new(&bytes[..]).read_to_string(&mut all).unwrap();
    assert_eq!(all.lines().count(), rows.len(), "what `zcat | wc -l` says");
    assert_eq!((file.stats.records, file.stats.members), (64, Some(4)));
    assert_eq!(file.stats.category, Some(("a".into(), "z".into())));
    assert_eq!(file.stats.timestamp, Some((0, 30)));
}

#[tokio::test]
async fn files_are_split_within_five_percent_of_the_target_by_encoded_bytes() {
    let store = store();
    let mut rows = noisy("a", 60_000);
    rows.extend((0..2000).map(|n| row(&format!("b{n:04}"), 0, "a small category")));
    rows.extend(noisy("c", 20_000));
    let target = 1 << 20;
    let file = write(&store, &batch(&rows), &FileSettings { target_file_size: target, ..settings() }).await.unwrap();
    let mut sizes = Vec::new();
    let members = members(&store, &file).await;
    for members in members.chunk_by(|a, b| a.path == b.path) {
        sizes.push(object(&store, &members[0].path).await.len() as u64);
        let end = |member: &Member| member.offset + member.length;
        assert_eq!(end(members.last().unwrap()), *sizes.last().unwrap());
        assert!(members.windows(2).all(|pair| end(&pair[0]) == pair[1].offset));
    }
    println!("sizes {sizes:?} of a target of {target}");
    assert!(sizes.len() >= 5, "{sizes:?}");
    let (last, full) = sizes.split_last().unwrap();
    assert!(full.iter().all(|size| size.abs_diff(target) * 20 < target), "{sizes:?}");
    assert!(last * 20 < target * 21);
}

#[tokio::test]
async fn a_large_category_is_cut_by_time_into_members_of_sixteen_mebibytes() {
    let store = store();
    let rows = noisy("a", 200_000);
    let file = write(&store, &batch(&rows), &FileSettings { compression_level: 1, ..settings() }).await.unwrap();
    let members = members(&store, &file).await;
    assert!(members.len() >= 3, "{members:?}");
    let (last, full) = members.split_last().unwrap();
    assert!(full.iter().all(|member| (16 << 20..17 << 20).contains(&member.raw_length)), "{members:?}");
    assert!(last.raw_length < 17 << 20);
    let times = |member: &Member| member.stats.timestamp.unwrap();
    assert!(members.windows(2).all(|pair| times(&pair[0]).1 < times(&pair[1]).0));
    assert_eq!(members.iter().map(|member| member.stats.records).sum::<u64>(), 200_000);
}

#[tokio::test]
async fn without_rows_there_is_no_file_and_no_index() {
    let store = store();
    assert_eq!(write(&store, &batch(&[]), &settings()).await, None);
    use futures::TryStreamExt;
    let objects: Vec<_> = store.objects().list(None).try_collect().await.unwrap();
    assert!(objects.is_empty());
}

#[tokio::test]
async fn all_files_that_a_snapshot_reaches_are_referenced() {
    let store = store();
    let (mut files, mut expected) = (Vec::new(), BTreeMap::new());
    for n in 0..3 {
        let rows = batch(&noisy("a", 20_000 * n + 1));
        let file = write(&store, &rows, &FileSettings { target_file_size: 1 << 20, ..settings() }).await.unwrap();
        expected.extend(members(&store, &file).await.iter().map(|member| (member.path.to_string(), ())));
        files.push(snapshot_file(&file));
    }
    assert!(expected.len() > 3);
    let listed = listed_files(&store, &files).await.unwrap();
    assert!(listed.iter().map(|file| &file.path).eq(expected.keys()));
    for file in &listed {
        assert_eq!(object(&store, &file.path).await.len() as u64, file.size);
    }
    let records: u64 = listed.iter().map(|file| file.stats.as_ref().unwrap().records).sum();
    assert_eq!(records, 1 + 20_001 + 40_001);
}
