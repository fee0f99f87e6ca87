//! A long run near capacity: what is not given back shows in the end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::usage::{descriptors, memory, mib, processor};
use crate::harness::{PATIENCE, Pipeline, Plan, env_number, spooled_bytes, wait_until};

const ADAPTORS: usize = 2;
const PRODUCERS: usize = 8;
const RECORD_BYTES: usize = 60;
/// What a record takes on disk at the most, in the table.
const DISK_BYTES: u64 = 64;
/// The share of the capacity that is used.
const SHARE: f64 = 0.8;
/// Disk that has to stay free.
const FREE_MIN: u64 = 5 << 30;

/// `LOGBOOM_SOAK_SECONDS` says how long, `LOGBOOM_SOAK_GIB` how much disk it may take.
#[test]
#[ignore = "takes half an hour; run it optimized"]
fn full_load_a_soak_leaves_memory_and_descriptors_as_they_were() {
    let length = Duration::from_secs(env_number("LOGBOOM_SOAK_SECONDS", 1800));
    soak(length / 60, length, 0.1, env_number("LOGBOOM_SOAK_GIB", 20));
}

/// What was seen of one process at one moment.
#[derive(Clone, Copy)]
struct Sample {
    memory: u64,
    descriptors: u64,
}

/// `growth_max` is what memory may grow by, as a share, from the third quarter to the last.
fn soak(measured: Duration, length: Duration, growth_max: f64, disk_gib: u64) {
    let plan = Plan {
        adaptors: ADAPTORS,
        adaptor: "drain_timeout = \"60s\"",
        spool: "max_size = \"4GiB\"\nsegment_size = \"4MiB\"\nblock_size = \"256KiB\"",
        collector: "flush_interval = \"2s\"",
        ..Plan::default()
    };
    let mut pipeline = Pipeline::start(plan);
    let producers = |pipeline: &Pipeline, what: &str| -> Vec<_> {
        let start = |index| {
            pipeline.other_socket_producer(index % ADAPTORS, &format!("{what}-{index}"), u64::MAX, RECORD_BYTES)
        };
        (0..PRODUCERS).map(start).collect()
    };
    let sockets = producers(&pipeline, "soak");
    let capacity = capacity(&pipeline, measured);
    let disk = (disk_gib << 30) as f64 / DISK_BYTES as f64 / length.as_secs_f64();
    let rate = (capacity * SHARE).min(disk);
    let before = pipeline.ledger.sent() as f64;
    let first = before / PRODUCERS as f64;
    let pids: Vec<(String, u32)> = pipeline
        .adaptors
        .iter()
        .map(|it| &it.node)
        .chain(pipeline.collectors.iter().map(|it| &it.node))
        .map(|node| (node.name().to_owned(), node.pid()))
        .collect();
    let begun = Instant::now();
    let every = (length / 120).max(Duration::from_millis(200));
    let mut samples: Vec<Vec<Sample>> = Vec::new();
    while begun.elapsed() < length {
        pipeline.pace.allow((first + begun.elapsed().as_secs_f64() * rate / PRODUCERS as f64) as u64);
        if begun.elapsed() > every * samples.len() as u32 {
            let sample = |(_, pid): &(String, u32)| Sample { memory: memory(*pid), descriptors: descriptors(*pid) };
            samples.push(pids.iter().map(sample).collect());
            let disk = rustix::fs::statvfs(pipeline.folder()).unwrap();
            assert!(disk.f_bavail * disk.f_frsize > FREE_MIN, "the disk is nearly full; less of it: LOGBOOM_SOAK_GIB");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = pipeline.ledger.sent() as f64 - before;
    let waiting = spooled_bytes(&pipeline);
    let spent: Duration = pids.iter().map(|(_, pid)| processor(*pid)).sum();
    pipeline.pace.end();
    wait_until("the producers end", PATIENCE, || sockets.iter().all(|socket| socket.is_finished()));
    let verdict = pipeline.stop(2 * PATIENCE);
    let total = folder_bytes(&pipeline.folder().join("store"));
    println!(
        "soak: {capacity:.0} records/s of {RECORD_BYTES} bytes measured, {:.0} for {length:.0?}, {:.1} s of processor, \
         {} in the spools at the end, {} of table",
        sent / length.as_secs_f64(),
        spent.as_secs_f64(),
        mib(waiting),
        mib(total),
    );
    let mut grown = Vec::new();
    for (index, (name, _)) in pids.iter().enumerate() {
        let of = |quarter: usize| -> Vec<Sample> {
            let range = samples.len() * quarter / 4..samples.len() * (quarter + 1) / 4;
            samples[range].iter().map(|sample| sample[index]).collect()
        };
        let mean = |quarter| of(quarter).iter().map(|it| it.memory).sum::<u64>() / of(quarter).len() as u64;
        let most = |quarter| of(quarter).iter().map(|it| it.descriptors).max().unwrap();
        let (means, mosts) = ([0, 1, 2, 3].map(mean), [0, 1, 2, 3].map(most));
        println!("soak: {name}: memory by quarters {}, descriptors {mosts:?}", means.map(mib).join(", "));
        // What the allocator does is not what the program does.
        let allowed = (means[2] as f64 * (1.0 + growth_max)) as u64 + (8 << 20);
        if means[3] > allowed || mosts[3] > mosts[2] + 8 {
            grown.push(name);
        }
    }
    verdict.assert_clean("soak");
    assert!(grown.is_empty(), "{grown:?} grow");
}

/// Records a second from end to end, when producers go as fast as they are answered.
fn capacity(pipeline: &Pipeline, time: Duration) -> f64 {
    let begun = Instant::now();
    while begun.elapsed() < time {
        // So far that nobody waits, and not so far that they go on when time is up.
        let accounts = pipeline.ledger.accounts();
        let least = accounts.values().map(|account| account.sent()).min().unwrap();
        pipeline.pace.allow(least + 500);
        std::thread::sleep(Duration::from_millis(2));
    }
    let idle = || pipeline.ledger.accounts().values().all(|account| account.sent() >= pipeline.pace.allowed());
    wait_until("the producers rest", PATIENCE, idle);
    // What is left in the end is the segment that is written.
    let mut last = u64::MAX;
    let mut still = Instant::now();
    wait_until("the backlog is committed", 10 * PATIENCE, || {
        let now = spooled_bytes(pipeline);
        if now != last {
            (last, still) = (now, Instant::now());
        }
        still.elapsed() > Duration::from_secs(5)
    });
    pipeline.ledger.sent() as f64 / (still - begun).as_secs_f64()
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let size = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => folder_bytes(&entry.path()),
        false => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.map(size).sum()
}
