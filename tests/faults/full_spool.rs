//! What becomes of records when the spool is full, by each policy of `when_full`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};
use crate::oracle::Promise;

/// The spool holds about 1 MiB of blocks beside its reserve; this is several times more.
const RECORDS: u64 = 10_000;
const RECORD_BYTES: usize = 1000;

macro_rules! settings {
    ($when_full:literal) => {
        concat!(
            "when_full = \"",
            $when_full,
            "\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\""
        )
    };
}

const BLOCK: &str = settings!("block");
const DROP_NEWEST: &str = settings!("drop_newest");
const DROP_OLDEST: &str = settings!("drop_oldest");

fn plan(spool: &'static str) -> Plan {
    Plan { spool, ..Plan::default() }
}

#[test]
fn a_full_spool_that_blocks_refuses_and_loses_nothing() {
    let mut pipeline = Pipeline::new(plan(BLOCK));
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, 2000, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    let acknowledged = wait_for_standstill(&pipeline);
    assert!(!socket.is_finished(), "nothing has blocked");
    wait_until("the file is written, which nothing blocks", PATIENCE, || file.is_finished());
    assert_eq!(pipeline.ledger.accounts()["socket-0"].count(Promise::Acknowledged), acknowledged);
    assert_eq!(pipeline.ledger.count(Promise::Refused), 0);
    pipeline.start_collectors();
    wait_until("the blocked producer goes on", PATIENCE, || socket.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    println!("blocked after {acknowledged} of {RECORDS} records on the socket");
    verdict.assert_clean("block");
    assert_eq!((verdict.sent, verdict.acknowledged), (2 * RECORDS, 2 * RECORDS));
    assert_eq!(socket.join().connections, 1, "the connection was kept");
}

#[test]
fn of_a_full_spool_that_drops_the_newest_exactly_the_refused_are_missing() {
    let mut pipeline = Pipeline::new(plan(DROP_NEWEST));
    pipeline.start_adaptors();
    let first = pipeline.socket_producer(0, RECORDS / 2, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    pipeline.adaptors[0].node.wait_for("records are refused", PATIENCE);
    // Who comes now is refused at once, and knows it.
    let second = pipeline.other_socket_producer(0, "second", 500, RECORD_BYTES);
    wait_until("a producer is refused", PATIENCE, || second.is_finished());
    // All but what fits into a last gap of less than a block.
    assert!(second.account.count(Promise::Refused) >= 400);
    second.join();
    // There is room again: what comes now is taken.
    pipeline.start_collectors();
    wait_until("all is answered", PATIENCE, || first.is_finished());
    first.join();
    pipeline.heal(PATIENCE);
    // The door opens a moment after the collector's word has come.
    let mut attempts = 0;
    wait_until("a producer is taken in again", Duration::from_secs(10), || {
        attempts += 1;
        let producer = pipeline.other_socket_producer(0, &format!("attempt-{attempts}"), 50, RECORD_BYTES);
        wait_until("a producer is answered", PATIENCE, || producer.is_finished());
        let taken = producer.account.count(Promise::Acknowledged) == 50;
        producer.join();
        taken
    });
    let verdict = pipeline.finish(PATIENCE);
    let counted = pipeline.adaptors[0].node.counter("records_refused_full");
    println!("{} refused, {counted} counted; taken in again at attempt {attempts}", verdict.refused);
    verdict.assert_clean("drop_newest");
    assert_eq!(verdict.rows, verdict.acknowledged, "what is missing was refused");
    assert_eq!(counted, verdict.refused);
}

#[test]
fn a_full_spool_that_drops_the_newest_answers_everybody_without_a_collector() {
    let mut pipeline = Pipeline::new(plan(DROP_NEWEST));
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS / 2, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    wait_until("everything is answered", Duration::from_secs(10), || socket.is_finished());
}

#[test]
fn what_a_full_spool_that_drops_the_oldest_drops_is_counted() {
    let mut pipeline = Pipeline::new(plan(DROP_OLDEST));
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, 2000, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    wait_until("the producers end without a collector", PATIENCE, || socket.is_finished() && file.is_finished());
    assert_eq!(socket.account.count(Promise::Acknowledged), RECORDS, "nobody is refused");
    // The file source reads on its own time.
    let mut dropped = 0;
    wait_until("the file is read", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = pipeline.adaptors[0].node.log().matches("dropped its oldest segment").count();
        std::mem::replace(&mut dropped, now) == now
    });
    pipeline.start_collectors();
    let node = &mut pipeline.adaptors[0].node;
    let status = node.terminate(PATIENCE);
    assert!(status.success());
    let (counted, loss_records) = (node.counter("records_dropped_oldest"), node.counter("loss_records"));
    let verdict = pipeline.judge();
    assert_eq!(verdict.sent, 2 * RECORDS);
    println!("drop_oldest: {verdict}\n{counted} counted as dropped");
    assert_eq!([verdict.duplicate, verdict.phantom, verdict.corrupt, verdict.unreachable], [0; 4]);
    assert!(counted > 0 && verdict.rows > 0);
    // The ledger says the same, from the table alone.
    let found = pipeline.verify(&[]);
    assert_eq!(found.unexplained, 0, "{}", found.json);
    assert_eq!(found.explained, BTreeMap::from([("drop_oldest".to_owned(), counted)]));
    // Of what was dropped some were loss records themselves, which no producer misses.
    let loss_rows = found.records - verdict.rows;
    assert_eq!(verdict.lost, counted - (loss_records - loss_rows));
}

/// Waits until nothing has been acknowledged for two seconds. Returns how much was.
fn wait_for_standstill(pipeline: &Pipeline) -> u64 {
    let mut before = u64::MAX;
    wait_until("acknowledgements stop", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(2));
        let now = pipeline.ledger.accounts()["socket-0"].count(Promise::Acknowledged);
        std::mem::replace(&mut before, now) == now
    });
    before
}
