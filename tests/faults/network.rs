//! Cables that are cut without a word: nobody is told that a connection is gone, packets just vanish, both ways or only one.

use std::time::{Duration, Instant};

use crate::harness::{Direction, Network, PATIENCE, Pipeline, Plan, wait_until};

/// A connection over which nothing is heard is given up by then.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// For a machine that is busy with others.
const SLACK: Duration = Duration::from_secs(3);

fn plan() -> Plan {
    // They listen on addresses that others could reach, were there any.
    let (adaptor, collector) =
        ("drain_timeout = \"20s\"\ninsecure = true", "flush_interval = \"200ms\"\ninsecure = true");
    Plan { collectors: 2, adaptor, collector, ..Plan::default() }
}

#[test]
fn a_cut_cable_is_found_and_another_collector_takes_over() {
    std::thread::scope(|scope| {
        for direction in [Direction::Both, Direction::ToCollector, Direction::FromCollector] {
            scope.spawn(move || fail_over(direction));
        }
    });
}

fn fail_over(direction: Direction) {
    let Some(network) = Network::new(2) else { return };
    let mut pipeline = Pipeline::in_network(plan(), &network);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let connected =
        |pipeline: &Pipeline, index: usize| pipeline.collectors[index].node.log().contains("adaptor connected");
    wait_until("a collector is chosen", PATIENCE, || connected(&pipeline, 0) || connected(&pipeline, 1));
    let first = usize::from(connected(&pipeline, 1));
    let socket = pipeline.socket_producer(0, 3000, 200);
    let file = pipeline.file_producer(0, 3000, 1000, 200);
    pipeline.pace.allow(500);
    wait_until("the first records are committed", PATIENCE, || pipeline.judge().rows >= 500);
    // Amid a stream of records, so that blocks, commits and answers are under way.
    let begun = Instant::now();
    let mut cut_at = None;
    let mut allowed = 500;
    let (mut found, mut taken_over) = (None, None);
    while taken_over.is_none() {
        allowed = (allowed + 5).min(2900);
        pipeline.pace.allow(allowed);
        std::thread::sleep(Duration::from_millis(10));
        if cut_at.is_none() && begun.elapsed() > Duration::from_millis(300) {
            network.cut(first, direction);
            cut_at = Some(Instant::now());
        }
        let Some(cut_at) = cut_at else { continue };
        let since = cut_at.elapsed();
        if found.is_none() && pipeline.adaptors[0].node.log().contains("connection ended") {
            found = Some(since);
        }
        if connected(&pipeline, 1 - first) {
            taken_over = Some(since);
        }
        assert!(since < PATIENCE, "{direction:?}: nobody has taken over");
    }
    wait_until("all is committed without it", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        pipeline.judge().lost == 0
    });
    let ended = pipeline.collectors[first].node.log().contains("connection ended");
    network.heal();
    pipeline.pace.allow(u64::MAX);
    wait_until("the producers end", PATIENCE, || socket.is_finished() && file.is_finished());
    let (found, taken_over) = (found.unwrap(), taken_over.unwrap());
    println!("{direction:?} cut: found after {found:.1?}, taken over after {taken_over:.1?}; other end gone: {ended}");
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean(&format!("a cable cut, {direction:?}"));
    assert_eq!((verdict.acknowledged, verdict.rows), (6000, 6000));
    assert!(found < FOUND_WITHIN + SLACK, "{direction:?}: found after {found:?}");
    assert!(taken_over < FOUND_WITHIN + SLACK + SLACK, "{direction:?}: taken over after {taken_over:?}");
}

#[test]
fn what_comes_while_all_cables_are_cut_waits_in_the_spool() {
    let Some(network) = Network::new(2) else { return };
    let mut pipeline = Pipeline::in_network(plan(), &network);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, 2000, 200);
    let file = pipeline.file_producer(0, 2000, 1000, 200);
    pipeline.pace.allow(500);
    wait_until("the first records are committed", PATIENCE, || pipeline.judge().rows >= 1000);
    network.cut(0, Direction::Both);
    network.cut(1, Direction::Both);
    pipeline.pace.allow(2000);
    wait_until("the producers end all the same", PATIENCE, || socket.is_finished() && file.is_finished());
    // Long enough for every connection to be given up, also one that is tried meanwhile.
    std::thread::sleep(FOUND_WITHIN);
    let behind = pipeline.judge().lost;
    assert!(behind > 0, "the cables were not cut");
    network.heal();
    let healed = Instant::now();
    let verdict = pipeline.finish(PATIENCE);
    println!("{behind} records waited; committed {:.1?} after the cables were mended", healed.elapsed());
    verdict.assert_clean("all cables cut");
    assert_eq!(verdict.rows, 4000);
}
