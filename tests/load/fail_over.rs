//! How long records wait for another collector when theirs dies, or when nobody says that it is gone.

use std::time::{Duration, Instant};

use super::gate::{Board, Gate, Served};
use super::percentile;
use crate::harness::{PATIENCE, Pipeline, Plan, env_number, free_port, wait_until};

/// Records a second of each producer.
const RATE: u64 = 200;

#[test]
fn adaptors_of_a_dead_collector_are_served_by_another_within_seconds() {
    fail_over(2, 8);
}

/// `LOGBOOM_FAIL_OVERS` says how many.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_load_adaptors_of_a_dead_collector_are_served_by_another_within_seconds() {
    for collectors in [2, 3] {
        fail_over(collectors, env_number("LOGBOOM_FAIL_OVERS", 500));
    }
}

#[test]
fn a_half_open_connection_is_found_within_ten_seconds() {
    half_open(1);
}

/// `LOGBOOM_HALF_OPEN_ROUNDS` says how many.
#[test]
#[ignore = "takes minutes"]
fn full_load_a_half_open_connection_is_found_within_ten_seconds() {
    half_open(env_number("LOGBOOM_HALF_OPEN_ROUNDS", 20));
}

/// A pipeline whose adaptors reach each collector through a gate.
pub fn gated(plan: Plan) -> (Pipeline, Vec<Gate>, Board) {
    let (board, mut gates) = (Board::default(), Vec::new());
    let ports: Vec<u16> = (0..plan.collectors).map(|_| free_port()).collect();
    let pipeline = Pipeline::behind(plan, |upstream| {
        assert_eq!(upstream.len(), ports.len());
        ports.clone()
    });
    for (index, port) in ports.iter().enumerate() {
        gates.push(Gate::open(index, *port, pipeline.collectors[index].port, &board, None));
    }
    (pipeline, gates, board)
}

fn fail_over(collectors: usize, wanted: u64) {
    const ADAPTORS: usize = 4;
    let (mut pipeline, _gates, board) = gated(Plan { adaptors: ADAPTORS, collectors, ..Plan::default() });
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let last = u64::MAX;
    let sockets: Vec<_> = (0..ADAPTORS).map(|index| pipeline.socket_producer(index, last, 120)).collect();
    let pace = pipeline.pace.clone();
    let clock = std::thread::spawn(move || {
        let begun = Instant::now();
        while !pace.is_over() {
            pace.allow((begun.elapsed().as_secs_f64() * RATE as f64) as u64);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    wait_until("all are served", PATIENCE, || board.served().len() == ADAPTORS);
    let (mut took, mut kills) = (Vec::new(), 0);
    while (took.len() as u64) < wanted {
        // That of most of them.
        let before = board.served();
        let of = |gate: usize| before.values().filter(|served| served.gate == gate).count();
        let victim = (0..collectors).max_by_key(|gate| of(*gate)).unwrap();
        let killed = Instant::now();
        pipeline.collectors[victim].node.kill();
        kills += 1;
        for (host, _) in before.iter().filter(|(_, served)| served.gate == victim) {
            let again = |served: Served| served.since > killed && served.gate != victim;
            wait_until("an adaptor is served again", PATIENCE, || again(board.served()[host]));
            took.push(board.served()[host].since - killed);
        }
        pipeline.collectors[victim].node.start();
        pipeline.collectors[victim].node.wait_for("collector started", PATIENCE);
    }
    pipeline.pace.end();
    clock.join().unwrap();
    wait_until("the producers end", PATIENCE, || sockets.iter().all(|socket| socket.is_finished()));
    let verdict = pipeline.finish(PATIENCE);
    took.sort_unstable();
    let (p50, p99, max) = (percentile(&took, 0.5), percentile(&took, 0.99), took[took.len() - 1]);
    println!(
        "fail-over, {collectors} collectors: {kills} kills, {} fail-overs, p50 {p50:.0?}, p99 {p99:.0?}, most {max:.0?}",
        took.len()
    );
    verdict.assert_clean("fail-over");
    assert!(p99 < Duration::from_secs(3), "{took:?}");
}

fn half_open(rounds: u64) {
    // So many small blocks that they fill every queue on the way while nobody reads.
    let (mut pipeline, gates, board) = gated(Plan {
        collectors: 2,
        spool: "linger = \"0ms\"\nblock_size = \"4KiB\"\nbuffer_size = \"1MiB\"",
        ..Plan::default()
    });
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, u64::MAX, 1000);
    pipeline.pace.allow(u64::MAX);
    let (mut found, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        wait_until("the adaptor is served", PATIENCE, || {
            let served = board.served();
            served.values().any(|served| served.since.elapsed() > Duration::from_millis(500))
        });
        let gate = board.served().into_values().next().unwrap().gate;
        let left = || pipeline.adaptors[0].node.log().matches("connection ended").count();
        let (before, silent) = (left(), Instant::now());
        gates[gate].fall_silent();
        wait_until("the adaptor leaves", PATIENCE, || left() > before);
        found.push(silent.elapsed());
        wait_until("another takes its blocks", PATIENCE, || {
            board.served().values().any(|served| served.gate != gate && served.since > silent)
        });
        again.push(silent.elapsed());
        gates[gate].speak();
    }
    pipeline.pace.end();
    wait_until("the producer ends", PATIENCE, || socket.is_finished());
    // What one that never pauses has filled the spool with meanwhile.
    let verdict = pipeline.finish(PATIENCE + 10 * PATIENCE * u32::from(rounds > 5));
    let (found, again) = (found.into_iter().max().unwrap(), again.into_iter().max().unwrap());
    println!("half-open: {rounds} times, found within {found:.1?}, blocks taken by another within {again:.1?}");
    verdict.assert_clean("half-open");
    assert!(found < Duration::from_secs(10), "{found:?}");
    assert!(again < Duration::from_secs(13), "{again:?}");
}
