//! A flash crowd: for a while there is many times as much as usual, and more than the collector takes. The spool takes it.

use std::time::{Duration, Instant};

use super::gate::{Board, Gate};
use super::usage::{memory_peak, mib};
use crate::harness::{PATIENCE, Pipeline, Plan, env_number, free_port, spooled_bytes, wait_until};

/// How many times the usual rate a crowd comes at.
const CROWD: u64 = 15;
/// How many times the usual rate the way to the collector takes.
const WAY: u64 = 3;
const RECORD_BYTES: usize = 200;
/// What an adaptor may take at the most; what waits is on disk.
const MEMORY_MAX: u64 = 192 << 20;
/// The longest that a producer may wait for an answer while the spool has room. A disk that is busy is slow too.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_flash_crowd_blocks_nobody_and_its_backlog_drains() {
    let spool = "max_size = \"1GiB\"\nsegment_size = \"64KiB\"\nblock_size = \"16KiB\"";
    crowd(Size { rate: 200, length: Duration::from_secs(1), spool, segment_bytes: 64 << 10, wire_bytes: 250 });
}

/// `LOGBOOM_CROWD_RATE` is the usual rate of records a second, `LOGBOOM_CROWD_SECONDS` how long the crowd stays.
#[test]
#[ignore = "takes ten minutes; run it optimized"]
fn full_load_a_flash_crowd_blocks_nobody_and_its_backlog_drains() {
    let length = Duration::from_secs(env_number("LOGBOOM_CROWD_SECONDS", 60));
    let spool = "max_size = \"20GiB\"\nsegment_size = \"4MiB\"\nblock_size = \"256KiB\"";
    let rate = env_number("LOGBOOM_CROWD_RATE", 2000);
    crowd(Size { rate, length, spool, segment_bytes: 4 << 20, wire_bytes: 150 });
}

/// How much of it.
struct Size {
    /// Records a second on each adaptor, as usual.
    rate: u64,
    length: Duration,
    /// Lines of settings, and the size of segments that they name.
    spool: &'static str,
    segment_bytes: u64,
    /// What a record takes on the way to the collector, as usual: half of its text, and its share of the block.
    wire_bytes: u64,
}

fn crowd(Size { rate, length, spool, segment_bytes, wire_bytes }: Size) {
    const ADAPTORS: u64 = 2;
    const PRODUCERS: u64 = 4;
    let plan = Plan {
        adaptors: ADAPTORS as usize,
        spool,
        adaptor: "drain_timeout = \"60s\"",
        collector: "flush_interval = \"1s\"",
        ..Plan::default()
    };
    let (board, port) = (Board::default(), free_port());
    let mut pipeline = Pipeline::behind(plan, |_| vec![port]);
    let way = rate * WAY * ADAPTORS * wire_bytes;
    let _gate = Gate::open(0, port, pipeline.collectors[0].port, &board, Some(way));
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let mut sockets = Vec::new();
    for index in 0..(ADAPTORS * PRODUCERS) as usize {
        let name = format!("crowd-{index}");
        sockets.push(pipeline.other_socket_producer(index % ADAPTORS as usize, &name, u64::MAX, RECORD_BYTES));
    }
    let begun = Instant::now();
    let usual = Duration::from_secs(2);
    let over = usual + length;
    let (mut backlog, mut late) = (0, 0);
    // As usual, the crowd, then as usual again until all of it is through.
    let drained = loop {
        let elapsed = begun.elapsed();
        let crowd = elapsed.saturating_sub(usual).min(length);
        let due = (elapsed.as_secs_f64() + crowd.as_secs_f64() * (CROWD - 1) as f64) * rate as f64;
        pipeline.pace.allow((due / PRODUCERS as f64) as u64);
        let waiting = spooled_bytes(&pipeline);
        backlog = backlog.max(waiting);
        late = late.max((due as u64 * ADAPTORS).saturating_sub(pipeline.ledger.sent()));
        if elapsed > over {
            // What is being written is always there, and what the next commit is about to take.
            if waiting < ADAPTORS * 2 * segment_bytes + 2 * way / WAY {
                break elapsed - over;
            }
            assert!(elapsed - over < 8 * length, "{} of {} are left", mib(waiting), mib(backlog));
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    pipeline.pace.end();
    wait_until("the producers end", PATIENCE, || sockets.iter().all(|socket| socket.is_finished()));
    let answer = sockets.into_iter().map(|socket| socket.join().slowest_answer).max().unwrap();
    let memory = pipeline.adaptors.iter().map(|adaptor| memory_peak(adaptor.node.pid())).max().unwrap();
    let verdict = pipeline.stop(2 * PATIENCE);
    println!(
        "flash crowd: {rate} records/s on each of {ADAPTORS} adaptors, {CROWD} times that for {length:.0?}: {} waited at \
         the most, drained {drained:.1?} after it; slowest answer {answer:.1?}, producers at most {late} records behind, \
         adaptors at most {}",
        mib(backlog),
        mib(memory),
    );
    verdict.assert_clean("flash crowd");
    assert!(answer < WAIT_MAX, "{answer:?}");
    assert!(memory < MEMORY_MAX, "{}", mib(memory));
    assert!(backlog > way * length.as_secs(), "the crowd was taken as it came: {}", mib(backlog));
}
