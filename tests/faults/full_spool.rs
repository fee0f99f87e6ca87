//! What becomes of records when the spool is full, by each policy of `when_full`.

use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};
use crate::oracle::Promise;

/// The spool holds about 1 MiB of blocks beside its reserve; this is several times more.
const RECORDS: u64 = 10_000;
const RECORD_BYTES: usize = 1000;

fn plan(when_full: &'static str) -> Plan {
    Plan { spool: when_full, adaptor: "drain_timeout = \"20s\"", ..Plan::default() }
}

#[test]
fn a_full_spool_that_blocks_refuses_and_loses_nothing() {
    let settings = "when_full = \"block\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"";
    let mut pipeline = Pipeline::new(plan(settings));
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, 2000, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    let acknowledged = wait_for_standstill(&pipeline);
    assert!(!socket.is_finished(), "nothing has blocked");
    assert!(file.is_finished(), "a file never blocks its writer");
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
    let settings = "when_full = \"drop_newest\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"";
    let mut pipeline = Pipeline::new(plan(settings));
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    pipeline.pace.allow(RECORDS / 2);
    let account = socket.account.clone();
    wait_until("half is answered", PATIENCE, || account.sent() >= RECORDS / 2 && account.count(Promise::None) == 0);
    let refused = account.count(Promise::Refused);
    assert!(refused > 0, "nothing was refused");
    // There is room again: what comes now is taken.
    pipeline.start_collectors();
    wait_until("the backlog drains", PATIENCE, || pipeline.judge().lost == 0);
    pipeline.pace.allow(RECORDS / 2 + 500);
    wait_until("more is answered", PATIENCE, || account.sent() >= RECORDS / 2 + 500 && account.count(Promise::None) == 0);
    let refused_later = account.count(Promise::Refused) - refused;
    pipeline.pace.stop();
    socket.join();
    let verdict = pipeline.finish(PATIENCE);
    let counted = pipeline.adaptors[0].node.counter("records_refused_full");
    println!("{refused} refused while full, {refused_later} after; {counted} counted");
    verdict.assert_clean("drop_newest");
    assert_eq!(verdict.rows, verdict.acknowledged, "what is missing was refused");
    assert_eq!(counted, verdict.refused);
    assert!(refused_later < 100, "{refused_later} were refused though there was room");
}

#[test]
fn what_a_full_spool_that_drops_the_oldest_drops_is_counted() {
    let settings = "when_full = \"drop_oldest\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"";
    let mut pipeline = Pipeline::new(plan(settings));
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
    let sent = 2 * RECORDS;
    let node = &mut pipeline.adaptors[0].node;
    let status = node.terminate(PATIENCE);
    assert!(status.success());
    let counted = node.counter("records_dropped_oldest");
    assert_eq!(node.counter("records_in"), sent);
    let verdict = pipeline.judge();
    println!("drop_oldest: {verdict}\n{counted} counted as dropped");
    assert_eq!([verdict.duplicate, verdict.phantom, verdict.corrupt, verdict.unreachable], [0; 4]);
    assert!(counted > 0 && verdict.rows > 0);
    assert_eq!(verdict.lost, counted);
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
