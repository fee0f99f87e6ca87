//! Very many adaptors that lose their one collector at the same moment, and find it again.
//!
//! They live in this process, each with a spool, a source and connections of its own; the collector is a process like any.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use logboom_adaptor::Adaptor;
use logboom_config::Settings;

use super::percentile;
use super::usage::{descriptors, memory_peak, mib, processor};
use crate::harness::{PATIENCE, Pipeline, Plan, env_number, free_port, quoted, wait_until};
use crate::load::gate::{Board, Gate};
use crate::oracle::{Account, Record};

#[test]
fn adaptors_stream_again_soon_after_their_collector_restarts() {
    reconnect(100, Duration::from_secs(2));
}

/// `LOGBOOM_ADAPTORS` says how many, `LOGBOOM_OUTAGE_SECONDS` how long the collector is away.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_load_a_thousand_adaptors_stream_again_soon_after_their_collector_restarts() {
    let away = Duration::from_secs(env_number("LOGBOOM_OUTAGE_SECONDS", 45));
    reconnect(env_number("LOGBOOM_ADAPTORS", 1000) as usize, away);
}

fn reconnect(count: usize, away: Duration) {
    let plan = Plan { adaptors: 0, collector: "flush_interval = \"1s\"", ..Plan::default() };
    let mut pipeline = Pipeline::new(plan);
    let (board, port) = (Board::default(), free_port());
    let _gate = Gate::open(0, port, pipeline.collectors[0].port, &board, None);
    pipeline.start_collectors();
    // Each adaptor's writer waits on a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4 * count + 64)
        .enable_all()
        .build()
        .unwrap();
    let folder = pipeline.folder().to_owned();
    let accounts: Vec<Arc<Account>> = (0..count).map(|index| pipeline.ledger.open(format!("p{index}"))).collect();
    let mut adaptors = Vec::new();
    for index in 0..count {
        let settings = settings(&folder, index, port);
        adaptors.push(runtime.block_on(Adaptor::start(settings)).unwrap_or_else(|error| panic!("{index}: {error}")));
    }
    let over = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (over, folder, accounts) = (over.clone(), folder.clone(), accounts.clone());
        move || write_lines(&folder, &accounts, &over)
    });
    wait_until("all are served", 2 * PATIENCE, || board.served().len() == count);
    // Long enough to have something to come back from.
    std::thread::sleep(Duration::from_secs(2));
    pipeline.collectors[0].node.kill();
    std::thread::sleep(away);
    let restarted = Instant::now();
    pipeline.collectors[0].node.start();
    let back = || board.served().values().filter(|served| served.since > restarted).count();
    wait_until("all are served again", 4 * PATIENCE, || back() == count);
    let pid = pipeline.collectors[0].node.pid();
    let mut took: Vec<Duration> = board.served().values().map(|served| served.since - restarted).collect();
    took.sort_unstable();
    let (peak, open, spent) = (memory_peak(pid), descriptors(pid), processor(pid));
    over.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    // What is not read yet stays in the file, for the next start.
    wait_until("all lines are read", PATIENCE, || {
        adaptors.iter().map(|adaptor| adaptor.counters().records_in.get()).sum::<u64>() == pipeline.ledger.sent()
    });
    // Everybody leaves at once, too.
    let leaving = Instant::now();
    let drains: Vec<_> = adaptors.into_iter().map(|adaptor| runtime.spawn(adaptor.drain())).collect();
    let drained = drains.into_iter().filter(|_| true).map(|drain| runtime.block_on(drain).unwrap()).filter(|it| *it);
    let drained = drained.count();
    let left = leaving.elapsed();
    let verdict = pipeline.finish(PATIENCE);
    println!(
        "reconnect: {count} adaptors, collector away for {away:.0?}: streaming again within p50 {:.1?}, p99 {:.1?}, \
         most {:.1?} of its start; it took {}, {open} descriptors, {:.1} s of processor; all left within {left:.1?}",
        percentile(&took, 0.5),
        percentile(&took, 0.99),
        took[count - 1],
        mib(peak),
        spent.as_secs_f64(),
    );
    assert_eq!(drained, count, "some were not drained");
    verdict.assert_clean("reconnect");
    assert!(took[count - 1] < Duration::from_secs(30), "{:?}", took[count - 1]);
}

fn settings(root: &Path, index: usize, port: u16) -> logboom_config::Adaptor {
    let folder = root.join(format!("a{index}"));
    fs::create_dir_all(&folder).unwrap();
    let text = format!(
        r#"
[adaptor]
host = "host-{index}"
collectors = ["127.0.0.1:{port}"]
control = ""
drain_timeout = "60s"
[adaptor.spool]
path = {spool}
block_size = "64KiB"
buffer_size = "256KiB"
[[adaptor.source]]
type = "file"
include = [{log}]
poll_interval = "1s"
"#,
        spool = quoted(&folder.join("spool")),
        log = quoted(&folder.join("app.log")),
    );
    Settings::parse("test", &text).unwrap().adaptor.unwrap()
}

/// Appends lines to the file of each, about one a second. What is written counts as acknowledged.
fn write_lines(root: &Path, accounts: &[Arc<Account>], over: &AtomicBool) {
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        round += 1;
        for (index, account) in accounts.iter().enumerate() {
            let n = account.next();
            let path = root.join(format!("a{index}/app.log"));
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            writeln!(file, "{}", Record::new(account.producer(), n, 120)).unwrap();
            account.acknowledged(n, 1);
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    assert!(round > 1, "nothing was written");
}
