//! What a verification costs. Run it with
//! `cargo test --release -p logboom-sink --test sink -- --ignored --nocapture ten_million_rows`.

use std::sync::Arc;
use std::time::Instant;

use logboom_sink::verify::{Progress, Scope, verify};

use crate::verify::table::{Table, plain};

/// Millions of rows.
const MILLIONS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes ten million rows"]
async fn ten_million_rows() {
    let mut table = Table::new().await;
    for _ in 0..MILLIONS {
        let blocks: Vec<_> = (0..99).map(|n| table.block(n % 3, &plain(10_000))).collect();
        table.commit(&blocks).await;
    }
    let before = memory();
    for quick in [true, false] {
        let begin = Instant::now();
        let scope = Scope { quick, ..Scope::default() };
        let report = verify(std::slice::from_ref(&table.store), &scope, &Arc::new(Progress::default())).await.unwrap();
        let rows: u64 = report.streams().map(|(_, stream)| stream.records).sum();
        println!(
            "quick {quick}: {rows} rows in {:?}; peak memory {} MiB over {before}",
            begin.elapsed(),
            memory() - before
        );
        assert!(report.complete);
    }
}

/// The most that this process had in memory, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
