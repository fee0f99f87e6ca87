//! The spool is full and the collector is down: the client is refused, or waits. What was answered with OK arrives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::{Answers, Protocol};
use crate::harness::{PATIENCE, Pipeline, Plan};
use crate::oracle::Record;

const SPOOL: &str = "when_full = \"drop_newest\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"\nlinger = \"10ms\"";
/// Several times what the spool holds.
const RECORDS: u64 = 800;
const RECORD_BYTES: usize = 4_000;
/// So long without an acknowledgement is a standstill.
const STANDSTILL: Duration = Duration::from_secs(3);

pub fn check(protocol: &Protocol) {
    if protocol.answers == Answers::None {
        return;
    }
    let mut pipeline = Pipeline::with_source(Plan { spool: SPOOL, ..Plan::default() }, protocol.source);
    pipeline.start_adaptors();
    let account = pipeline.ledger.open("client");
    let address = pipeline.address_of(protocol.address);
    let acknowledged = {
        let account = account.clone();
        move |index: u64| account.acknowledged(index + 1, 1)
    };
    let Some(client) = Client::start(protocol, &address, acknowledged) else { return };
    let said = client.said_counter();
    let feeder = {
        let account = Arc::clone(&account);
        std::thread::spawn(move || {
            let mut client = client;
            for _ in 0..RECORDS {
                let n = account.next();
                let record = Record::new("client", n, RECORD_BYTES).to_string();
                assert!(client.feed("e2e", record.as_bytes()), "the client does not listen any more");
            }
            client.end_input();
            client
        })
    };
    let (mut last, mut since) = (0, Instant::now());
    // A client may take its time to start.
    while since.elapsed() < if last == 0 { PATIENCE } else { STANDSTILL } {
        let now = said();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(now < RECORDS, "nothing was refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{last} of {RECORDS} are acknowledged while the spool is full");
    assert!(last > 0, "nothing was acknowledged before the spool was full");
    pipeline.start_collectors();
    let client = feeder.join().unwrap();
    assert_eq!(client.finish(PATIENCE), RECORDS, "all are acknowledged once the collector is back");
    let refused = pipeline.adaptors[0].node.counter("records_refused_full");
    let verdict = pipeline.finish(PATIENCE);
    println!("{verdict}; {refused} refused, as the adaptor counts by then");
    // A client that sends again what was refused or unanswered may make duplicates; that is its own doing.
    assert_eq!(
        [verdict.lost, verdict.phantom, verdict.corrupt, verdict.unreachable, verdict.stuck],
        [0; 5],
        "{verdict}"
    );
}
