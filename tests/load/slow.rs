//! One collector of three is slow, or cannot commit at all. Whoever is at another does not notice, and nobody is stuck.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::fail_over::gated;
use crate::harness::{Bucket, Kind, PATIENCE, Pipeline, Plan, env_number, wait_until};

const ADAPTORS: usize = 6;
const COLLECTORS: usize = 3;
/// Of every second the slow collector runs for this long.
const AWAKE: Duration = Duration::from_millis(100);
/// Records a second of each producer.
const RATE: u64 = 100;

#[test]
fn a_slow_collector_of_three_holds_up_nobody() {
    slow(Duration::from_secs(4));
}

/// `LOGBOOM_SLOW_SECONDS` says for how long it is slow.
#[test]
#[ignore = "takes two minutes; run it optimized"]
fn full_load_a_slow_collector_of_three_holds_up_nobody() {
    slow(Duration::from_secs(env_number("LOGBOOM_SLOW_SECONDS", 120)));
}

/// Lets every producer go on at the rate, for `time`. Returns how many acknowledged records were not committed yet, at
/// the most.
fn go_on(pipeline: &mut Pipeline, since: Instant, time: Duration) -> u64 {
    let (begun, mut behind) = (Instant::now(), 0);
    while begun.elapsed() < time {
        pipeline.pace.allow((since.elapsed().as_secs_f64() * RATE as f64) as u64);
        std::thread::sleep(Duration::from_millis(100));
        behind = behind.max(pipeline.judge().lost);
    }
    behind
}

fn slow(time: Duration) {
    let plan = Plan { adaptors: ADAPTORS, collectors: COLLECTORS, ..Plan::default() };
    let (mut pipeline, _gates, board) = gated(plan);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let sockets: Vec<_> = (0..ADAPTORS).map(|index| pipeline.socket_producer(index, u64::MAX, 120)).collect();
    let since = Instant::now();
    pipeline.pace.allow(1);
    wait_until("all are served", PATIENCE, || board.served().len() == ADAPTORS);
    let well = go_on(&mut pipeline, since, time / 2);
    let of = |gate: usize| board.served().values().filter(|served| served.gate == gate).count();
    let victim = (0..COLLECTORS).max_by_key(|gate| of(*gate)).unwrap();
    let affected = of(victim);
    let pid = rustix::process::Pid::from_raw(pipeline.collectors[victim].node.pid() as i32).unwrap();
    let over = AtomicBool::new(false);
    let (behind, after) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let _ = rustix::process::kill_process(pid, Signal::STOP);
                std::thread::sleep(Duration::from_secs(1) - AWAKE);
                let _ = rustix::process::kill_process(pid, Signal::CONT);
                std::thread::sleep(AWAKE);
            }
        });
        let behind = go_on(&mut pipeline, since, time);
        let after = pipeline.judge().lost;
        over.store(true, Ordering::SeqCst);
        (behind, after)
    });
    pipeline.pace.end();
    wait_until("the producers end", PATIENCE, || sockets.iter().all(|socket| socket.is_finished()));
    let verdict = pipeline.finish(PATIENCE);
    println!(
        "slow collector: {affected} of {ADAPTORS} adaptors at one of {COLLECTORS} that runs a tenth of the time, for \
         {time:.0?}: at most {behind} records behind ({well} while all were well), {after} at the end"
    );
    verdict.assert_clean("slow collector");
    // Ten seconds of what is sent to it, and as much as usual of the rest.
    let bound = well + 10 * RATE * affected as u64;
    assert!(affected > 0 && behind < bound, "{behind} behind, {well} before that");
}

/// Its store does not answer it any more, while the others have theirs.
#[test]
#[ignore = "takes three minutes"]
fn full_load_adaptors_of_a_collector_that_cannot_commit_go_to_another() {
    let Some(bucket) = Bucket::on_first(&[Kind::Ceph, Kind::Moto]) else { return };
    let (sink, way) = bucket.another_way();
    let plan = Plan { adaptors: ADAPTORS, collectors: 2, collector: "flush_interval = \"1s\"", ..Plan::default() };
    let mut pipeline = Pipeline::with_sinks(plan, &[&bucket.sink, &sink], bucket.table.clone());
    pipeline.start_collectors();
    for collector in &pipeline.collectors {
        collector.node.wait_for("collector started", PATIENCE);
    }
    pipeline.start_adaptors();
    let sockets: Vec<_> = (0..ADAPTORS).map(|index| pipeline.socket_producer(index, u64::MAX, 120)).collect();
    let since = Instant::now();
    go_on(&mut pipeline, since, Duration::from_secs(5));
    way.close();
    let begun = Instant::now();
    let mut all = false;
    while begun.elapsed() < 3 * PATIENCE && !all {
        go_on(&mut pipeline, since, Duration::from_secs(2));
        all = begun.elapsed() > Duration::from_secs(5) && pipeline.judge().lost < 5 * RATE * ADAPTORS as u64 / 2;
    }
    let took = begun.elapsed();
    pipeline.pace.end();
    wait_until("the producers end", PATIENCE, || sockets.iter().all(|socket| socket.is_finished()));
    pipeline.heal(PATIENCE);
    pipeline.collectors[1].node.kill();
    let mut verdict = pipeline.heal(PATIENCE);
    for adaptor in &mut pipeline.adaptors {
        assert!(adaptor.node.terminate(PATIENCE).success());
    }
    verdict.stuck = pipeline.adaptors.iter().map(|it| crate::oracle::segments(&it.spool).len() as u64).sum();
    println!("a collector without its store: all records committed by the other one again after {took:.0?}");
    verdict.assert_clean("without its store");
    assert!(all, "its adaptors stayed");
}
