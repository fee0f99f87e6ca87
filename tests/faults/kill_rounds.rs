//! Random processes are killed, round after round, while files rotate and sockets write. Some are asked to end instead,
//! as a rolling restart does.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{Bucket, Kind, Node, PATIENCE, Pipeline, Plan, env_number, wait_until};

const COLLECTORS: usize = 2;
/// Most processes that are killed in one round.
const KILLED_MAX: usize = 3;
/// One of so many is asked to end.
const STOPPED_OF: u32 = 6;

/// How much of it.
struct Size {
    adaptors: usize,
    rounds: u64,
    records: u64,
    /// More rounds follow until so many adaptors and so many collectors were killed.
    kills_each: u64,
    seed: u64,
}

impl Size {
    fn new(adaptors: usize, rounds: u64, records: u64) -> Self {
        Self {
            adaptors,
            rounds,
            records,
            kills_each: 0,
            seed: env_number("LOGBOOM_SEED", rand::random::<u32>().into()),
        }
    }

    /// As `LOGBOOM_KILL_ROUNDS`, `LOGBOOM_KILL_RECORDS`, `LOGBOOM_KILLS_EACH` and `LOGBOOM_SEED` say.
    fn full() -> Self {
        let size = Self::new(8, env_number("LOGBOOM_KILL_ROUNDS", 200), env_number("LOGBOOM_KILL_RECORDS", 1_000_000));
        Self { kills_each: env_number("LOGBOOM_KILLS_EACH", 0), ..size }
    }
}

#[test]
fn random_kills_lose_and_double_nothing() {
    kill_rounds(Size::new(8, 20, 32_000), Plan::default(), None);
}

/// Every batch goes to three tables.
#[test]
fn random_kills_with_routes_lose_and_double_nothing() {
    let plan = Plan { routes: &[&["file-*"], &["json-[12]", "json-3"]], ..Plan::default() };
    kill_rounds(Size::new(8, 20, 32_000), plan, None);
}

#[test]
fn random_kills_lose_and_double_nothing_in_a_table_of_json() {
    kill_rounds(Size::new(8, 10, 16_000), Plan { format: "json", ..Plan::default() }, None);
}

#[test]
fn random_kills_lose_and_double_nothing_in_a_bucket_that_breaks_requests() {
    let Some(bucket) = Bucket::on_first(&[Kind::Ceph, Kind::Moto]) else { return };
    kill_rounds(Size::new(4, 6, 8_000), Plan::default(), Some(&bucket));
}

/// `LOGBOOM_KILL_ROUNDS`, `LOGBOOM_KILL_RECORDS`, `LOGBOOM_KILLS_EACH` and `LOGBOOM_SEED` say how much of it.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_kill_rounds_lose_and_double_nothing() {
    kill_rounds(Size::full(), Plan::default(), None);
}

/// The same on a table of JSON.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_kill_rounds_lose_and_double_nothing_in_a_table_of_json() {
    kill_rounds(Size::full(), Plan { format: "json", ..Plan::default() }, None);
}

/// The same on S3.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_kill_rounds_on_ceph_lose_and_double_nothing() {
    let Some(bucket) = Bucket::on_first(&[Kind::Ceph]) else { return };
    kill_rounds(Size::full(), Plan::default(), Some(&bucket));
}

/// The same on what plays S3.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_kill_rounds_on_moto_lose_and_double_nothing() {
    let Some(bucket) = Bucket::on_first(&[Kind::Moto]) else { return };
    kill_rounds(Size::full(), Plan::default(), Some(&bucket));
}

