//! The collector is away for a while, and the producers go on.

use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Pipeline, Plan, env_number, wait_until};

/// The longest that a producer may wait for a write or an answer. A disk that is busy with others is slow too.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_collector_that_is_down_blocks_nobody_and_the_backlog_drains() {
    outage(Duration::from_secs(10));
}

/// `LOGBOOM_OUTAGE_SECONDS` says how long.
#[test]
#[ignore = "takes five minutes"]
fn full_a_collector_that_is_down_for_minutes_blocks_nobody_and_the_backlog_drains() {
    outage(Duration::from_secs(env_number("LOGBOOM_OUTAGE_SECONDS", 300)));
}

fn outage(length: Duration) {
    const PER_SECOND: u64 = 500;
    let mut pipeline = Pipeline::start(Plan { adaptors: 2, ..Plan::default() });
    // Before, during and after.
    let seconds = length.as_secs() + 2;
    let last = seconds * PER_SECOND;
    let sockets = [0, 1].map(|index| pipeline.socket_producer(index, last, 150));
    let files = [0, 1].map(|index| pipeline.file_producer(index, last, 2 * PER_SECOND, 150));
    let begun = Instant::now();
    let mut down = false;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let elapsed = begun.elapsed();
        pipeline.pace.allow(elapsed.as_millis() as u64 * PER_SECOND / 1000);
        if !down && elapsed > Duration::from_secs(1) {
            pipeline.collectors[0].node.kill();
            down = true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // It is still down: whoever has to wait for it has not finished.
    pipeline.pace.allow(last);
    wait_until("the producers end while the collector is down", WAIT_MAX, || {
        sockets.iter().all(|socket| socket.is_finished()) && files.iter().all(|file| file.is_finished())
    });
    let backlog = pipeline.judge().lost;
    pipeline.start_collectors();
    let drain = Instant::now();
    let verdict = pipeline.finish(PATIENCE);
    let answer = sockets.map(|socket| socket.join().slowest_answer).into_iter().max().unwrap();
    let write = files.map(|file| file.join()).into_iter().max().unwrap();
    println!(
        "collector down for {length:?}: slowest answer {answer:.1?}, slowest write {write:.1?}, \
         {backlog} records behind, drained in {:.1?}",
        drain.elapsed()
    );
    verdict.assert_clean("outage");
    assert_eq!(verdict.acknowledged, verdict.sent, "no connection broke, so everything was answered");
    assert!(answer < WAIT_MAX && write < WAIT_MAX, "answer {answer:?}, write {write:?}");
    assert!(backlog > length.as_secs() * PER_SECOND, "the collector was not down: {backlog}");
}
