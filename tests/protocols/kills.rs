//! The adaptor is killed again and again while a client sends, and sends again what it got no answer to.

use std::time::{Duration, Instant};

use rand::Rng;

use super::client::Client;
use super::{Answers, Protocol};
use crate::harness::{PATIENCE, Pipeline, Plan};
use crate::oracle::Record;

/// Records that the client may have without an acknowledgement: they fit its pipe, so that feeding it never waits.
const AHEAD: u64 = 150;

pub fn check(protocol: &Protocol, rounds: u64) {
    if protocol.answers == Answers::None {
        return;
    }
    let mut pipeline = Pipeline::with_source(Plan::default(), protocol.source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let account = pipeline.ledger.open("client");
    let address = pipeline.address_of(protocol.address);
    let acknowledged = {
        let account = account.clone();
        move |index: u64| account.acknowledged(index + 1, 1)
    };
    let Some(mut client) = Client::start(protocol, &address, acknowledged) else { return };
    let mut random = rand::rng();
    let feed_for = |client: &mut Client, time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if account.sent() < client.said() + AHEAD {
                let n = account.next();
                let record = Record::new("client", n, 120).to_string();
                assert!(client.feed("e2e", record.as_bytes()), "the client does not listen any more");
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    };
    feed_for(&mut client, Duration::from_millis(1500));
    for _ in 0..rounds {
        feed_for(&mut client, Duration::from_millis(random.random_range(100..600)));
        pipeline.adaptors[0].node.kill();
        feed_for(&mut client, Duration::from_millis(random.random_range(0..100)));
        pipeline.adaptors[0].node.start();
    }
    feed_for(&mut client, Duration::from_millis(500));
    let said = client.finish(PATIENCE);
    let verdict = pipeline.finish(PATIENCE);
    println!("{rounds} kills, {said} acknowledged: {verdict}");
    // Few where a client has one record under way at a time and waits longer and longer for the adaptor to come back.
    assert!(said > 4 * rounds, "too little was acknowledged to mean anything");
    assert_eq!(
        [verdict.lost, verdict.phantom, verdict.corrupt, verdict.unreachable, verdict.stuck],
        [0; 5],
        "{verdict}"
    );
}
