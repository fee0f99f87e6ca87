//! Disks that are full, unlike a spool that has reached its own limit: somebody else may have filled them.

use std::time::Duration;

use crate::harness::{Mount, PATIENCE, Pipeline, Plan, wait_until};

const RECORDS: u64 = 6_000;
const RECORD_BYTES: usize = 1000;

/// The spool may be larger than its disk.
const PLAN: Plan = Plan {
    adaptors: 1,
    collectors: 1,
    adaptor: "drain_timeout = \"20s\"",
    spool: "max_size = \"1GiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"",
    collector: "flush_interval = \"200ms\"",
    sink: "checkpoint_interval = 10",
    routes: &[],
    format: "parquet",
};

#[test]
fn a_full_disk_under_the_spool_loses_nothing_and_is_emptied() {
    let mut pipeline = Pipeline::new(PLAN);
    let Some(_disk) = Mount::tmpfs(&pipeline.adaptors[0].spool, "4m") else { return };
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, 2000, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    let node = &mut pipeline.adaptors[0].node;
    node.wait_for("cannot write to the spool", PATIENCE);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!socket.is_finished(), "the disk is not full");
    // It dies, and starts on a disk without room for anything.
    node.kill();
    node.start();
    pipeline.adaptors[0].wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    assert!(!socket.is_finished(), "the disk is not full any more");
    pipeline.start_collectors();
    pipeline.wait_ready();
    wait_until("the producers go on", PATIENCE, || socket.is_finished() && file.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean("a full disk under the spool");
    assert!(verdict.acknowledged > RECORDS, "{verdict}");
}

#[test]
fn a_full_disk_under_the_table_loses_nothing_and_is_used_when_it_has_room() {
    let mut pipeline = Pipeline::new(PLAN);
    let Some(disk) = Mount::tmpfs(&pipeline.folder().join("store"), "1m") else { return };
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, 2000, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    pipeline.collectors[0].node.wait_for("No space left", PATIENCE);
    wait_until("the producers are not held up", PATIENCE, || socket.is_finished() && file.is_finished());
    std::thread::sleep(Duration::from_secs(1));
    assert!(pipeline.judge().lost > 0, "the disk is not full");
    disk.resize("64m");
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean("a full disk under the table");
    assert_eq!(verdict.rows, 2 * RECORDS);
}
