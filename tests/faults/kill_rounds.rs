//! Random processes are killed, round after round, while files rotate and sockets write. Some are asked to end instead,
//! as a rolling restart does.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{Node, PATIENCE, Pipeline, Plan, env_number, wait_until};

const ADAPTORS: usize = 8;
const COLLECTORS: usize = 2;
/// Most processes that are killed in one round.
const KILLED_MAX: usize = 3;
/// One of so many is asked to end.
const STOPPED_OF: u32 = 6;

#[test]
fn random_kills_lose_and_double_nothing() {
    kill_rounds("parquet", 20, 32_000, env_number("LOGBOOM_SEED", rand::random::<u32>().into()));
}

#[test]
fn random_kills_lose_and_double_nothing_in_a_table_of_json() {
    kill_rounds("json", 10, 16_000, env_number("LOGBOOM_SEED", rand::random::<u32>().into()));
}

/// `LOGBOOM_KILL_ROUNDS`, `LOGBOOM_KILL_RECORDS` and `LOGBOOM_SEED` say how much of it.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_kill_rounds_lose_and_double_nothing() {
    let (rounds, records) = (env_number("LOGBOOM_KILL_ROUNDS", 200), env_number("LOGBOOM_KILL_RECORDS", 1_000_000));
    for format in ["parquet", "json"] {
        kill_rounds(format, rounds, records, env_number("LOGBOOM_SEED", rand::random::<u32>().into()));
    }
}

fn kill_rounds(format: &'static str, rounds: u64, records: u64, seed: u64) {
    println!("{rounds} rounds of kills, {records} records, {format}, LOGBOOM_SEED={seed}");
    let begun = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let adaptor = "drain_timeout = \"1s\"";
    let plan = Plan { adaptors: ADAPTORS, collectors: COLLECTORS, adaptor, format, ..Plan::default() };
    let mut pipeline = Pipeline::start(plan);
    let each = records.div_ceil(2 * ADAPTORS as u64);
    // Enough rotations to meet every kill, few enough for the folder to stay small.
    let rotate_after = (each / (rounds / 2).clamp(1, 40)).max(1);
    let sockets: Vec<_> = (0..ADAPTORS).map(|index| pipeline.socket_producer(index, each, 120)).collect();
    let files: Vec<_> = (0..ADAPTORS).map(|index| pipeline.file_producer(index, each, rotate_after, 120)).collect();

    let (mut kills, mut stops) = (0, 0);
    for round in 1..=rounds {
        pipeline.pace.allow((each * round).div_ceil(rounds));
        sleep(&mut random, 300);
        let mut victims: Vec<usize> = (0..ADAPTORS + COLLECTORS).collect();
        let count = random.random_range(1..=KILLED_MAX);
        victims = victims.choose_multiple(&mut random, count).copied().collect();
        for victim in &victims {
            let node = node(&mut pipeline, *victim);
            if random.random_ratio(1, STOPPED_OF) {
                node.terminate(PATIENCE);
                stops += 1;
            } else {
                node.kill();
                kills += 1;
            }
            sleep(&mut random, 50);
        }
        sleep(&mut random, 300);
        for victim in victims {
            node(&mut pipeline, victim).start();
            sleep(&mut random, 50);
        }
    }
    wait_until("the producers end", PATIENCE, || {
        sockets.iter().all(|producer| producer.is_finished()) && files.iter().all(|producer| producer.is_finished())
    });
    let connections: u64 = sockets.into_iter().map(|producer| producer.join().connections).sum();
    files.into_iter().for_each(|producer| {
        producer.join();
    });
    let killing = begun.elapsed();
    let verdict = pipeline.finish(PATIENCE);
    println!(
        "{kills} kills, {stops} stops, {connections} connections, {killing:.1?} of kills, {:.1?} until all was committed",
        begun.elapsed() - killing
    );
    verdict.assert_clean(&format!("seed {seed}"));
    assert!(verdict.acknowledged > records / 2, "too little was acknowledged to mean anything");
}

fn node(pipeline: &mut Pipeline, index: usize) -> &mut Node {
    match index.checked_sub(ADAPTORS) {
        None => &mut pipeline.adaptors[index].node,
        Some(collector) => &mut pipeline.collectors[collector].node,
    }
}

fn sleep(random: &mut StdRng, ms_max: u64) {
    std::thread::sleep(Duration::from_millis(random.random_range(0..=ms_max)));
}
