//! An adaptor that starts on a big spool: it takes records in at once, in little memory, whatever earlier runs left.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::spool::{Built, Shape};
use super::usage::{memory_peak, mib};
use crate::harness::{PATIENCE, Pipeline, Plan, env_number, wait_until};
use crate::oracle::segments;

const MIB: u64 = 1 << 20;
/// The most memory of an adaptor that has just started, whatever lies in its spool.
const MEMORY_MAX: u64 = 64 * MIB;
const SPOOL: &str = "max_size = \"100GiB\"";

const SEGMENT: u64 = 64 * MIB;
/// About 2 MiB of lines, as a busy host has them.
const BIG_BLOCK: u64 = 10_000;
/// What a quiet host syncs ten times a second.
const SMALL_BLOCK: u64 = 20;

#[test]
fn an_adaptor_starts_at_once_on_a_big_spool_in_little_memory() {
    let shape = Shape { bytes: 128 * MIB, streams: 1, segment_bytes: SEGMENT, block_records: BIG_BLOCK };
    // As long as a busy machine may take for it unoptimized.
    assert_eq!(start("128 MiB, one stream", shape, Duration::from_secs(5)), None);
}

#[test]
fn streams_of_many_earlier_runs_are_sent_and_what_is_new_does_not_wait_for_them() {
    earlier_runs(300);
}

/// `LOGBOOM_SPOOL_STREAMS` says how many.
#[test]
#[ignore = "takes minutes; run it optimized"]
fn full_load_streams_of_ten_thousand_earlier_runs_are_sent_and_what_is_new_does_not_wait_for_them() {
    earlier_runs(env_number("LOGBOOM_SPOOL_STREAMS", 10_000));
}