fn kill_rounds(size: Size, plan: Plan, bucket: Option<&Bucket>) {
    let Size { adaptors, rounds, records, kills_each, seed } = size;
    println!("{rounds} rounds of kills, {records} records, LOGBOOM_SEED={seed}");
    let begun = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let plan = Plan { adaptors, collectors: COLLECTORS, adaptor: "drain_timeout = \"1s\"", ..plan };
    let mut pipeline = match bucket {
        None => Pipeline::new(plan),
        Some(bucket) => Pipeline::in_bucket(plan, bucket),
    };
    pipeline.start_collectors();
    pipeline.start_adaptors();
    if let Some(bucket) = bucket {
        bucket.break_requests(seed);
    }
    let each = records.div_ceil(2 * adaptors as u64);
    // Enough rotations to meet every kill, few enough for the folder to stay small.
    let rotate_after = (each / (rounds / 2).clamp(1, 40)).max(1);
    let sockets: Vec<_> = (0..adaptors).map(|index| pipeline.socket_producer(index, each, 120)).collect();
    let files: Vec<_> = (0..adaptors).map(|index| pipeline.file_producer(index, each, rotate_after, 120)).collect();

    // Of adaptors and of collectors.
    let (mut kills, mut stops, mut round) = ([0, 0], 0, 0);
    while round < rounds || kills.iter().any(|kills| *kills < kills_each) {
        round += 1;
        pipeline.pace.allow((each * round.min(rounds)).div_ceil(rounds));
        sleep(&mut random, 300);
        // Collectors are few; where they are to die as often, each role has its turn.
        let mut victims: Vec<usize> = match (kills_each > 0, random.random()) {
            (false, _) => (0..adaptors + COLLECTORS).collect(),
            (true, false) => (0..adaptors).collect(),
            (true, true) => (adaptors..adaptors + COLLECTORS).collect(),
        };
        let count = random.random_range(1..=KILLED_MAX);
        victims = victims.choose_multiple(&mut random, count).copied().collect();
        for victim in &victims {
            let node = node(&mut pipeline, *victim);
            if random.random_ratio(1, STOPPED_OF) && !node.has_ended() {
                node.terminate(PATIENCE);
                stops += 1;
            } else {
                node.kill();
                kills[usize::from(*victim >= adaptors)] += 1;
            }
            sleep(&mut random, 50);
        }
        sleep(&mut random, 300);
        for victim in victims {
            node(&mut pipeline, victim).start();
            sleep(&mut random, 50);
        }
        revive(&mut pipeline, bucket);
        if round % 100 == 0 {
            let sent = pipeline.ledger.sent();
            println!("round {round}, {kills:?} kills, {sent} records sent, {:.0?}", begun.elapsed());
        }
    }
    // What is much takes long.
    let patience = PATIENCE + Duration::from_secs(records / 5_000);
    wait_until("the producers end", patience, || {
        sockets.iter().all(|producer| producer.is_finished()) && files.iter().all(|producer| producer.is_finished())
    });
    let connections: u64 = sockets.into_iter().map(|producer| producer.join().connections).sum();
    files.into_iter().for_each(|producer| {
        producer.join();
    });
    let killing = begun.elapsed();
    if bucket.is_some() {
        wait_until("both collectors are up", PATIENCE, || {
            revive(&mut pipeline, bucket);
            pipeline.collectors.iter().all(|collector| collector.node.log().contains("collector started"))
        });
    }
    let verdict = pipeline.finish(patience);
    println!(
        "{} kills of adaptors, {} of collectors, {stops} stops, {connections} connections, {killing:.1?} of kills, {:.1?} until all was committed",
        kills[0],
        kills[1],
        begun.elapsed() - killing
    );
    if let Some(bucket) = bucket {
        println!("{}", bucket.done());
    }
    verdict.assert_clean(&format!("seed {seed}"));
    assert!(verdict.acknowledged > records / 2, "too little was acknowledged to mean anything");
}

/// Starts collectors again that could not start, as whoever supervises them does. In a folder there is no excuse.
fn revive(pipeline: &mut Pipeline, bucket: Option<&Bucket>) {
    for collector in pipeline.collectors.iter_mut().filter(|_| bucket.is_some()) {
        if collector.node.has_ended() {
            println!("{} could not start: {}", collector.node.name(), collector.node.log().trim_end());
            collector.node.kill();
            collector.node.start();
        }
    }
}

fn node(pipeline: &mut Pipeline, index: usize) -> &mut Node {
    match index.checked_sub(pipeline.adaptors.len()) {
        None => &mut pipeline.adaptors[index].node,
        Some(collector) => &mut pipeline.collectors[collector].node,
    }
}

fn sleep(random: &mut StdRng, ms_max: u64) {
    std::thread::sleep(Duration::from_millis(random.random_range(0..=ms_max)));
}
