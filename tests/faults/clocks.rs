//! Machines whose clocks jump ten years, ahead or back, while they run. The time is faked by `libfaketime`; the disks go by
//! the real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};

/// As the Debian package `libfaketime` installs it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clock of some processes.
struct Clock(PathBuf);

impl Clock {
    /// One that is right; `None`, with the reason printed, where clocks cannot be faked.
    fn new(folder: &Path) -> Option<Self> {
        if !Path::new(LIBRARY).exists() {
            println!("skipped: there is no {LIBRARY}");
            return None;
        }
        let clock = Self(folder.join("clock"));
        clock.set("+0");
        Some(clock)
    }

    /// It jumps: so far from the right time.
    fn set(&self, offset: &str) {
        // In one step: it is read all the time.
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{offset}\n")).unwrap();
        fs::rename(new, &self.0).unwrap();
    }

    /// What makes a process go by it.
    fn environment(&self) -> [(&str, &str); 5] {
        [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
    }
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_loses_and_doubles_nothing() {
    jump("+10y");
}

#[test]
fn a_clock_that_jumps_ten_years_back_loses_and_doubles_nothing() {
    jump("-10y");
}

/// Adaptor and collector on one machine: its clock jumps while blocks wait, while they run and while both are down.
fn jump(offset: &str) {
    let mut pipeline = Pipeline::new(Plan { sink: "checkpoint_interval = 3", ..Plan::default() });
    let Some(clock) = Clock::new(pipeline.folder()) else { return };
    pipeline.collectors[0].node.start_with(&clock.environment());
    pipeline.adaptors[0].node.start_with(&clock.environment());
    pipeline.wait_ready();
    let socket = pipeline.socket_producer(0, 4000, 200);
    let file = pipeline.file_producer(0, 4000, 700, 200);
    pipeline.pace.allow(1000);
    wait_until("the first records are committed", PATIENCE, || pipeline.judge().rows >= 2000);
    clock.set(offset);
    pipeline.pace.allow(2000);
    wait_until("more is committed after the jump", PATIENCE, || pipeline.judge().rows >= 4000);
    // What comes now waits in the spool over a restart, and over the jump back.
    pipeline.collectors[0].node.kill();
    clock.set("+0");
    pipeline.pace.allow(3000);
    wait_until("it is taken in", PATIENCE, || pipeline.ledger.sent() == 6000);
    std::thread::sleep(Duration::from_millis(300));
    pipeline.adaptors[0].node.kill();
    clock.set(offset);
    pipeline.adaptors[0].node.start_with(&clock.environment());
    pipeline.collectors[0].node.start_with(&clock.environment());
    pipeline.pace.allow(4000);
    wait_until("the producers end", PATIENCE, || socket.is_finished() && file.is_finished());
    let expired = pipeline.adaptors[0].node.log().contains("older than `adaptor.spool.max_age`");
    assert_eq!(expired, offset == "+10y", "a stream that seems older than any mark is kept and not sent");
    if expired {
        assert!(pipeline.heal(Duration::from_secs(2)).lost > 0);
        // Somebody sets the clock right.
        clock.set("+0");
        pipeline.adaptors[0].node.kill();
        pipeline.adaptors[0].node.start_with(&clock.environment());
    }
    pipeline.wait_ready();
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean(offset);
    assert!(verdict.acknowledged >= 6000, "{verdict}");
}

/// Marks are forgotten after 30 days, by the clocks of collectors: those may be wrong while blocks are on their way
/// whose commit nobody has heard of.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_collector_whose_clock_jumps_remembers_what_was_committed() {
    std::thread::scope(|scope| {
        for (before, after) in [("+0", "+10y"), ("-10y", "+0"), ("+10y", "-10y"), ("-10y", "+10y")] {
            scope.spawn(move || remember(before, after));
        }
    });
}

fn remember(before: &str, after: &str) {
    let plan = Plan { adaptors: 2, sink: "checkpoint_interval = 2", ..Plan::default() };
    let mut pipeline = Pipeline::new(plan);
    let Some(clock) = Clock::new(pipeline.folder()) else { return };
    clock.set(before);
    let mut environment = clock.environment().to_vec();
    environment.push(("LOGBOOM_CRASH_AT", "collector.acknowledge.before:1"));
    pipeline.collectors[0].node.start_with(&environment);
    pipeline.adaptors[0].node.start();
    let untold = pipeline.socket_producer(0, 200, 200);
    pipeline.pace.allow(200);
    wait_until("a commit that is not told of", PATIENCE, || pipeline.collectors[0].node.ended().is_some());
    wait_until("the first producer ends", PATIENCE, || untold.is_finished());
    pipeline.adaptors[0].node.kill();
    let committed = pipeline.judge().rows;
    assert!(committed > 0, "nothing was committed");
    // Others commit meanwhile, by another time; checkpoints are written.
    clock.set(after);
    pipeline.collectors[0].node.start_with(&clock.environment());
    pipeline.adaptors[1].node.start();
    let other = pipeline.other_socket_producer(1, "other", 500, 200);
    for step in 1..=10 {
        pipeline.pace.allow(200 + step * 30);
        let rows = committed + 200 + step * 30;
        wait_until("a commit", PATIENCE, || pipeline.judge().rows >= rows);
    }
    pipeline.collectors[0].node.kill();
    // A collector that knows of the past only by the log.
    pipeline.collectors[0].node.start_with(&clock.environment());
    pipeline.adaptors[0].node.start();
    pipeline.wait_ready();
    wait_until("the other producer ends", PATIENCE, || other.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean(&format!("a collector's clock from {before} to {after}"));
    assert_eq!(verdict.rows, 700);
}
