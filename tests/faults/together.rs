//! Four collectors on one table in a bucket, with maintenance at work and readers asking all the time: every record is
//! there once, and every answer is of whole commits.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Bucket, Kind, PATIENCE, Pipeline, Plan, env_number, logboom, run, wait_until};

const ADAPTORS: usize = 8;
const COLLECTORS: usize = 4;
/// Records a second of each producer.
const RATE: u64 = 100;

#[test]
fn collectors_maintenance_and_readers_get_on_together() {
    together(Duration::from_secs(8));
}

/// `LOGBOOM_TOGETHER_SECONDS` says for how long.
#[test]
#[ignore = "takes ten minutes; run it optimized"]
fn full_collectors_maintenance_and_readers_get_on_together() {
    together(Duration::from_secs(env_number("LOGBOOM_TOGETHER_SECONDS", 600)));
}

fn together(time: Duration) {
    let Some(bucket) = Bucket::on_first(&[Kind::Ceph, Kind::Moto]) else { return };
    let plan = Plan {
        adaptors: ADAPTORS,
        collectors: COLLECTORS,
        sink: "checkpoint_interval = 20\nvacuum_grace = \"1h\"",
        ..Plan::default()
    };
    let mut pipeline = Pipeline::in_bucket(plan, &bucket);
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("table.toml");
    fs::write(&settings, format!("[sink]\n{}", bucket.sink)).unwrap();
    pipeline.start_collectors();
    for collector in &pipeline.collectors {
        collector.node.wait_for("collector started", PATIENCE);
    }
    pipeline.start_adaptors();
    let each = RATE * time.as_secs();
    let sockets: Vec<_> = (0..ADAPTORS).map(|index| pipeline.socket_producer(index, each, 120)).collect();
    let files: Vec<_> = (0..ADAPTORS).map(|index| pipeline.file_producer(index, each, each, 120)).collect();
    let over = AtomicBool::new(false);
    let (answers, maintained) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read_until(&over, &settings))).collect();
        let maintainer = scope.spawn(|| maintain_until(&over, &settings));
        let begun = Instant::now();
        while begun.elapsed() < time {
            pipeline.pace.allow((begun.elapsed().as_secs_f64() * RATE as f64) as u64);
            std::thread::sleep(Duration::from_millis(20));
        }
        pipeline.pace.allow(u64::MAX);
        over.store(true, Ordering::Relaxed);
        let answers: Vec<_> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        (answers, maintainer.join().unwrap())
    });
    wait_until("the producers end", PATIENCE, || {
        sockets.iter().all(|producer| producer.is_finished()) && files.iter().all(|producer| producer.is_finished())
    });
    let verdict = pipeline.finish(PATIENCE);
    let mut took: Vec<u64> =
        pipeline.collectors.iter().flat_map(|collector| commit_times(&collector.node.log())).collect();
    took.sort_unstable();
    let commits = took.len();
    println!(
        "{} rows in {commits} commits; p50 {} ms, p99 {} ms; {maintained} compactions, {} answers",
        verdict.rows,
        took[commits / 2],
        took[commits * 99 / 100],
        answers.len(),
    );
    verdict.assert_clean("together");
    let totals = totals(&settings);
    for (rows, distinct) in &answers {
        assert_eq!(rows, distinct, "a query saw a record twice");
        assert!(totals.contains(rows), "a query saw {rows} records, which no version has");
    }
    assert!(!answers.is_empty() && maintained > 0, "nobody read, or nothing was compacted");
}

/// Rows, and distinct ones, that each query saw.
fn read_until(over: &AtomicBool, settings: &Path) -> Vec<(u64, u64)> {
    let sql = "SELECT count(*), count(DISTINCT stream || ' ' || seq) FROM logs";
    let mut answers = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let text = output(&["query", "--quiet", "-o", "csv", sql, "--config"], settings);
        let numbers: Vec<u64> = text.lines().nth(1).unwrap().split(',').map(|number| number.parse().unwrap()).collect();
        answers.push((numbers[0], numbers[1]));
    }
    answers
}

/// Compacts and vacuums. Returns how many compactions were committed.
fn maintain_until(over: &AtomicBool, settings: &Path) -> u64 {
    let mut commits = 0;
    let today = jiff::Timestamp::now().strftime("%F").to_string();
    loop {
        // Also once when all is over, so that there is something to do in the shortest run.
        let last = over.load(Ordering::Relaxed);
        let done: Value =
            serde_json::from_str(&output(&["table", "compact", "--json", "--date", &today, "--config"], settings))
                .unwrap();
        commits += done["commits"].as_u64().unwrap();
        output(&["table", "vacuum", "--json", "--config"], settings);
        if last {
            return commits;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The numbers of rows that the table had, version by version.
fn totals(settings: &Path) -> BTreeSet<u64> {
    let history = output(&["table", "history", "--json", "--limit", "1000000", "--config"], settings);
    let mut commits: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    commits.sort_by_key(|commit| commit["version"].as_u64());
    let mut total = 0;
    let writes = commits.iter().map(|commit| match commit["operation"].as_str() {
        Some("WRITE") => commit["records_added"].as_u64().unwrap(),
        _ => 0,
    });
    writes.map(|rows| (total, total += rows).0 + rows).chain([0]).collect()
}

#[track_caller]
fn output(arguments: &[&str], settings: &Path) -> String {
    let output = run(logboom().args(arguments).arg(settings), b"");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// In milliseconds.
fn commit_times(log: &str) -> Vec<u64> {
    let times = log.split("commit_ms=").skip(1);
    times.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()).collect()
}
