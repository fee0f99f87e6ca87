//! Files come to the size that is asked for, and row groups to no more than memory may hold.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A line that compresses about as logs do where half of it is new: `length` bytes.
fn line(random: &mut StdRng, length: usize) -> String {
    let mut line =
        String::from("level=info component=\"store.BlockManager\" message=\"received block\" from=10.2.3.4 id=");
    while line.len() < length {
        line.push_str(&format!("{:04x} ok ", random.random::<u16>()));
    }
    line
}

/// Blocks of eight streams that write three categories at the same time, of which a third has attributes.
fn load(blocks: u64, rows: u64, length: usize) -> Vec<Block> {
    let mut random = StdRng::seed_from_u64(5);
    let mut made = Vec::new();
    for number in 0..blocks {
        let mut runs = Vec::new();
        for category in ["audit", "metrics", "web"] {
            let mut run = Rows::default();
            for at in 0..rows / 3 {
                let body = line(&mut random, length);
                let user = random.random_range(0..1000u32).to_string();
                let attributes = [("user", user.as_str())];
                let observed = (number / 8 * 1_000_000 + at * 300) as i64;
                let attributes = if category == "web" { &attributes[..] } else { &[] };
                run.push(&Record { observed, body: body.as_bytes(), attributes, ..Record::default() });
            }
            runs.push((key(category, &[("path", "/var/log/x")]), run));
        }
        made.push(encode(stream((number % 8) as u8), number / 8 + 1, number / 8 * rows, runs));
    }
    made
}

#[tokio::test]
async fn every_file_but_the_last_of_a_batch_is_within_5_percent_of_its_target() {
    let blocks = load(24, 3000, 300);
    for target in [1 << 20, 2 << 20] {
        let store = store();
        let settings = FileSettings { target_file_size: target, ..settings() };
        let files = merged(&store, &blocks, &settings).await;
        let sizes: Vec<f64> = files.iter().map(|file| file.size as f64 / target as f64).collect();
        println!("{} MiB: {sizes:.3?}", target >> 20);
        assert!(sizes.len() >= 3, "{sizes:.3?} of {target}");
        let (last, full) = sizes.split_last().unwrap();
        assert!(full.iter().all(|size| (0.95..=1.05).contains(size)), "{sizes:.3?} of {target}");
        assert!(*last <= 1.05, "{sizes:.3?} of {target}");
    }
}

#[tokio::test]
async fn what_is_left_of_a_batch_goes_into_its_last_file_where_it_fits() {
    let blocks = load(16, 3000, 300);
    let store = store();
    let all = merged(&store, &blocks, &settings()).await;
    assert_eq!(all.len(), 1);
    // The batcher aims at a whole number of files, and misses a little.
    for files in [1.0, 3.0] {
        for miss in [0.98, 1.0, 1.01] {
            let target = all[0].size as f64 / files / miss;
            let settings = FileSettings { target_file_size: target as u64, ..settings() };
            let sizes: Vec<f64> =
                merged(&store, &blocks, &settings).await.iter().map(|file| file.size as f64 / target).collect();
            println!("{files} files, {miss}: {sizes:.3?}");
            assert_eq!(sizes.len() as f64, files, "{sizes:.3?}");
            assert!(sizes.iter().rev().skip(1).all(|size| (0.95..=1.05).contains(size)), "{sizes:.3?}");
            assert!(sizes.last().is_some_and(|size| *size <= 1.06), "{sizes:.3?}");
        }
    }
}

#[tokio::test]
async fn a_row_group_ends_by_bytes_where_bodies_are_huge() {
    let mut random = StdRng::seed_from_u64(9);
    // The same over and over, but farther apart than the compressor looks back.
    let body: Vec<u8> = (0..1 << 20).map(|_| random.random_range(b' '..b'~')).collect();
    let mut blocks = Vec::new();
    for number in 0..10 {
        let mut run = Rows::default();
        for at in 0..8 {
            run.push_line(number * 100 + at, &body);
        }
        blocks.push(encode(stream(1), number as u64 + 1, number as u64 * 8, [(key("c", &[]), run)]));
    }
    let store = store();
    let files = merged(&store, &blocks, &settings()).await;
    assert_eq!(files.len(), 1);
    let bytes = store.objects().get(&files[0].path.as_str().into()).await.unwrap().bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let row_groups = reader.metadata().row_groups();
    let sizes: Vec<i64> = row_groups.iter().map(|row_group| row_group.compressed_size() >> 20).collect();
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size <= 72), "{sizes:?} MiB");
    assert_eq!(files[0].stats.records, 80);
}

#[tokio::test]
async fn a_small_category_has_a_row_group_to_itself_and_that_costs_little() {
    const CATEGORIES: usize = 8;
    let mut random = StdRng::seed_from_u64(6);
    let bodies: Vec<String> = (0..CATEGORIES * 4000).map(|_| line(&mut random, 300)).collect();
    let mut sizes = Vec::new();
    for categories in [CATEGORIES, 1] {
        let run = |(at, bodies): (usize, &[String])| {
            let mut run = Rows::default();
            bodies
                .iter()
                .enumerate()
                .for_each(|(n, body)| run.push_line((at * 4000 + n) as i64 * 1_000_000, body.as_bytes()));
            encode(stream(1), at as u64 + 1, at as u64 * 4000, [(key(&format!("app.{}", at % categories), &[]), run)])
        };
        let blocks: Vec<Block> = bodies.chunks(4000).enumerate().map(run).collect();
        let store = store();
        let files = merged(&store, &blocks, &settings()).await;
        let bytes = store.objects().get(&files[0].path.as_str().into()).await.unwrap().bytes().await.unwrap();
        let row_groups = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().metadata().num_row_groups();
        assert_eq!((files.len(), row_groups), (1, categories));
        sizes.push(files[0].size);
    }
    println!("{} bytes each, {sizes:?} in all", sizes[0] / CATEGORIES as u64);
    assert!((260_000..500_000).contains(&(sizes[0] / CATEGORIES as u64)), "{sizes:?}");
    assert!(sizes[0] as f64 <= sizes[1] as f64 * 1.02, "{sizes:?}");
}