/// `LOGBOOM_SPOOL_GIB` says how large the larger one is.
#[test]
#[ignore = "takes minutes and disk; run it optimized"]
fn full_load_an_adaptor_starts_at_once_on_spools_of_gigabytes_in_little_memory() {
    let large = env_number("LOGBOOM_SPOOL_GIB", 10);
    let mut slow = Vec::new();
    for (gib, limit) in [(1, Duration::from_secs(2)), (large, Duration::from_secs(10))] {
        for (streams, segment_bytes, block_records) in [
            (1, SEGMENT, BIG_BLOCK),
            (1, SEGMENT, SMALL_BLOCK),
            // Each as long as a stream of a host that is restarted often; what they end with is read in whole.
            (gib * 16, SEGMENT, BIG_BLOCK),
        ] {
            let shape = Shape { bytes: gib << 30, streams, segment_bytes, block_records };
            slow.extend(start(
                &format!("{gib} GiB, {streams} streams, blocks of {block_records} records"),
                shape,
                limit,
            ));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn damaged_frames_in_a_big_spool_delay_no_start_and_cost_only_themselves() {
    // They have lost their front, which is the most work to find.
    let shape = Shape { bytes: 8 * MIB, streams: 1, segment_bytes: 2 * MIB, block_records: 50 };
    let mut pipeline = Pipeline::new(Plan { spool: SPOOL, ..Plan::default() });
    let built = shape.build(&pipeline.adaptors[0].spool);
    let damaged = damage(&built);
    let ready = start_and_wait(&mut pipeline);
    let peak = memory_peak(pipeline.adaptors[0].node.pid());
    println!("start-up, {damaged} of {} blocks damaged: ready in {ready:.2?}, {}", built.blocks, mib(peak));
    assert!(ready < Duration::from_secs(2) && peak < MEMORY_MAX, "{ready:?}, {}", mib(peak));
    pipeline.start_collectors();
    // The segment that the loss records are written to stays as long as the adaptor runs.
    wait_until("the rest is committed", 2 * PATIENCE, || built.segments.iter().all(|segment| !segment.exists()));
    pipeline.finish(PATIENCE);
    let found = pipeline.verify(&[]);
    let lost = damaged * shape.block_records;
    assert_eq!((found.records - loss_records(&pipeline), found.doubled), (built.records - lost, 0), "{}", found.json);
    assert_eq!(found.explained.get("damaged"), Some(&lost), "{}", found.json);
}

/// Spoils the front of some blocks, but not of the first and the last one of a segment. Returns how many.
fn damage(built: &Built) -> u64 {
    let mut damaged = 0;
    for path in &built.segments {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let starts: Vec<usize> = memchr_all(&bytes, b"LBLK");
        for at in starts[..starts.len() - 1].iter().skip(1).step_by(25) {
            file.write_all_at(b"XXXX", *at as u64).unwrap();
            damaged += 1;
        }
    }
    damaged
}

fn memchr_all(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    (0..bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what)).collect()
}

/// Loss records that the adaptor has added.
fn loss_records(pipeline: &Pipeline) -> u64 {
    pipeline.adaptors[0].node.counter("loss_records")
}

/// Says what was too slow.
fn start(what: &str, shape: Shape, limit: Duration) -> Option<String> {
    let mut pipeline = Pipeline::new(Plan { spool: SPOOL, ..Plan::default() });
    let begun = Instant::now();
    let built = shape.build(&pipeline.adaptors[0].spool);
    let building = begun.elapsed();
    let cold = start_and_wait(&mut pipeline);
    pipeline.adaptors[0].node.kill();
    let warm = start_and_wait(&mut pipeline);
    let peak = memory_peak(pipeline.adaptors[0].node.pid());
    println!(
        "start-up, {what}: {} in {} blocks and {} segments (made in {building:.1?}); ready in {cold:.2?}, and in \
         {warm:.2?} with it in the cache; {}",
        mib(built.bytes),
        built.blocks,
        built.segments.len(),
        mib(peak),
    );
    assert!(peak < MEMORY_MAX, "{what}: {}", mib(peak));
    (cold >= limit || warm >= limit).then(|| format!("{what}: ready in {cold:.2?} and {warm:.2?}"))
}

/// Returns how long it took until the adaptor took records in.
fn start_and_wait(pipeline: &mut Pipeline) -> Duration {
    let begun = Instant::now();
    pipeline.adaptors[0].node.start();
    let socket = pipeline.adaptors[0].socket.clone();
    // One that was left behind by a killed process refuses.
    wait_until("the adaptor listens", 2 * PATIENCE, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    begun.elapsed()
}

fn earlier_runs(streams: u64) {
    let mut pipeline = Pipeline::new(Plan { spool: SPOOL, collector: "flush_interval = \"1s\"", ..Plan::default() });
    let shape = Shape { bytes: streams * 4000, streams, segment_bytes: SEGMENT, block_records: SMALL_BLOCK };
    let built = shape.build(&pipeline.adaptors[0].spool);
    let ready = start_and_wait(&mut pipeline);
    pipeline.start_collectors();
    let begun = Instant::now();
    let socket = pipeline.socket_producer(0, 1000, 200);
    pipeline.pace.allow(1000);
    wait_until("the new records are acknowledged", PATIENCE, || socket.is_finished());
    let new = wait_until("the new records are committed", 4 * PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        pipeline.judge().lost == 0
    });
    let (peak, left) = (memory_peak(pipeline.adaptors[0].node.pid()), segments(&pipeline.adaptors[0].spool).len());
    wait_until("the old ones are committed", 20 * PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        segments(&pipeline.adaptors[0].spool).len() <= 1
    });
    let all = begun.elapsed();
    println!(
        "start-up, {streams} streams: ready in {ready:.2?}, {}; new records committed after {new:.1?} with {left} \
         segments before them, all of it after {all:.1?}",
        mib(peak)
    );
    socket.join();
    for node in
        pipeline.adaptors.iter_mut().map(|it| &mut it.node).chain(pipeline.collectors.iter_mut().map(|it| &mut it.node))
    {
        assert!(node.terminate(PATIENCE).success());
    }
    let found = pipeline.verify(&[]);
    assert_eq!((found.records, found.doubled, found.unexplained), (built.records + 1000, 0, 0));
    assert!(ready < Duration::from_secs(5) && peak < MEMORY_MAX, "{ready:?}, {}", mib(peak));
    // New records are not made to wait until all that is old is done.
    assert!(new < Duration::from_secs(30).max(all / 2), "{new:?}");
}
