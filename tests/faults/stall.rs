//! A collector that stands still while it holds blocks, and wakes up when others have committed them.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};

#[test]
fn a_collector_that_wakes_up_with_blocks_that_others_committed_doubles_nothing() {
    // Long enough to be stopped before the commit.
    let plan = Plan { collectors: 2, collector: "flush_interval = \"2s\"", ..Plan::default() };
    let mut pipeline = Pipeline::start(plan);
    let holds = |pipeline: &Pipeline| {
        let connected = |index: &usize| pipeline.collectors[*index].node.log().contains("adaptor connected");
        (0..2).find(connected)
    };
    wait_until("a collector is chosen", PATIENCE, || holds(&pipeline).is_some());
    let sleeper = holds(&pipeline).unwrap();
    let socket = pipeline.socket_producer(0, 2000, 200);
    pipeline.pace.allow(1000);
    wait_until("the first half is sent", PATIENCE, || pipeline.ledger.sent() == 1000);
    std::thread::sleep(Duration::from_millis(700));
    pipeline.collectors[sleeper].node.signal(Signal::STOP);
    let held = pipeline.judge().lost;
    pipeline.pace.allow(2000);
    wait_until("the producer ends", PATIENCE, || socket.is_finished());
    let silence = wait_until("the other collector commits", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        pipeline.judge().lost == 0
    });
    println!("stopped with up to {held} records in hand; the other one had all of them after {silence:.1?}");
    assert!(held > 0, "it was stopped too late");
    pipeline.collectors[sleeper].node.signal(Signal::CONT);
    // Time for its own try at a commit.
    std::thread::sleep(Duration::from_secs(3));
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean("a sleeper");
    assert_eq!(verdict.rows, 2000);
}
